/** Proxies whose trust can't be proven from their ACKs, and the ways out (evidence.md E8 and preconditions). */

import assert from "node:assert/strict";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { waysOut } from "../../src/core/rotation/hold-words.ts";
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

test("C3: `assume` for a proxy without an agent opens the gate that it was said for, and ends with its rotation", async (t) => {
  const server = await startServer(t);
  const cart = startRawProxy(server, await server.credential("cart.shop"), { names: ["default"] });
  await hasLeaf(server, cart);
  server.shiftClock(46_000);
  await askForNext(server);
  await holdOf(server, "TrustNotOursToProve");
  const assume = (...flags: string[]) =>
    runMeshroot(["proxy", "assume", "cart.shop", "--reason", "by hand", ...flags, "--data-dir", server.config.dataDir]);
  const wrong = await assume("--for", "everything");
  assert.deepEqual([wrong.code, wrong.stdout], [2, ""]);
  assert.match(
    wrong.stderr,
    /^error: MR5001 --for "everything" .*\nhint: Choose from mesh-trust, xds-trust, xds-credentials/,
  );
  const said = await assume();
  assert.match(said.stdout, /^proxy\/.* \(cart\.shop\): assumed \(mesh-trust\) until this rotation is over\n$/);
  assert.match(said.stderr, /^warning: .*requests to and from it fail once the signer moves\n$/);
  await signerMoves(server);
  await server.setRole(FIRST, "inactive");
  const hold = await holdOf(server, "WaitingForCredentials", "xdsControlPlane");
  assert.deepEqual(
    hold.waitingFor.map(({ proxy }) => proxy),
    [cart.uuid],
  );
  assert.match(waysOut(hold).join(" "), /meshroot proxy assume [0-9a-f]{8} --reason TEXT --for xds-trust/);
  const shown = await runMeshroot(["proxy", "status", "--data-dir", server.config.dataDir]);
  assert.match(shown.stderr, new RegExp(`: assumed \\(mesh-trust\\) of ${FIRST}, ${NEXT}: by hand \\(since 2`));

  assert.match((await assume()).stdout, /assumed \(xds-trust\)/, "what the first hold asks for");
  const { reason, for: some, roots } = stateOf(server, cart)?.assumed ?? assert.fail();
  assert.deepEqual([reason, some, roots], ["by hand", ["mesh-trust", "xds-trust"], [FIRST, NEXT]]);
  const line = await server.logged(/^an operator answers for this proxy, .*\(xds-trust\): by hand$/);
  assert.deepEqual([line.component, line.action, line.for], ["audit", "assume", ["xds-trust"]]);
  await holdOf(server, "WaitingForCredentials", "bootstrap");
  cart.leave();
  startRawProxy(server, await server.credentialFor(cart.uuid, "cart.shop"), { names: ["default"] });
  await server.logged(
    /^the rotation is over in which an operator answered for cart\.shop \(mesh-trust, xds-trust\): by hand$/,
  );
  assert.equal(stateOf(server, cart)?.assumed, undefined);
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
