/** Server reflection: what each port says that it serves (R82). */

import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { create, createFileRegistry, fromBinary } from "@bufbuild/protobuf";
import { type FileDescriptorProto, FileDescriptorProtoSchema, FileDescriptorSetSchema } from "@bufbuild/protobuf/wkt";
import { grpcSocketPath } from "../../src/serve/sockets.ts";
import { type GrpcCaller, grpcCaller } from "../support/grpc-call.ts";
import { startServer, type TestServer } from "../support/server.ts";

const VERSIONS = ["v1", "v1alpha"] as const;
const REFLECTION = VERSIONS.map((version) => `grpc.reflection.${version}.ServerReflection`);
const HEALTH = "grpc.health.v1.Health";
const XDS = ["envoy.service.discovery.v3.AggregatedDiscoveryService", "envoy.service.secret.v3.SecretDiscoveryService"];
const CLIENT_STATUS = "envoy.service.status.v3.ClientStatusDiscoveryService";
const UNIMPLEMENTED = 12;

type Answer = {
  readonly list_services_response?: { readonly service: readonly { readonly name: string }[] };
  readonly file_descriptor_response?: { readonly file_descriptor_proto: readonly Buffer[] };
};

async function ports(t: TestContext, server: TestServer) {
  const { xdsPort, healthPort } = server.running;
  const { caPem, certPem, keyPem, serverName } = await server.credential("cart.shop");
  const tls = { ca: caPem, certificate: certPem, key: keyPem, serverName };
  return {
    xds: grpcCaller(t, `127.0.0.1:${xdsPort}`, tls),
    health: grpcCaller(t, `127.0.0.1:${healthPort}`),
    operator: grpcCaller(t, `unix:${grpcSocketPath(server.config.dataDir)}`),
  };
}

async function listed(caller: GrpcCaller, version: string): Promise<string[]> {
  const { answers, code } = await caller.exchange<Answer>(
    `grpc.reflection.${version}.ServerReflection`,
    "ServerReflectionInfo",
    [{ list_services: "" }],
  );
  assert.equal(code, 0);
  return (answers[0]?.list_services_response?.service ?? []).map(({ name }) => name).sort();
}

test("each port lists what it serves, in both versions (R82)", async (t) => {
  const { xds, health, operator } = await ports(t, await startServer(t));
  for (const version of VERSIONS) {
    assert.deepEqual(await listed(xds, version), [...XDS, HEALTH, ...REFLECTION].sort());
    assert.deepEqual(await listed(health, version), [HEALTH, ...REFLECTION].sort());
    assert.deepEqual(await listed(operator, version), [CLIENT_STATUS, HEALTH, ...REFLECTION].sort());
  }
});

test("what is described links: each file of each service, with all that it imports (R82)", async (t) => {
  const { operator, xds } = await ports(t, await startServer(t));
  const secret = "envoy.extensions.transport_sockets.tls.v3.Secret";
  for (const [caller, symbol] of [
    [operator, CLIENT_STATUS],
    [operator, HEALTH],
    [operator, REFLECTION[0] ?? ""],
    [xds, XDS[0] ?? ""],
    [xds, XDS[1] ?? ""],
    [xds, secret],
  ] as const) {
    const files = await described(caller, symbol);
    // A client that links strictly, as grpcurl does: it throws on a name that no imported file holds.
    const registry = createFileRegistry(create(FileDescriptorSetSchema, { file: dependenciesFirst(files) }));
    assert.ok(registry.get(symbol), `${symbol} is described`);
    for (const { dependency, messageType } of files) {
      assert.ok(
        dependency.every((name) => files.some((file) => file.name === name)),
        "imports come along",
      );
      for (const { field } of messageType)
        for (const { typeName } of field)
          assert.ok(typeName === "" || typeName.startsWith("."), `${typeName} is qualified`);
    }
  }
  const delta = (await described(xds, "envoy.service.discovery.v3.DeltaDiscoveryRequest"))
    .flatMap(({ messageType }) => messageType)
    .find(({ name }) => name === "DeltaDiscoveryRequest");
  // protoc's name for it; others are refused.
  assert.deepEqual(
    delta?.nestedType.map(({ name }) => name),
    ["InitialResourceVersionsEntry"],
  );
});

async function described(caller: GrpcCaller, symbol: string): Promise<FileDescriptorProto[]> {
  const { answers } = await caller.exchange<Answer>(REFLECTION[0] ?? "", "ServerReflectionInfo", [
    { file_containing_symbol: symbol },
  ]);
  const files = answers[0]?.file_descriptor_response?.file_descriptor_proto ?? [];
  return files.map((bytes) => fromBinary(FileDescriptorProtoSchema, bytes));
}

function dependenciesFirst(files: readonly FileDescriptorProto[]): FileDescriptorProto[] {
  const sorted: FileDescriptorProto[] = [];
  const add = (file: FileDescriptorProto) => {
    for (const name of file.dependency)
      add(files.find((other) => other.name === name) ?? assert.fail(`${name} is missing`));
    if (!sorted.includes(file)) sorted.push(file);
  };
  for (const file of files) add(file);
  return sorted;
}

test("--xds-port-extras off takes health and reflection off the data port, and from no other (R82)", async (t) => {
  const { xds, health, operator } = await ports(t, await startServer(t, { xdsPortExtras: "off" }));
  for (const service of REFLECTION)
    assert.equal((await xds.exchange(service, "ServerReflectionInfo", [{ list_services: "" }])).code, UNIMPLEMENTED);
  await assert.rejects(xds.unary(HEALTH, "Check", {}), { code: UNIMPLEMENTED });
  for (const caller of [health, operator])
    assert.deepEqual(await caller.unary(HEALTH, "Check", {}), { status: "SERVING" });
});

test("health is answered on the data port, for any client that passed the handshake (R82)", async (t) => {
  const { xds } = await ports(t, await startServer(t));
  for (const service of ["", ...XDS])
    assert.deepEqual(await xds.unary(HEALTH, "Check", { service }), { status: "SERVING" });
});
