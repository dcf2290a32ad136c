/**
 * Every RPC of the standalone server under requests that nobody should send, over mTLS, while another proxy goes on with its own:
 * each call ends with a status that says what was wrong with it, and nothing disturbs anybody else.
 */

import assert from "node:assert/strict";
import { writeFile } from "node:fs/promises";
import { type ClientHttp2Session, connect } from "node:http2";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { connect as connectTls } from "node:tls";
import type { BootstrapAnswer } from "../../src/serve/admin-api.ts";
import type { Variant } from "../../src/xds/subscription-state.ts";
import { converse, type Ending, misframed, type Outcome } from "../support/fuzz/conversation.ts";
import { damaged, randomRequest } from "../support/fuzz/messages.ts";
import { type Rng, rng } from "../support/fuzz/rng.ts";
import { framed } from "../support/grpc-frames.ts";
import { SEED, seedsOf } from "../support/seed.ts";
import { startServer, type TestServer, until } from "../support/server.ts";

const [OK, CANCELLED, INVALID, NOT_FOUND, EXHAUSTED, UNIMPLEMENTED, INTERNAL, UNAVAILABLE] = [
  0, 1, 3, 5, 8, 12, 13, 14,
];
const SDS = "/envoy.service.secret.v3.SecretDiscoveryService";
const ADS = "/envoy.service.discovery.v3.AggregatedDiscoveryService";
/** In each run. */
const MESSAGES = 200_000;
const MOST_BYTES = 1024 * 1024;

type Rpc = {
  readonly path: string;
  readonly variant: Variant;
  readonly statuses: readonly number[];
  readonly isStream: boolean;
};
const RPCS: readonly Rpc[] = [
  { path: `${SDS}/StreamSecrets`, variant: "sotw", statuses: [OK, INVALID], isStream: true },
  { path: `${SDS}/DeltaSecrets`, variant: "delta", statuses: [OK, INVALID], isStream: true },
  { path: `${ADS}/StreamAggregatedResources`, variant: "sotw", statuses: [OK, INVALID], isStream: true },
  { path: `${ADS}/DeltaAggregatedResources`, variant: "delta", statuses: [OK, INVALID], isStream: true },
  { path: `${SDS}/FetchSecrets`, variant: "sotw", statuses: [OK, INVALID, NOT_FOUND], isStream: false },
  // Its messages are another protocol's, which grpc-js reads: what it can't read is INTERNAL.
  { path: "/grpc.health.v1.Health/Check", variant: "sotw", statuses: [OK, NOT_FOUND, INTERNAL], isStream: false },
  {
    path: "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
    variant: "sotw",
    statuses: [OK, INTERNAL],
    isStream: true,
  },
  {
    path: "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
    variant: "sotw",
    statuses: [OK, INTERNAL],
    isStream: true,
  },
  { path: `${SDS}/NoSuchMethod`, variant: "sotw", statuses: [UNIMPLEMENTED], isStream: true },
  { path: "/__proto__/constructor", variant: "sotw", statuses: [UNIMPLEMENTED], isStream: true },
];

function session(
  t: TestContext,
  server: TestServer,
  { caPem, certPem, keyPem, serverName }: BootstrapAnswer,
): ClientHttp2Session {
  const opened = connect(`https://127.0.0.1:${server.running.xdsPort}`, {
    ca: caPem,
    cert: certPem,
    key: keyPem,
    servername: serverName,
    // Node's client counts what it wrote to streams that the server has ended, and then resets its own calls.
    maxSessionMemory: 100_000,
  });
  opened.on("error", () => undefined);
  t.after(() => opened.destroy());
  return opened;
}

/** One call with up to forty messages; returns how many. */
async function call(random: Rng, opened: ClientHttp2Session): Promise<number> {
  const rpc = random.chance(0.9) ? random.pick(RPCS.slice(0, 4)) : random.pick(RPCS);
  const count = rpc.isStream ? 1 + random.int(40) : 1;
  const allowed = new Set(rpc.statuses);
  // Without damage a conversation goes on; one that is damaged ends at its first bad message.
  const isDamaged = random.chance(0.3);
  const chunks: Buffer[] = [];
  for (let index = 0; index < count; index++) {
    let payload = randomRequest(random, rpc.variant, index === 0);
    if (isDamaged && random.chance(0.2)) payload = damaged(random, payload);
    if (random.chance(0.0005)) payload = Buffer.concat([payload, framed(Buffer.alloc(MOST_BYTES))]);
    if (payload.length > MOST_BYTES) allowed.add(EXHAUSTED);
    if (isDamaged && random.chance(0.02)) {
      for (const status of [INTERNAL, UNIMPLEMENTED, EXHAUSTED]) allowed.add(status);
      chunks.push(misframed(random, payload));
    } else chunks.push(framed(payload));
  }
  const ending: Ending = random.chance(0.8) ? "half-close" : random.pick(["cancel", "reset"]);
  const outcome: Outcome = await converse(opened, rpc.path, chunks, ending);
  // Node ends a connection with more resets than any honest client makes: its client's own.
  const isCut = outcome.status === undefined && (opened.closed || opened.destroyed);
  if (ending === "half-close" && !isCut) {
    assert.equal(
      outcome.http,
      200,
      JSON.stringify({ ...outcome, path: rpc.path, sizes: chunks.map(({ length }) => length) }),
    );
    assert.ok(outcome.status !== undefined && allowed.has(outcome.status), `${rpc.path}: ${JSON.stringify(outcome)}`);
  }
  assert.doesNotMatch(outcome.details, /internal error|at .*\.ts:/);
  return count;
}

for (const first of seedsOf("messages")) {
  test(`no request disturbs the server or another proxy (seed ${first})`, (t) => disturb(t, first));
}

async function disturb(t: TestContext, first: number): Promise<void> {
  const server = await startServer(t, { streamRate: "999999" });
  const witness = server.client(await server.credential("witness.shop"));
  const watching = witness.deltaSecrets().request({ subscribe: ["root-cert-for-mtls-outbound:shop/pay"] });
  assert.deepEqual((await watching.next()).removed, ["root-cert-for-mtls-outbound:shop/pay"]);
  watching.ack();
  const credential = await server.credential("cart.shop");
  let opened = session(t, server, credential);
  let sent = 0;
  let batch = 0;
  let connections = 1;
  while (sent < MESSAGES) {
    const end = Math.min(MESSAGES, sent + MESSAGES / 8);
    while (sent < end) {
      const seed = first + sent;
      try {
        // Several at a time, on one connection.
        const counts = await Promise.all(Array.from({ length: 8 }, (_, index) => call(rng(seed + index), opened)));
        sent += counts.reduce((sum, count) => sum + count, 0);
      } catch (error) {
        throw new Error(`in the calls of seed ${seed}: ${(error as Error).message}`, { cause: error });
      }
      if (!opened.destroyed && !opened.closed) continue;
      opened = session(t, server, credential);
      connections += 1;
    }
    batch += 1;
    await writeFile(join(server.config.dataDir, "services.yaml"), `shop/pay: [pay${batch}.shop]\n`);
    const pushed = await watching.next(undefined, 60_000);
    assert.match(JSON.stringify(pushed.secrets), new RegExp(`pay${batch}\\.shop`), "the witness gets its push");
    watching.ack();
  }
  t.diagnostic(`${sent} messages on ${connections} connections`);
  assert.ok(connections < 2 + sent / 1_000, "a connection is not lost to every bad message");
  opened.close();
  await until(
    "only the witness is left",
    () => server.running.status().proxies.filter(({ connected }) => connected).length === 1,
  );
  assert.equal(watching.received.length, batch + 1, "and nothing but its pushes");
  const { text } = await server.http("/metrics");
  assert.match(text, /^meshroot_xds_streams 1$/m);
  const lines = server.log.map((line) => JSON.stringify(line));
  assert.deepEqual(
    lines.filter((line) => /PRIVATE KEY|internal error|\\n +at /.test(line)),
    [],
  );
  assert.deepEqual(
    server.log.filter(({ level }) => level === "error" || level === "fatal"),
    [],
  );
}

test("what is no HTTP/2 at all ends with the connection, and costs nobody else anything", async (t) => {
  const server = await startServer(t);
  const credential = await server.credential("cart.shop");
  const preface = Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
  for (let round = 0; round < 50; round++) {
    const random = rng(SEED + round);
    const socket = connectTls({
      port: server.running.xdsPort,
      host: "127.0.0.1",
      ca: credential.caPem,
      cert: credential.certPem,
      key: credential.keyPem,
      servername: credential.serverName,
      ALPNProtocols: ["h2"],
    });
    socket.on("error", () => undefined);
    const closed = new Promise((resolve) => socket.once("close", resolve));
    socket.write(random.chance(0.5) ? preface : random.bytes(24));
    for (let frames = random.int(6); frames > 0; frames--) socket.write(random.bytes(1 + random.int(500)));
    socket.resume();
    socket.end();
    await closed;
  }
  const stream = server
    .client(credential)
    .secrets()
    .request({ names: ["ROOTCA"] });
  assert.equal((await stream.next()).secrets[0]?.name, "ROOTCA");
  assert.deepEqual(
    server.log.filter(({ level }) => level === "error" || level === "fatal"),
    [],
  );
});

test("headers that are none of gRPC's are answered by HTTP or gRPC, and the connection goes on", async (t) => {
  const server = await startServer(t);
  const opened = session(t, server, await server.credential("cart.shop"));
  const path = `${SDS}/StreamSecrets`;
  for (const headers of [
    { "content-type": "text/html" },
    { ":method": "GET" },
    { "grpc-timeout": "1n" },
    { "grpc-timeout": "forever" },
    { "grpc-encoding": "no-such-encoding" },
    { "x-long": "x".repeat(6_000) },
    { "bad-bin": "%%%" },
  ] as Record<string, string>[]) {
    const outcome = await converse(opened, path, [], "half-close", headers);
    const isKnown = [OK, CANCELLED, INVALID, 4, UNIMPLEMENTED, INTERNAL, UNAVAILABLE, undefined].includes(
      outcome.status,
    );
    assert.ok(isKnown && outcome.http !== 500, `${JSON.stringify(headers).slice(0, 80)}: ${JSON.stringify(outcome)}`);
  }
  const outcome = await converse(opened, path, [framed(Buffer.from("0a00", "hex"))], "half-close");
  assert.equal(outcome.status, INVALID, "the same connection serves on");
});
