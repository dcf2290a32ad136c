/** The running server on the wire, over mTLS: status codes, responses and the life of a stream (R1-R11, R22, R37, R70). */

import assert from "node:assert/strict";
import { test } from "node:test";
import { startRelay } from "../../src/cli/demo/relay.ts";
import { startServer, until } from "../support/server.ts";
import type { Response } from "../support/xds-client.ts";

const OK = 0;
const INVALID_ARGUMENT = 3;
const CLUSTER = "type.googleapis.com/envoy.config.cluster.v3.Cluster";
const BUNDLES = ["ROOTCA", "ALL", "root-cert-for-mtls-inbound"];

const nameOf = (response: Response) => response.secrets.map(({ name }) => name).join();

test("every method answers with one secret to a response, named, typed and inline (R1, R2, R9, R23)", async (t) => {
  const server = await startServer(t);
  const client = server.client(await server.credential("cart.shop"));
  for (const stream of [client.secrets(), client.ads()]) {
    const response = await stream.request({ names: ["ROOTCA"] }).next();
    assertWellFormed(response, "ROOTCA");
    assert.match(response.version, /^1-[0-9a-f]{12}$/);
    await stream.cancel();
  }
  for (const stream of [client.deltaSecrets(), client.deltaAds()]) {
    const response = await stream.request({ subscribe: ["ROOTCA"] }).next();
    assertWellFormed(response, "ROOTCA");
    assert.match(response.resources[0]?.version ?? "", /^1-[0-9a-f]{12}$/);
    await stream.cancel();
  }
  const untyped = client.secrets().request({ names: ["ROOTCA"], typeUrl: "" });
  assertWellFormed(await untyped.next(), "ROOTCA");
});

test("wrong requests end the stream with INVALID_ARGUMENT and say why (R2, R3, R5, R7)", async (t) => {
  const server = await startServer(t);
  const client = server.client(await server.credential("cart.shop"));
  const changed = { node: { id: "another" } };
  const rows: [string, { ended: Promise<{ code: number; details: string }> }, RegExp][] = [
    ["another type on SDS", client.secrets().request({ typeUrl: CLUSTER }), /serves .*Secret, not .*Cluster/],
    [
      "another type on delta SDS",
      client.deltaSecrets().request({ typeUrl: CLUSTER }),
      /serves .*Secret, not .*Cluster/,
    ],
    ["no type on ADS", client.ads().request({ typeUrl: "" }), /type URL is required for ADS/],
    ["no type on delta ADS", client.deltaAds().request({ typeUrl: "" }), /type URL is required for ADS/],
    ["no node", client.secrets({ node: false }).request({ names: ["ROOTCA"] }), /missing node information/],
    ["an empty node id", client.ads({ node: { id: "" } }).request({ names: ["ROOTCA"] }), /missing node information/],
    [
      "another node",
      client
        .secrets()
        .request({ names: ["ROOTCA"] })
        .request(changed),
      /node.id changed/,
    ],
    [
      "another delta node",
      client
        .deltaAds()
        .request({ subscribe: ["ROOTCA"] })
        .request(changed),
      /node.id changed/,
    ],
    ["no protobuf", client.secrets().raw(Buffer.from([0xff, 0xff, 0xff])), /./],
  ];
  for (const [what, stream, details] of rows) {
    const end = await stream.ended;
    assert.equal(end.code, INVALID_ARGUMENT, `${what}: ${end.details}`);
    assert.match(end.details, details, what);
  }
  assert.match((await server.http("/metrics")).text, /^meshroot_xds_streams 0$/m);
});

test("a type without a source is never answered and disturbs nothing (R4, R6)", async (t) => {
  const server = await startServer(t);
  const client = server.client(await server.credential("cart.shop"));
  const stream = client.ads().request({ typeUrl: CLUSTER, names: [] });
  stream.request({ names: ["ROOTCA"] });
  assert.equal(nameOf(await stream.next()), "ROOTCA");
  stream.ack();
  stream.request({ names: ["ROOTCA", "ALL"] });
  assert.equal(nameOf(await stream.next()), "ALL");
  assert.equal(stream.received.length, 2);
});

test("one response is in flight, each name is sent once, in its own response, under its own nonce (R10, R11, R22)", async (t) => {
  const server = await startServer(t);
  const client = server.client(await server.credential("cart.shop"));
  const nonces: string[] = [];
  for (const stream of [client.secrets(), client.ads()]) {
    // Growing subscriptions before the first answer (T3), with names twice and empty ones (R30).
    stream.request({ names: ["ROOTCA"] }).request({ names: ["ALL", "ROOTCA", "ALL", ""] });
    stream.request({ names: [...BUNDLES, "ROOTCA"] });
    const seen: string[] = [];
    for (const _ of BUNDLES) {
      const response = await stream.next();
      assert.equal(stream.received.length, seen.length + 1, "nothing comes before the ACK");
      seen.push(nameOf(response));
      nonces.push(response.nonce);
      stream.ack();
    }
    assert.deepEqual(seen.sort(), [...BUNDLES].sort());
    // A repeated ACK gets no answer (R26): the next response is that of the next name.
    stream.ack().ack({ names: [...BUNDLES, "default"] });
    assert.equal(nameOf(await stream.next()), "default");
    assert.equal(stream.received.length, BUNDLES.length + 1);
  }
  assert.equal(new Set(nonces).size, nonces.length);
});

test("a name that does not exist: silence in SotW, removed once in delta (R34-R37, R56)", async (t) => {
  const server = await startServer(t);
  const client = server.client(await server.credential("cart.shop"));
  const sotw = client
    .secrets()
    .request({ names: [] })
    .request({ names: ["*"] })
    .request({ names: ["nobody"] });
  sotw.request({ names: ["nobody", "ROOTCA"] });
  assert.equal(nameOf(await sotw.next()), "ROOTCA");
  const delta = client.deltaSecrets().request({ subscribe: ["nobody", "nothing", "*"] });
  const removal = await delta.next();
  assert.deepEqual([[...removal.removed].sort(), removal.resources], [["nobody", "nothing"], []]);
  delta.ack({ subscribe: ["ROOTCA"], unsubscribe: ["nothing", "phantom"] });
  const response = await delta.next();
  assert.deepEqual([response.removed, nameOf(response)], [[], "ROOTCA"]);
  // Asked for again, it is answered again; both lists mean subscribe, then unsubscribe (R55).
  delta.ack({ subscribe: ["nobody", "ALL"], unsubscribe: ["ALL"] });
  assert.deepEqual((await delta.next()).removed, ["nobody"]);
});

test("a reconnect is answered in full; its reported version alone is no ACK (R13, R40, R41)", async (t) => {
  const server = await startServer(t);
  const client = server.client(await server.credential("cart.shop"));
  const first = client.secrets().request({ names: ["ROOTCA"] });
  const { version } = await first.next();
  first.ack();
  const synced = () => server.running.status().proxies[0]?.sync === "SYNCED";
  await until("the ACK counts", synced);
  await first.cancel();
  const again = client.secrets().request({ names: ["ROOTCA"], version, nonce: "left-over" });
  assert.equal((await again.next()).version, version);
  await again.cancel();
  const unknown = client.secrets().request({ names: ["ROOTCA"], version: "999999-zzz" });
  assert.equal((await unknown.next()).version, version);
});

test("half-close ends with OK; a cancelled stream and a closed connection leave nothing behind (R70, R71)", async (t) => {
  const server = await startServer(t);
  const credentials = await server.credential("cart.shop");
  const client = server.client(credentials);
  const streams = async () => Number(/^meshroot_xds_streams (\d+)$/m.exec((await server.http("/metrics")).text)?.[1]);

  const polite = client.secrets().request({ names: ["ROOTCA"] });
  await polite.next();
  assert.deepEqual(await polite.end().ended, { code: OK, details: "OK" });
  const silent = client.deltaAds();
  assert.equal((await silent.end().ended).code, OK, "a stream that never asked for anything ends as well");
  assert.equal(await streams(), 0);

  const cancelled = client.ads().request({ names: ["ROOTCA", "default"] });
  await cancelled.next();
  assert.equal(await streams(), 1);
  await cancelled.cancel();
  await until("the cancelled stream is gone", async () => (await streams()) === 0);

  const relay = await startRelay({ port: server.running.xdsPort });
  t.after(() => relay.stop());
  const vanishing = server.client(credentials, relay.port);
  for (const stream of [vanishing.secrets(), vanishing.ads()]) await stream.request({ names: ["ROOTCA"] }).next();
  await until("two streams are open", async () => (await streams()) === 2);
  relay.cut();
  await until("the client's streams are gone", async () => (await streams()) === 0);
  const [proxy] = server.running.status().proxies;
  // It asked for its leaf and never got one: it takes no part, and nobody waits for it (E13).
  assert.deepEqual([proxy?.connected, proxy?.sync, proxy?.counts], [false, "UNKNOWN", false]);
});

test("two streams of one proxy are kept apart; ending one changes nothing for the other (R73)", async (t) => {
  const server = await startServer(t);
  const client = server.client(await server.credential("cart.shop"));
  const [older, newer] = [client.secrets().request({ names: ["ROOTCA"] }), client.secrets()];
  await older.next();
  older.ack();
  newer.request({ names: ["ROOTCA"] });
  await newer.next();
  newer.ack();
  await older.cancel();
  // Both brought the same and ACKed it, so that nothing has to be settled (E6); the newer one's state is as it was.
  newer.request({ names: ["ROOTCA", "default"] });
  assert.equal(nameOf(await newer.next()), "default");
});

test("stopping ends every stream with OK and frees the ports and the data directory", async (t) => {
  const server = await startServer(t);
  const client = server.client(await server.credential("cart.shop"));
  const streams = [client.secrets(), client.ads()].map((stream) => stream.request({ names: ["ROOTCA"] }));
  for (const stream of streams) await stream.next();
  await server.running.stop();
  for (const stream of streams) assert.equal((await stream.ended).code, OK);
  await server.start();
});

function assertWellFormed(response: Response, name: string): void {
  const { resources, secrets, typeUrl, nonce } = response;
  assert.equal(typeUrl, "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret");
  assert.notEqual(nonce, "");
  assert.deepEqual(
    resources.map((resource) => resource.typeUrl),
    [typeUrl],
  );
  const [secret] = secrets;
  assert.ok(secret?.kind === "validationContext", "inline bytes that the decoder could read");
  assert.equal(secret.name, name);
  assert.match(secret.trustedCaPem, /BEGIN CERTIFICATE/);
}
