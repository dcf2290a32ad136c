import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { setImmediate } from "node:timers/promises";
import * as grpc from "@grpc/grpc-js";
import protobuf from "protobufjs";
import { encodeTlsCertificate, encodeValidationContext, SECRET_TYPE_URL } from "../../src/secrets/secret-codec.ts";
import {
  type DeltaRequest,
  decodeDeltaRequest,
  decodeSotwRequest,
  encodeDeltaResponse,
  encodeSotwResponse,
  type SotwRequest,
} from "../../src/xds/wire.ts";
import { aggregatedDiscoveryService, secretDiscoveryService } from "../support/discovery-services.ts";
import { loadEnvoyProtos } from "../support/protos.ts";
import { makeTestLeaf, makeTestRoot } from "../support/test-certificates.ts";
import { type ClientTls, xdsClient } from "../support/xds-client.ts";

type Call = grpc.ServerDuplexStream<Buffer, Buffer>;

const LEAF = encodeTlsCertificate({ name: "default", chainPem: "chain", privateKeyPem: "key" });
const BUNDLE = encodeValidationContext({ name: "ROOTCA", trustedCaPem: "roots" });

/** A server that answers each request as the test says and keeps what it heard. */
async function serve(
  t: TestContext,
  onSotw: (call: Call, request: SotwRequest) => void = () => {},
  credentials = grpc.ServerCredentials.createInsecure(),
  tls?: ClientTls,
) {
  const sotw: SotwRequest[] = [];
  const delta: DeltaRequest[] = [];
  const heard = { wake: () => {} };
  const streamSotw = (call: Call) =>
    call.on("data", (bytes: Buffer) => {
      const request = decodeSotwRequest(bytes);
      sotw.push(request);
      onSotw(call, request);
      heard.wake();
    });
  const streamDelta = (call: Call) =>
    call.on("data", (bytes: Buffer) => {
      delta.push(decodeDeltaRequest(bytes));
      heard.wake();
      if (delta.length === 1)
        call.write(
          encodeDeltaResponse({
            typeUrl: SECRET_TYPE_URL,
            systemVersion: "1",
            nonce: "d1",
            resources: [{ name: "default", version: "v1", any: LEAF }],
            removed: ["gone"],
          }),
        );
    });
  const server = new grpc.Server();
  server.addService(secretDiscoveryService, {
    StreamSecrets: streamSotw,
    DeltaSecrets: streamDelta,
    FetchSecrets: (call: grpc.ServerUnaryCall<Buffer, Buffer>, reply: grpc.sendUnaryData<Buffer>) => {
      const { resourceNames } = decodeSotwRequest(call.request);
      if (resourceNames.length === 0) reply({ code: grpc.status.INVALID_ARGUMENT, details: "no names" });
      else reply(null, response("f1", BUNDLE));
    },
  });
  server.addService(aggregatedDiscoveryService, {
    StreamAggregatedResources: streamSotw,
    DeltaAggregatedResources: streamDelta,
  });
  const port = await new Promise<number>((resolve, reject) =>
    server.bindAsync("127.0.0.1:0", credentials, (error, bound) => (error === null ? resolve(bound) : reject(error))),
  );
  const client = xdsClient(port, tls);
  t.after(() => {
    client.close();
    server.forceShutdown();
  });
  const until = async (enough: () => boolean) => {
    while (!enough())
      await new Promise<void>((resolve) => {
        heard.wake = resolve;
      });
  };
  return { client, sotw, delta, until };
}

function response(nonce: string, ...resources: Buffer[]): Buffer {
  return encodeSotwResponse({ typeUrl: SECRET_TYPE_URL, versionInfo: `version-${nonce}`, nonce, resources });
}

test("paths and stream flags are those of Envoy's services", () => {
  const envoy = loadEnvoyProtos();
  for (const [name, service] of [
    ["envoy.service.secret.v3.SecretDiscoveryService", secretDiscoveryService],
    ["envoy.service.discovery.v3.AggregatedDiscoveryService", aggregatedDiscoveryService],
  ] as const) {
    const theirs = envoy.lookupService(name);
    assert.ok(theirs instanceof protobuf.Service);
    assert.deepEqual(Object.keys(service).sort(), Object.keys(theirs.methods).sort());
    for (const [method, definition] of Object.entries(service)) {
      assert.equal(definition.path, `/${name}/${method}`);
      assert.equal(definition.requestStream, theirs.methods[method]?.requestStream ?? false);
      assert.equal(definition.responseStream, theirs.methods[method]?.responseStream ?? false);
      const bytes = Buffer.from([1, 2, 3]);
      assert.equal(definition.requestDeserialize(bytes), bytes);
      assert.equal(definition.responseSerialize(bytes), bytes);
    }
  }
});

test("SotW: an ACK repeats names, version and nonce; a NACK keeps the accepted version and says why", async (t) => {
  const { client, sotw, until } = await serve(t, (call, request) => {
    if (request.responseNonce === "") call.write(response("n1", LEAF));
    else if (request.responseNonce === "n1") call.write(response("n2", BUNDLE));
  });
  const stream = client.secrets().request({ names: ["default", "ROOTCA"] });
  const first = await stream.next();
  assert.deepEqual(first.secrets, [
    { kind: "tlsCertificate", name: "default", chainPem: "chain", privateKeyPem: "key" },
  ]);
  stream.ack();
  const second = await stream.nextSecret("ROOTCA");
  assert.equal(second.nonce, "n2");
  stream.nack("Failed to load trusted CA certificates");
  await until(() => sotw.length === 3);
  const seen = sotw.map(({ node, ...rest }) => ({ id: node?.id, ...rest }));
  const common = { typeUrl: SECRET_TYPE_URL, resourceNames: ["default", "ROOTCA"] };
  const errorDetail = { code: 13, message: "Failed to load trusted CA certificates" };
  assert.deepEqual(seen, [
    { id: "test-node", ...common, versionInfo: "", responseNonce: "" },
    { id: undefined, ...common, versionInfo: "version-n1", responseNonce: "n1" },
    { id: undefined, ...common, versionInfo: "version-n1", responseNonce: "n2", errorDetail },
  ]);
  await stream.expectSilence(20);
  assert.equal((await stream.cancel()).code, grpc.status.CANCELLED);
});

test("delta: an ACK is a nonce, and a subscription change can ride on it", async (t) => {
  const { client, delta, until } = await serve(t);
  const stream = client.deltaSecrets().request({ subscribe: ["default", "gone"], initialVersions: { default: "v0" } });
  const got = await stream.next();
  assert.deepEqual([got.removed, got.resources[0]?.version, got.secrets[0]?.name], [["gone"], "v1", "default"]);
  stream.ack({ subscribe: ["ROOTCA"], unsubscribe: ["gone"] }).nack("no");
  await until(() => delta.length === 3);
  const seen = delta.map(({ node: _, typeUrl: __, ...rest }) => rest);
  const nothing = { subscribe: [], unsubscribe: [], initialResourceVersions: new Map(), responseNonce: "d1" };
  assert.deepEqual(seen, [
    {
      subscribe: ["default", "gone"],
      unsubscribe: [],
      initialResourceVersions: new Map([["default", "v0"]]),
      responseNonce: "",
    },
    { ...nothing, subscribe: ["ROOTCA"], unsubscribe: ["gone"] },
    { ...nothing, errorDetail: { code: 13, message: "no" } },
  ]);
});

test("ADS: what one type knows is not mixed into another's requests", async (t) => {
  const { client, sotw, until } = await serve(t, (call, request) => {
    if (request.typeUrl === SECRET_TYPE_URL && request.responseNonce === "") call.write(response("n1", LEAF));
  });
  const stream = client.ads({ nodeAlways: true }).request({ names: ["default"] });
  await stream.next();
  stream.request({ typeUrl: "cds", names: [] }).ack();
  await until(() => sotw.length === 3);
  assert.deepEqual(
    sotw.map((request) => [request.typeUrl, request.resourceNames, request.responseNonce, request.node?.id]),
    [
      [SECRET_TYPE_URL, ["default"], "", "test-node"],
      ["cds", [], "", "test-node"],
      [SECRET_TYPE_URL, ["default"], "n1", "test-node"],
    ],
  );
  const incremental = client.deltaAds().request({ subscribe: ["default"] });
  assert.equal((await incremental.next()).nonce, "d1");
});

test("fetch answers once, or rejects with the status", async (t) => {
  const { client } = await serve(t);
  assert.equal((await client.fetch({ names: ["ROOTCA"] })).secrets[0]?.name, "ROOTCA");
  await assert.rejects(client.fetch({ names: [] }), { code: grpc.status.INVALID_ARGUMENT, details: "no names" });
});

test("over TLS the client shows its certificate", async (t) => {
  const root = await makeTestRoot("test root");
  const [server, own] = [
    await makeTestLeaf(root, { dns: ["xds.test"] }),
    await makeTestLeaf(root, { uris: ["a://me"] }),
  ];
  const identities: (string | undefined)[] = [];
  const pair = { cert_chain: Buffer.from(server.certPem), private_key: Buffer.from(server.keyPem) };
  const { client } = await serve(
    t,
    (call) => {
      identities.push(call.getAuthContext().sslPeerCertificate?.subjectaltname);
      call.write(response("n1", LEAF));
    },
    grpc.ServerCredentials.createSsl(Buffer.from(root.certPem), [pair], true),
    { ca: root.certPem, certificate: own.certPem, key: own.keyPem, serverName: "xds.test" },
  );
  await client
    .secrets()
    .request({ names: ["default"] })
    .next();
  assert.deepEqual(identities, ["URI:a://me"]);
});

test("the client's waits fail with what came instead, and name no key", async (t) => {
  const { client } = await serve(t, (call, request) => {
    if (request.versionInfo === "end")
      call.emit("error", { code: grpc.status.INVALID_ARGUMENT, details: "missing node" });
    else call.write(response("n1", LEAF));
  });
  const stream = client.secrets({ node: false });
  assert.throws(() => stream.ack(), /await next\(\) first/);
  stream.request({ names: ["default"] });
  while (stream.received.length === 0) await setImmediate();
  await assert.rejects(
    stream.next(({ nonce }) => nonce === "other", 1),
    /within 1 ms; passed over: \[default version version-n1 nonce n1\]$/,
  );
  stream.request();
  await assert.rejects(stream.expectSilence(5_000), /expected silence, got default version/);
  stream.request({ version: "end" });
  assert.deepEqual(await stream.ended, { code: grpc.status.INVALID_ARGUMENT, details: "missing node" });
  await stream.next();
  await assert.rejects(stream.next(), /stream ended: 3 missing node/);
  await assert.rejects(stream.expectSilence(1), /stream ended: 3/);
});
