/** Proxies whose trust can't be proven from their ACKs, and the ways out (evidence.md E8 and preconditions). */

import assert from "node:assert/strict";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { waysOut } from "../../src/core/hold-words.ts";
import { askForNext, holdOf, NEXT, say, signerMoves } from "../support/operator.ts";
import { MESH_NAMES, type RawProxy, startRawProxy } from "../support/raw-proxy.ts";
import { runMeshroot } from "../support/run-meshroot.ts";
import { FIRST, startServer, type TestServer, until } from "../support/server.ts";

const stateOf = (server: TestServer, { uuid }: RawProxy) =>
  server.running.status().proxies.find(({ proxy }) => proxy === uuid);
const hasLeaf = (server: TestServer, proxy: RawProxy) =>
  until("it has its leaf", () => stateOf(server, proxy)?.sync === "SYNCED" && stateOf(server, proxy)?.leafExpires);

test("E8 a proxy that takes a leaf but no bundle holds the signer after 45 s, until an operator answers for it", async (t) => {
  const server = await startServer(t);
  const cart = startRawProxy(server, await server.credential("cart.shop"), { names: ["default"] });
  await hasLeaf(server, cart);
  server.shiftClock(46_000);
  await askForNext(server);
  const hold = await holdOf(server, "TrustNotOursToProve");
  assert.deepEqual(
    hold.waitingFor.map(({ proxy, detail }) => [proxy, detail]),
    [[cart.uuid, "takes a leaf but no trust bundle from us"]],
  );
  assert.match(waysOut(hold).join(" "), new RegExp(`meshroot proxy assume ${cart.uuid.slice(0, 8)} --reason`));
  await assert.rejects(say(server, "forget", cart.uuid), { code: "MR5008" });
  await server.replanned();
  assert.equal(server.running.status().signer, FIRST);

  await say(server, "assume", cart.uuid);
  await signerMoves(server);
  await say(server, "unassume", cart.uuid);
  await server.setRole(NEXT, "passive");
  await server.setRole(FIRST, "active");
  await until("taken back, it holds the way back", () =>
    server.running
      .status()
      .holds.some(({ reason, wants }) => reason === "TrustNotOursToProve" && wants.includes(FIRST)),
  );
});

test("E8 once it is gone, `forget` is a way out, too", async (t) => {
  const server = await startServer(t);
  const cart = startRawProxy(server, await server.credential("cart.shop"), { names: ["default"] });
  await hasLeaf(server, cart);
  server.shiftClock(46_000);
  cart.leave();
  await askForNext(server);
  const hold = await holdOf(server, "TrustNotOursToProve");
  const ways = waysOut(hold).join(" ");
  assert.match(ways, /proxy assume.*proxy forget/);
  await say(server, "forget", cart.uuid);
  await signerMoves(server);
});

test("E8 a proxy that matches SANs by itself holds the signer while the trust domain changes, and at no other time", async (t) => {
  const server = await startServer(t);
  const cart = startRawProxy(server, await server.credential("cart.shop"), { names: ["ROOTCA", "default"] });
  const pay = startRawProxy(server, await server.credential("pay.shop"));
  await hasLeaf(server, cart);
  await hasLeaf(server, pay);
  await askForNext(server, { trustDomain: "other.local" });
  const hold = await holdOf(server, "TrustNotOursToProve");
  assert.deepEqual(
    hold.waitingFor.map(({ proxy, detail }) => [proxy, detail]),
    [[cart.uuid, "takes its roots without SAN matchers while the SAN form changes"]],
  );
  await say(server, "assume", "cart.shop");
  await signerMoves(server);

  const other = await startServer(t);
  const same = startRawProxy(other, await other.credential("cart.shop"), { names: ["ROOTCA", "default"] });
  await hasLeaf(other, same);
  await askForNext(other);
  await signerMoves(other);
});

test("a name that does not exist: blocks nothing, is warned of once, and shown; a service that comes later is given", async (t) => {
  const server = await startServer(t);
  const names = [...MESH_NAMES, "root-cert-for-mtls-outbound:no/such", "nonsense", "service-cert:shop/pay"];
  const credentials = await server.credential("cart.shop");
  const first = startRawProxy(server, credentials, { names });
  await hasLeaf(server, first);
  first.leave();
  await until("gone", () => !stateOf(server, first)?.connected);
  const cart = startRawProxy(server, credentials, { names });
  await hasLeaf(server, cart);
  const warned = () => server.log.filter(({ message }) => /asks for .*, which does not exist/.test(message));
  assert.deepEqual(
    warned().map(({ level, proxy, identity, name }) => [level, proxy, identity, name]),
    [
      ["warn", cart.uuid, "cart.shop", "root-cert-for-mtls-outbound:no/such"],
      ["warn", cart.uuid, "cart.shop", "nonsense"],
    ],
  );
  assert.deepEqual(stateOf(server, cart)?.unknownNames, names.slice(2));
  const shown = await runMeshroot(["proxy", "status", "--data-dir", server.config.dataDir]);
  assert.match(shown.stdout, /cart\.shop +SYNCED/);
  assert.match(
    shown.stderr,
    /^warning: cart\.shop \(.*\) asks for what it can't be given: root-cert-for-mtls-outbound:no\/such, nonsense, service-cert:shop\/pay\nhint: /m,
  );
  await askForNext(server);
  await signerMoves(server);
  await writeFile(join(server.config.dataDir, "services.yaml"), "no/such: [pay.shop]\n");
  await until("the service is there", () => stateOf(server, cart)?.unknownNames.length === 2);
  assert.equal(warned().length, 2);
});

test("two processes on one credential: held after 60 s, whatever an operator says, until one of them ends", async (t) => {
  const server = await startServer(t);
  const credentials = await server.credential("cart.shop");
  const one = startRawProxy(server, credentials);
  const two = startRawProxy(server, credentials);
  await hasLeaf(server, one);
  await until("both are served", () => one.accepted("default") !== undefined && two.accepted("default") !== undefined);
  server.shiftClock(61_000);
  await askForNext(server);
  const hold = await holdOf(server, "TwoStreams");
  assert.deepEqual(
    hold.waitingFor.map(({ proxy }) => proxy),
    [one.uuid],
  );
  assert.match(hold.waitingFor[0]?.detail ?? "", /^two live streams ask for .*: one credential belongs to one Envoy/);
  assert.match(waysOut(hold).join(" "), /Stop one of the two processes .*meshroot proxy bootstrap cart\.shop --out/);
  await say(server, "assume", one.uuid);
  await assert.rejects(say(server, "forget", one.uuid), { code: "MR5008" });
  await server.replanned();
  assert.equal(server.running.status().signer, FIRST);
  two.leave();
  await signerMoves(server);
});
