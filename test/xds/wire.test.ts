import assert from "node:assert/strict";
import { test } from "node:test";
import * as client from "../../src/xds/client-wire.ts";
import * as wire from "../../src/xds/wire.ts";
import fc from "../support/property.ts";
import { loadEnvoyProtos, read, written } from "../support/protos.ts";

const envoy = loadEnvoyProtos();
const type = (name: string) => envoy.lookupType(name);
const SotwRequest = type("envoy.service.discovery.v3.DiscoveryRequest");
const SotwResponse = type("envoy.service.discovery.v3.DiscoveryResponse");
const DeltaRequest = type("envoy.service.discovery.v3.DeltaDiscoveryRequest");
const DeltaResponse = type("envoy.service.discovery.v3.DeltaDiscoveryResponse");
const Any = type("google.protobuf.Any");

/** What protobuf calls a string: any code points but lone surrogates; empty, short and longer than one length byte. */
const anyText = fc.oneof(
  fc.string({ unit: "binary", maxLength: 20 }),
  fc.constantFrom("", "é", "証明書", "🔑", "x".repeat(127), "x".repeat(128), "y".repeat(20_000)),
);
const names = fc.array(anyText, { maxLength: 5 });
const anyBytes = fc.uint8Array({ maxLength: 300 }).map((array) => Buffer.from(array));
const error = fc.record({ code: fc.integer({ min: -(2 ** 31), max: 2 ** 31 - 1 }), message: anyText });
const node = fc.record({ id: anyText, cluster: anyText, user_agent_name: anyText, user_agent_version: anyText });
const RUNS = { numRuns: 60 };

/** The only text of `anyText` that is too long has one byte per character. */
function cut(text: string): string {
  return text.slice(0, wire.MAX_ERROR_BYTES);
}

test("a SotW request as Envoy's protos write it", () => {
  const fields = { version_info: anyText, resource_names: names, type_url: anyText, response_nonce: anyText };
  const options = { requiredKeys: ["version_info", "resource_names", "type_url", "response_nonce"] as const };
  const request = fc.record({ ...fields, node, error_detail: error }, { requiredKeys: [...options.requiredKeys] });
  fc.assert(
    fc.property(request, (sent) => {
      const { node: got, errorDetail, ...rest } = wire.decodeSotwRequest(written(SotwRequest, sent));
      assert.deepEqual(rest, {
        versionInfo: sent.version_info,
        resourceNames: sent.resource_names,
        typeUrl: sent.type_url,
        responseNonce: sent.response_nonce,
      });
      sameNode(got, sent.node);
      sameError(errorDetail, sent.error_detail);
    }),
    RUNS,
  );
});

test("a delta request as Envoy's protos write it", () => {
  const request = fc.record(
    {
      type_url: anyText,
      resource_names_subscribe: names,
      resource_names_unsubscribe: names,
      versions: fc.array(fc.tuple(anyText, anyText), { maxLength: 4 }),
      response_nonce: anyText,
      node,
      error_detail: error,
    },
    {
      requiredKeys: [
        "type_url",
        "resource_names_subscribe",
        "resource_names_unsubscribe",
        "versions",
        "response_nonce",
      ],
    },
  );
  fc.assert(
    fc.property(request, ({ versions, ...sent }) => {
      const bytes = written(DeltaRequest, { ...sent, initial_resource_versions: Object.fromEntries(versions) });
      const { node: got, errorDetail, ...rest } = wire.decodeDeltaRequest(bytes);
      assert.deepEqual(rest, {
        typeUrl: sent.type_url,
        subscribe: sent.resource_names_subscribe,
        unsubscribe: sent.resource_names_unsubscribe,
        initialResourceVersions: new Map(versions),
        responseNonce: sent.response_nonce,
      });
      sameNode(got, sent.node);
      sameError(errorDetail, sent.error_detail);
    }),
    RUNS,
  );
});

test("responses read back by Envoy's protos, and by our client", () => {
  const resource = fc.record({ name: anyText, version: anyText, typeUrl: anyText, value: anyBytes });
  const response = fc.record({
    typeUrl: anyText,
    version: anyText,
    nonce: anyText,
    controlPlane: anyText,
    resources: fc.array(resource, { maxLength: 3 }),
    removed: names,
  });
  fc.assert(
    fc.property(response, ({ typeUrl, version, nonce, controlPlane, resources, removed }) => {
      const encoded = resources.map((item, index) => ({
        ...item,
        // Both forms of an Any are the same bytes.
        any: index % 2 === 0 ? wire.encodeAny(item.typeUrl, item.value) : wire.anyMessage(item.typeUrl, item.value),
      }));
      const meant = resources.map((item) => ({ type_url: item.typeUrl, value: item.value }));
      const plane = controlPlane === "" ? null : { identifier: controlPlane };

      const sotw = wire.encodeSotwResponse({
        typeUrl,
        versionInfo: version,
        nonce,
        controlPlane,
        resources: encoded.map((item) => item.any),
      });
      assert.deepEqual(read(SotwResponse, sotw), {
        version_info: version,
        resources: meant,
        canary: false,
        type_url: typeUrl,
        nonce,
        control_plane: plane,
      });
      const received = client.decodeSotwResponse(sotw);
      assert.deepEqual([received.version, received.typeUrl, received.nonce], [version, typeUrl, nonce]);
      assert.equal(received.controlPlane, controlPlane);
      assert.deepEqual(
        received.resources.map((item) => wire.decodeAny(item.any)),
        resources.map((item) => ({ typeUrl: item.typeUrl, value: item.value })),
      );

      const delta = wire.encodeDeltaResponse({
        typeUrl,
        systemVersion: version,
        nonce,
        controlPlane,
        removed,
        resources: encoded,
      });
      const theirs = read(DeltaResponse, delta) as { resources: Record<string, unknown>[] } & Record<string, unknown>;
      assert.deepEqual(
        theirs.resources.map((item) => [item.name, item.version, item.resource, item.ttl]),
        [...resources.map((item, index) => [item.name, item.version, meant[index], null])],
      );
      assert.deepEqual(
        [theirs.system_version_info, theirs.type_url, theirs.nonce, theirs.removed_resources],
        [version, typeUrl, nonce, removed],
      );
      assert.deepEqual(theirs.control_plane, plane);
      const deltaReceived = client.decodeDeltaResponse(delta);
      assert.deepEqual(deltaReceived.removed, removed);
      assert.deepEqual(
        deltaReceived.resources.map((item) => [item.name, item.version, item.typeUrl]),
        resources.map((item) => [item.name, item.version, item.typeUrl]),
      );
    }),
    RUNS,
  );
});

test("our client's requests are what Envoy's protos write", () => {
  const request = fc.record({ version: anyText, names, nonce: anyText, typeUrl: anyText, error, id: anyText });
  fc.assert(
    fc.property(request, (sent) => {
      const sotw = client.encodeSotwRequest({
        node: { id: sent.id, userAgentName: "a" },
        typeUrl: sent.typeUrl,
        resourceNames: sent.names,
        versionInfo: sent.version,
        responseNonce: sent.nonce,
        errorDetail: sent.error,
      });
      const same = { node: { id: sent.id, user_agent_name: "a" }, type_url: sent.typeUrl, response_nonce: sent.nonce };
      assert.deepEqual(
        read(SotwRequest, sotw),
        read(
          SotwRequest,
          written(SotwRequest, {
            ...same,
            version_info: sent.version,
            resource_names: sent.names,
            error_detail: sent.error,
          }),
        ),
      );
      const delta = client.encodeDeltaRequest({
        node: { id: sent.id, userAgentName: "a" },
        typeUrl: sent.typeUrl,
        subscribe: sent.names,
        unsubscribe: [sent.id],
        initialResourceVersions: new Map([[sent.id, sent.version]]),
        responseNonce: sent.nonce,
      });
      const { node: got, ...rest } = wire.decodeDeltaRequest(delta);
      assert.deepEqual([got?.id, got?.userAgentName], [sent.id, "a"]);
      assert.deepEqual(rest, {
        typeUrl: sent.typeUrl,
        subscribe: sent.names,
        unsubscribe: [sent.id],
        initialResourceVersions: new Map([[sent.id, sent.version]]),
        responseNonce: sent.nonce,
      });
    }),
    RUNS,
  );
});

test("one encoded resource serves any number of responses, unchanged", () => {
  const any = wire.encodeAny("t", Buffer.alloc(70_000, "pem"));
  const before = Buffer.from(any);
  for (const nonce of ["1", "2"]) {
    const bytes = wire.encodeSotwResponse({ typeUrl: "t", versionInfo: "v", nonce, resources: [any] });
    assert.deepEqual(client.decodeSotwResponse(bytes).resources[0]?.any, before);
    assert.ok(read(Any, any).type_url === "t");
  }
  assert.deepEqual(any, before);
});

function sameNode(
  got: wire.Node | undefined,
  sent: { id: string; cluster: string; user_agent_name: string; user_agent_version: string } | undefined,
): void {
  assert.equal(got === undefined, sent === undefined);
  if (got === undefined || sent === undefined) return;
  assert.deepEqual(
    [got.id, got.cluster, got.userAgentName, got.userAgentVersion, got.metadata],
    [sent.id, sent.cluster, sent.user_agent_name, sent.user_agent_version, undefined],
  );
}

function sameError(got: wire.ErrorDetail | undefined, sent: wire.ErrorDetail | undefined): void {
  assert.deepEqual(got, sent === undefined ? undefined : { code: sent.code, message: cut(sent.message) });
}
