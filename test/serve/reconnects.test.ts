/** What streams that end and come back must not change, on the real server: refusals stand, and nothing is sent twice. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { askForNext, holdOf, signerMoves } from "../support/operator.ts";
import { versionOf } from "../support/raw-proxy.ts";
import { FIRST, startServer, type TestServer, until } from "../support/server.ts";
import type { XdsTestClient } from "../support/xds-client.ts";

const LEAF = "default";
const BUNDLE = "ROOTCA";
/** Longer than the sweep that looks at the offers again. */
const QUIET_MS = 1_500;

const stateOf = (server: TestServer) => server.running.status().proxies[0]?.sync;
const isSynced = (server: TestServer) => until("in sync", () => stateOf(server) === "SYNCED");

/** A stream of its own for one name, which ACKs what comes until `judge` says otherwise. */
function follow(client: XdsTestClient, name: string) {
  const stream = client.secrets().request({ names: [name] });
  const one = { stream, refused: 0, judge: (): string | undefined => undefined };
  void (async () => {
    for (;;) {
      const response = await stream.next(undefined, 3_600_000).catch(() => undefined);
      if (response === undefined) return;
      const error = one.judge();
      if (error === undefined) stream.ack({}, response);
      else {
        stream.nack(error, {}, response);
        one.refused += 1;
      }
    }
  })();
  return one;
}

test("C1: a refused leaf holds the signer when its stream ends, and when the server restarts and the other stream is back first", async (t) => {
  const server = await startServer(t, { leafValidity: "1h" });
  const credentials = await server.credential("cart.shop");
  const client = server.client(credentials);
  follow(client, BUNDLE);
  const leaf = follow(client, LEAF);
  await isSynced(server);
  leaf.judge = () => "Failed to load private key";
  // It is due for renewal.
  server.shiftClock(50 * 60_000);
  await until("the refusal", () => leaf.refused > 0 && stateOf(server) === "ERROR");
  await askForNext(server);
  const words = "answering default: Failed to load private key";
  assert.equal((await holdOf(server, "Refused")).waitingFor[0]?.detail, words);

  await leaf.stream.cancel();
  await server.replanned();
  assert.equal((await holdOf(server, "Refused")).waitingFor[0]?.detail, words);
  assert.equal(stateOf(server), "ERROR");

  client.close();
  await server.running.stop();
  await server.start();
  const again = server.client(credentials);
  follow(again, BUNDLE);
  assert.equal((await holdOf(server, "Refused")).waitingFor[0]?.detail, words);
  await server.replanned();
  const [proxy] = server.running.status().proxies;
  assert.deepEqual([server.running.status().signer, proxy?.sync, proxy?.error], [FIRST, "ERROR", words]);
  assert.ok(server.log.every(({ message }) => !/has accepted its secrets again/.test(message)));

  follow(again, LEAF);
  await signerMoves(server);
  await server.logged(/has accepted its secrets again/);
});

test("C5: a delta stream that opens again and reports the wanted leaf is not sent it again", async (t) => {
  const server = await startServer(t);
  const credentials = await server.credential("cart.shop");
  const versions: Record<string, string> = {};
  const first = server.client(credentials);
  const stream = first.deltaSecrets().request({ subscribe: [LEAF, BUNDLE] });
  for (let count = 0; count < 2; count += 1) {
    const response = await stream.next();
    versions[response.resources[0]?.name ?? ""] = versionOf(response);
    stream.ack();
  }
  await isSynced(server);
  for (let time = 0; time < 2; time += 1) {
    const again = server.client(credentials).deltaSecrets();
    again.request({ subscribe: [LEAF, BUNDLE], initialVersions: versions });
    await again.expectSilence(QUIET_MS);
    await isSynced(server);
    await again.cancel();
  }
  const other = server.client(credentials).deltaSecrets();
  other.request({ subscribe: [LEAF], initialVersions: { [LEAF]: "another" } });
  assert.equal(versionOf(await other.next()), versions[LEAF], "another version is answered");
});

test("C6: when one of two streams ends whose answers were all ACKs, the other is sent nothing", async (t) => {
  const server = await startServer(t);
  const credentials = await server.credential("cart.shop");
  const client = server.client(credentials);
  const open = async () => {
    const stream = client.secrets().request({ names: [BUNDLE, LEAF] });
    for (let count = 0; count < 2; count += 1) {
      await stream.next();
      stream.ack();
    }
    await isSynced(server);
    return stream;
  };
  const one = await open();
  const two = await open();
  await one.cancel();
  await two.expectSilence(QUIET_MS);
  await isSynced(server);
});

test("C7: after a SotW reconnect what was sent again is STALE until it is answered", async (t) => {
  const server = await startServer(t);
  const credentials = await server.credential("cart.shop");
  const stream = server
    .client(credentials)
    .secrets()
    .request({ names: [BUNDLE] });
  const { version } = await stream.next();
  stream.ack();
  await isSynced(server);
  await stream.cancel();
  const again = server
    .client(credentials)
    .secrets()
    .request({ names: [BUNDLE], version });
  await again.next();
  assert.equal(stateOf(server), "STALE");
  again.ack();
  await isSynced(server);
});
