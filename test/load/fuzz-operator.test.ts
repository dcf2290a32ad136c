/** The gRPC services that are for operators and probes, under requests that nobody should send. */

import assert from "node:assert/strict";
import { type ClientHttp2Session, connect } from "node:http2";
import { connect as connectSocket } from "node:net";
import { type TestContext, test } from "node:test";
import { grpcSocketPath } from "../../src/serve/sockets.ts";
import { converse, misframed } from "../support/fuzz/conversation.ts";
import { damaged } from "../support/fuzz/messages.ts";
import { type Rng, rng } from "../support/fuzz/rng.ts";
import { healthRequest, reflectionRequest, statusRequest } from "../support/fuzz/status-requests.ts";
import { framed } from "../support/grpc-frames.ts";
import { seedsOf } from "../support/seed.ts";
import { startServer } from "../support/server.ts";

const [OK, INVALID, NOT_FOUND, EXHAUSTED, UNIMPLEMENTED, INTERNAL] = [0, 3, 5, 8, 12, 13];
/** On each of the two. */
const MESSAGES = 40_000;
const STATUS = "/envoy.service.status.v3.ClientStatusDiscoveryService";
const HEALTH = "/grpc.health.v1.Health";

type Rpc = {
  readonly path: string;
  readonly request: (random: Rng) => Buffer;
  /** grpc-js reads these messages: what it can't read is INTERNAL. */
  readonly statuses: readonly number[];
  readonly isStream: boolean;
};
const HEALTH_CHECK: Rpc = {
  path: `${HEALTH}/Check`,
  request: healthRequest,
  statuses: [OK, NOT_FOUND, INTERNAL],
  isStream: false,
};
const RPCS: readonly Rpc[] = [
  { path: `${STATUS}/FetchClientStatus`, request: statusRequest, statuses: [OK, INVALID, INTERNAL], isStream: false },
  { path: `${STATUS}/StreamClientStatus`, request: statusRequest, statuses: [OK, INVALID, INTERNAL], isStream: true },
  HEALTH_CHECK,
  ...["v1", "v1alpha"].map((version) => ({
    path: `/grpc.reflection.${version}.ServerReflection/ServerReflectionInfo`,
    request: reflectionRequest,
    statuses: [OK, INTERNAL],
    isStream: true,
  })),
  { path: `${STATUS}/NoSuchMethod`, request: statusRequest, statuses: [UNIMPLEMENTED], isStream: true },
];

/** Returns how many messages went out. */
async function call(random: Rng, opened: ClientHttp2Session, rpc: Rpc): Promise<number> {
  const count = rpc.isStream ? 1 + random.int(10) : 1;
  const allowed = new Set(rpc.statuses);
  const chunks: Buffer[] = [];
  for (let index = 0; index < count; index++) {
    const request = rpc.request(random);
    const payload = random.chance(0.1) ? damaged(random, request) : request;
    if (random.chance(0.01)) {
      for (const status of [INTERNAL, UNIMPLEMENTED, EXHAUSTED]) allowed.add(status);
      chunks.push(misframed(random, payload));
    } else chunks.push(framed(payload));
  }
  const ending = random.chance(0.8) ? "half-close" : random.pick(["cancel", "reset"] as const);
  const outcome = await converse(opened, rpc.path, chunks, ending);
  const isCut = outcome.status === undefined && (opened.closed || opened.destroyed);
  if (ending === "half-close" && !isCut)
    assert.ok(outcome.status !== undefined && allowed.has(outcome.status), `${rpc.path}: ${JSON.stringify(outcome)}`);
  assert.doesNotMatch(outcome.details, /at .*\.ts:/);
  return count;
}

for (const first of seedsOf("messages")) {
  test(`the operator's socket and the health port stand every request (seed ${first})`, (t) => stand(t, first));
}

async function stand(t: TestContext, first: number): Promise<void> {
  const server = await startServer(t);
  const stream = server.client(await server.credential("cart.shop")).ads({ node: { id: "fuzz" } });
  await stream.request({ names: ["ROOTCA"] }).next();
  stream.ack();
  const socket = () => connectSocket(grpcSocketPath(server.config.dataDir));
  const port = () => connectSocket(server.running.healthPort, "127.0.0.1");
  for (const [createConnection, rpcs] of [
    [socket, RPCS],
    [port, [HEALTH_CHECK, ...RPCS.slice(-1)]],
  ] as const) {
    const open = () => {
      // Node's client counts what it wrote to streams that the server has ended, and then resets its own calls.
      const session = connect("http://localhost", { createConnection, maxSessionMemory: 100_000 });
      session.on("error", () => undefined);
      t.after(() => session.destroy());
      return session;
    };
    let opened = open();
    let connections = 1;
    let sent = 0;
    while (sent < MESSAGES) {
      const seed = first + sent;
      try {
        const calls = Array.from({ length: 8 }, (_, index) => {
          const random = rng(seed + index);
          return call(random, opened, random.pick(rpcs));
        });
        sent += (await Promise.all(calls)).reduce((sum, count) => sum + count, 0);
      } catch (error) {
        throw new Error(`in the calls of seed ${seed}: ${(error as Error).message}`, { cause: error });
      }
      if (!opened.destroyed && !opened.closed) continue;
      opened = open();
      connections += 1;
    }
    t.diagnostic(`${sent} messages on ${connections} connections`);
    const outcome = await converse(opened, HEALTH_CHECK.path, [framed(Buffer.alloc(0))], "half-close");
    assert.equal(outcome.status, OK, "it serves on");
  }
  assert.equal(server.running.status().proxies[0]?.sync, "SYNCED", "the proxy is where it was");
  assert.deepEqual(
    server.log.filter(({ level }) => level === "error" || level === "fatal"),
    [],
  );
}
