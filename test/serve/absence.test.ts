/** E13: how long an absent proxy holds a gate, under each policy, and what ends it. The server's clock is put forward. */

import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { waitingLines, waysOut } from "../../src/core/rotation/hold-words.ts";
import { askForNext, holdOf, NEXT, say, signerMoves } from "../support/operator.ts";
import { MESH_NAMES, startRawProxy } from "../support/raw-proxy.ts";
import { runMeshroot } from "../support/run-meshroot.ts";
import { FIRST, type ServerFlags, startServer, type TestServer, until } from "../support/server.ts";

const HOUR_MS = 3_600_000;

/** Two proxies, of which one has gone before the rotation was asked for, which waits for it now. */
async function heldByAbsent(t: TestContext, flags: ServerFlags = {}) {
  const server = await startServer(t, flags);
  const credentials = await server.credential("cart.shop");
  const cart = startRawProxy(server, credentials);
  startRawProxy(server, await server.credential("pay.shop"));
  await until(
    "both have their leaves",
    () => server.running.status().proxies.filter(({ leafExpires }) => leafExpires !== undefined).length === 2,
  );
  cart.leave();
  await until("cart is gone", () => server.running.status().proxies.some(({ connected }) => !connected));
  await askForNext(server);
  await until("pay trusts next", () => server.running.status().proxies.some(({ trusts }) => trusts.includes(NEXT)));
  const hold = await holdOf(server, "WaitingForTrust");
  await until("cart alone is waited for", () => waiting(server).length === 1);
  return { server, credentials, cart, hold };
}

const waiting = (server: TestServer) => server.running.status().holds[0]?.waitingFor ?? [];
const proxyOf = (server: TestServer, uuid: string) =>
  server.running.status().proxies.find(({ proxy }) => proxy === uuid);

test("E13 until-leaf-expiry: an absent proxy holds the signer until its leaf has expired, and no longer", async (t) => {
  const { server, cart, credentials } = await heldByAbsent(t, { leafValidity: "2h" });
  const expires = Date.parse(proxyOf(server, cart.uuid)?.leafExpires ?? "");
  const [one] = waiting(server);
  assert.deepEqual([one?.proxy, one?.connected, one?.countsUntil], [cart.uuid, false, expires]);
  server.shiftClock(HOUR_MS);
  await server.replanned();
  assert.equal(server.running.status().signer, FIRST);
  server.shiftClock(HOUR_MS);
  await signerMoves(server);
  assert.equal(proxyOf(server, cart.uuid)?.counts, false);

  startRawProxy(server, credentials);
  await until("it has returned to the mesh as it is now", () => {
    const state = proxyOf(server, cart.uuid);
    return state?.sync === "SYNCED" && state.counts && state.signedBy.join() === NEXT;
  });
});

test("E13 wait: its leaf's end changes nothing; it counts until it returns", async (t) => {
  const { server, cart, credentials } = await heldByAbsent(t, { leafValidity: "2h", absentPolicy: "wait" });
  assert.equal(waiting(server)[0]?.countsUntil, undefined);
  server.shiftClock(48 * HOUR_MS);
  await server.replanned();
  await until("pay has been renewed", () => waiting(server).length === 1);
  assert.deepEqual([server.running.status().signer, waiting(server)[0]?.proxy], [FIRST, cart.uuid]);
  startRawProxy(server, credentials);
  await signerMoves(server);
});

test("E13 wait: `forget` ends it now; the proxy counts again when it returns, and what it may run was not forgotten", async (t) => {
  const { server, cart, credentials } = await heldByAbsent(t, { absentPolicy: "wait" });
  await say(server, "forget", "cart.shop");
  await signerMoves(server);
  const absent = proxyOf(server, cart.uuid);
  assert.deepEqual([absent?.counts, absent?.signedBy, absent?.trusts], [false, [FIRST], [FIRST]]);
  await server.setRole(FIRST, "inactive");
  await until("the old root leaves, too", () => server.running.status().trusted.join() === NEXT);
  startRawProxy(server, credentials);
  await until("it counts again", () => proxyOf(server, cart.uuid)?.counts);
  await until("in the mesh as it is now", () => proxyOf(server, cart.uuid)?.signedBy.join() === NEXT);
});

test("E13 the hold names the absent proxy, its last contact, the end of its counting and the command, everywhere", async (t) => {
  const { server, cart } = await heldByAbsent(t);
  const hold = server.running.status().holds[0];
  assert.ok(hold !== undefined);
  const line = new RegExp(
    `^cart\\.shop \\(${cart.uuid}\\): may still run a bundle without next; absent, last contact \\d{4}-.*Z, counts until \\d{4}-.*Z or until it is forgotten$`,
  );
  assert.match(waitingLines(hold)[0] ?? "", line);
  assert.match(
    waysOut(hold).join(" "),
    new RegExp(`Start cart\\.shop .* gone for good: \`meshroot proxy forget ${cart.uuid.slice(0, 8)} `),
  );
  await until("the log has the hold for cart alone", () =>
    server.log.some(({ proxies, reason }) => proxies === 1 && reason === "WaitingForTrust"),
  );
  const logged = server.log.findLast(({ reason }) => reason === "WaitingForTrust");
  assert.match(
    String(logged?.absent),
    new RegExp(`^cart\\.shop \\(${cart.uuid}\\): absent, last contact .*, counts until `),
  );
  assert.match(String(logged?.hint), /meshroot proxy forget/);
  for (const args of [
    ["root", "list"],
    ["root", "get", FIRST],
    ["proxy", "status"],
  ]) {
    const { stderr, code } = await runMeshroot([...args, "--data-dir", server.config.dataDir]);
    assert.equal(code, 0);
    assert.match(stderr, /^held \(signer\): sign with next: waiting for the ACK/m, args.join(" "));
    assert.match(stderr, new RegExp(line.source.replace("^", "^ {2}"), "m"), args.join(" "));
    assert.match(stderr, /^ {2}hint: .*meshroot proxy forget/m, args.join(" "));
  }
  const json = await runMeshroot(["proxy", "status", cart.uuid, "-o", "json", "--data-dir", server.config.dataDir]);
  assert.deepEqual(JSON.parse(json.stdout).status.holds, [
    {
      gate: "signer",
      wants: "sign with next",
      reason: "WaitingForTrust",
      detail: "may still run a bundle without next",
    },
  ]);
});

test("E6 a second client of a proxy that has gone: the hold says that it is not the one that is connected, and until when", async (t) => {
  const server = await startServer(t);
  const credentials = await server.credential("cart.shop");
  const [one, two] = [startRawProxy(server, credentials), startRawProxy(server, credentials)];
  await until("both are served", () => [one, two].every((each) => each.accepted("default") !== undefined));
  two.leave();
  await askForNext(server);
  await until("the first has ACKed the new bundle", () => one.accepted(MESH_NAMES[0] ?? "")?.startsWith("2-"));
  const hold = await holdOf(server, "WaitingForTrust");
  assert.deepEqual([hold.waitingFor[0]?.proxy, hold.waitingFor[0]?.connected], [one.uuid, true]);
  assert.match(
    waitingLines(hold)[0] ?? "",
    /; connected; what an ended stream of it left counts until a later answer settles it, not before 2\d{3}-/,
  );
  server.shiftClock(5 * 60_000);
  await signerMoves(server);
});

test("an agent that has gone while its Envoy stays: the hold says which of the two is absent", async (t) => {
  const server = await startServer(t);
  const cart = startRawProxy(server, await server.credential("cart.shop"));
  const agent = cart.client
    .ads({ node: { id: cart.uuid, userAgentName: "meshroot-agent" } })
    .request({ names: ["validation_context_sds"] });
  await agent.next();
  agent.ack();
  await until("the leaf", () => proxyOf(server, cart.uuid)?.leafExpires);
  await agent.cancel();
  await askForNext(server);
  await signerMoves(server);
  await server.setRole(FIRST, "inactive");
  const hold = await holdOf(server, "WaitingForCredentials", "xdsControlPlane");
  assert.deepEqual([hold.waitingFor[0]?.connected, hold.waitingFor[0]?.absentSide], [true, "agent"]);
  assert.match(hold.message, /cart\.shop \([0-9a-f]{8}, agent absent\)/);
  assert.match(waitingLines(hold)[0] ?? "", /; connected, but its agent is absent$/);
  assert.match(waysOut(hold).join(" "), /meshroot proxy assume/);
  await say(server, "assume", cart.uuid);
  await until("assumed", () => !server.running.status().holds.some(({ gate }) => gate === "xdsControlPlane"));
});
