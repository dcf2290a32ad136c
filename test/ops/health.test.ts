/** grpc.health.v1 as a probe sees it (R82). */

import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import * as grpc from "@grpc/grpc-js";
import { loadSync } from "@grpc/proto-loader";
import { protoPath } from "grpc-health-check";
import { openGrpcPort } from "../../src/ops/grpc-port.ts";
import { ServiceHealth } from "../../src/ops/health.ts";
import { startServer, until } from "../support/server.ts";

const SERVICES = [
  "",
  "envoy.service.secret.v3.SecretDiscoveryService",
  "envoy.service.discovery.v3.AggregatedDiscoveryService",
  "envoy.service.status.v3.ClientStatusDiscoveryService",
];
const NOT_FOUND = 5;

type Answer = { readonly status: string };
type Service = Readonly<Record<"check" | "list" | "watch", grpc.MethodDefinition<object, object>>>;

function healthClient(t: TestContext, port: number) {
  const definition = loadSync(protoPath, { enums: String })["grpc.health.v1.Health"] as unknown as Record<
    string,
    grpc.MethodDefinition<object, object>
  >;
  const service = { check: definition.Check, list: definition.List, watch: definition.Watch } as Service;
  const client = new grpc.Client(`127.0.0.1:${port}`, grpc.credentials.createInsecure());
  t.after(() => client.close());
  const unary = (method: "check" | "list", request: object) => {
    const { path, requestSerialize, responseDeserialize } = service[method];
    return new Promise<object>((resolve, reject) => {
      client.makeUnaryRequest(path, requestSerialize, responseDeserialize, request, (error, answer) =>
        error === null && answer !== undefined ? resolve(answer) : reject(error),
      );
    });
  };
  return {
    check: (name: string) => unary("check", { service: name }),
    list: async () => (await unary("list", {})) as { statuses: Record<string, Answer> },
    /** The statuses that came, as they come. */
    watch(name: string): string[] {
      const { path, requestSerialize, responseDeserialize } = service.watch;
      const seen: string[] = [];
      const call = client.makeServerStreamRequest(path, requestSerialize, responseDeserialize, { service: name });
      call.on("data", (answer: Answer) => seen.push(answer.status));
      call.on("error", () => undefined);
      t.after(() => call.cancel());
      return seen;
    },
  };
}

test("Check, List and Watch know the whole and each service, and say so of no other", async (t) => {
  const server = await startServer(t);
  const health = healthClient(t, server.running.healthPort);
  for (const name of SERVICES) assert.deepEqual(await health.check(name), { status: "SERVING" });
  await assert.rejects(health.check("envoy.service.cluster.v3.ClusterDiscoveryService"), { code: NOT_FOUND });
  const { statuses } = await health.list();
  assert.deepEqual(Object.keys(statuses).sort(), [...SERVICES].sort());
  for (const { status } of Object.values(statuses)) assert.equal(status, "SERVING");
  const unknown = health.watch("nobody");
  await until("Watch answers", () => unknown.length > 0);
  assert.deepEqual(unknown, ["SERVICE_UNKNOWN"]);
});

test("who watches hears NOT_SERVING when the server stops", async (t) => {
  const server = await startServer(t);
  const health = healthClient(t, server.running.healthPort);
  const watches = SERVICES.map((name) => health.watch(name));
  await until("every watch has its first answer", () => watches.every((seen) => seen.length === 1));
  // A proxy that is connected makes the server wait for its streams to end.
  await server
    .client(await server.credential("cart.shop"))
    .ads()
    .request({ names: ["ROOTCA"] })
    .next();
  await server.running.stop();
  for (const seen of watches) assert.deepEqual(seen, ["SERVING", "NOT_SERVING"]);
});

test("an address that can't be had is MR5003, and says why", async (t) => {
  const open = (host: string, port: number) =>
    openGrpcPort("health", { host, port }, "--health-port", (server) => new ServiceHealth([]).addTo(server));
  const first = await open("127.0.0.1", 0);
  t.after(() => first.close());
  for (const [host, message] of [
    ["127.0.0.1", /^MR5003 health address 127\.0\.0\.1:\d+ is in use$/],
    // TEST-NET-1 (RFC 5737): no machine has it.
    ["192.0.2.1", /^MR5003 health can't listen on 192\.0\.2\.1:\d+: EADDRNOTAVAIL$/],
  ] as const) {
    await assert.rejects(open(host, first.port), (error: Error & { code: string; hint: string }) => {
      assert.match(error.message, message);
      assert.match(error.hint, /--health-port/);
      return true;
    });
  }
});
