/** Which secret a proxy gets now (evidence.md E10, E11), with the ledger on a desk. */

import assert from "node:assert/strict";
import { test } from "node:test";
import type { Leaf, LeafCache } from "../../src/controller/leaf-cache.ts";
import { MeshSecrets } from "../../src/controller/mesh-secrets.ts";
import type { RotationController } from "../../src/controller/rotation-controller.ts";
import { TrustBundles } from "../../src/controller/trust-bundles.ts";
import { bundle, Desk, inForce, LEAF, leaf } from "../support/desk.ts";

const SETTLE_MS = 5_000;
const QUIET = { debug() {}, info() {}, warn() {}, error() {} };

/** The signer has moved to b. p has come back after a restart of the server and runs a bundle with b alone; nobody presents a. */
function restarted() {
  const desk = new Desk(inForce("b", "a", "b"));
  desk.running("p", leaf("L", "b"), bundle("2", "b"));
  const { ledger, now, trust } = desk;
  const controller = { ledger, trust, decided: undefined, recoveringSince: now, settleMs: SETTLE_MS };
  const made = { fingerprint: "M", root: "b", privateKeyPem: "-", notAfter: now + 1e9 } as Leaf;
  const secrets = new MeshSecrets({
    controller: {
      ...controller,
      replan() {},
      whenRetired() {},
      subscribe() {},
    } as unknown as RotationController,
    issuer: { current: () => made, subscribe: () => () => undefined } as unknown as LeafCache,
    clock: { now: () => desk.now, after: () => () => undefined },
    bundles: new TrustBundles(QUIET),
    wanted: () => undefined,
  });
  const { identity: proxy } = desk.row("p");
  return {
    desk,
    secrets,
    made,
    offer: () => secrets.offer({ proxy, consumer: "envoy", stream: "p-1" }, LEAF, undefined),
  };
}

test("E11 just after a restart a leaf waits for every root: what was replaced just before it, only the process before knew", () => {
  const { desk, offer } = restarted();
  assert.equal(offer(), "later", "a peer's connection that began before may still present a leaf under a");
  desk.now += SETTLE_MS - 1;
  assert.equal(offer(), "later");
  desk.now += 1_001;
  assert.deepEqual(offer(), { version: "M", again: false });
});

test("R57 C5: a delta client keeps the wanted leaf that it reports, where the ledger agrees; no other client does", () => {
  const { desk, secrets, made } = restarted();
  const { identity: proxy } = desk.row("p");
  const offer = (has: string | undefined) => secrets.offer({ proxy, consumer: "envoy", stream: "p-2" }, LEAF, has);
  desk.now += 2 * SETTLE_MS;
  desk.ack("p", "p-1", desk.send("p", "p-1", leaf(made.fingerprint, "b")), LEAF);
  assert.deepEqual(offer("M"), { version: "M", again: false, kept: "delta" });
  assert.deepEqual(offer("another"), { version: "M", again: false });
  desk.send("p", "p-1", leaf("N", "b"));
  assert.deepEqual(offer("M"), { version: "M", again: false }, "it may run another one");
});
