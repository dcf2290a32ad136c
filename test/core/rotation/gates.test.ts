/** E1, E8, E10-E14 of evidence.md on the plan: when a gate opens, and what a hold says. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { record } from "../../../src/core/evidence/ledger.ts";
import { RESUBSCRIBED_AFTER_MS, readyForLeaf } from "../../../src/core/evidence/ledger-queries.ts";
import { fromDurable, toDurable } from "../../../src/core/evidence/ledger-rows.ts";
import { wakeAt } from "../../../src/core/rotation/rotation-plan.ts";
import { BUNDLE, bundle, Desk, inForce, LEAF, leaf, RECOVERY_MS, SETTLE_MS, trustedRoot } from "../../support/desk.ts";

const MINUTE = 60_000;

/** Trust holds a and b, a signs, b should. p runs what its arguments say. */
function wantB(...contents: Parameters<Desk["running"]>[1][]): Desk {
  const desk = new Desk(inForce("a", "a", "b"));
  desk.running("p", ...contents);
  desk.want(["b"], ["a", "b"]);
  return desk;
}

/** b signs; a should leave. */
function dropA(...contents: Parameters<Desk["running"]>[1][]): Desk {
  const desk = new Desk(inForce("b", "a", "b"));
  desk.running("p", ...contents);
  desk.want(["b"]);
  return desk;
}

const ready = [leaf("L", "a"), bundle("2", "a", "b")];

test("E1 every change is a new generation, a rollback too", () => {
  const desk = new Desk(inForce("a", "a"));
  const seen: number[] = [];
  for (const [signers, validators] of [
    [["a"], ["a", "b"]],
    [["b"], ["a", "b"]],
    [["a"], ["a", "b"]],
  ] as const) {
    desk.want(signers, validators);
    desk.plan();
    seen.push(desk.trust.generation);
  }
  assert.deepEqual(seen, [2, 3, 4]);
  assert.equal(desk.trust.signer, "a");
});

test("E10 the signer moves when every proxy that counts trusts the new root", () => {
  assert.equal(wantB(leaf("L", "a"), bundle("1", "a")).settle(), "WaitingForTrust");
  assert.equal(wantB(...ready).settle(), "signer b");
});

test("E10 trust grows before all else, and without waiting", () => {
  const desk = new Desk(inForce("a", "a"));
  desk.running("p", leaf("L", "a"), bundle("1", "a"));
  desk.want(["b"]);
  assert.deepEqual(desk.plan().change, { kind: "trust", root: "b" });
  assert.deepEqual(desk.trust.mesh, ["a", "b"]);
  assert.equal(desk.trust.signer, "a");
});

test("E10 a root leaves the bundle when no proxy that counts presents it; never the signer's", () => {
  assert.equal(dropA(leaf("L", "a"), bundle("2", "a", "b")).settle(), "StillPresented");
  assert.equal(dropA(leaf("L", "b"), bundle("2", "a", "b")).settle(), "distrust a");
  const desk = new Desk(inForce("a", "a", "b"));
  desk.want([], ["b"]);
  assert.equal(desk.settle(), "SignerMissing");
  assert.deepEqual(desk.trust.mesh, ["a", "b"]);
});

test("E10 E12 neither happens while a proxy that counts refuses its secrets", () => {
  for (const desk of [wantB(...ready), dropA(leaf("L", "b"), bundle("2", "a", "b"))]) {
    desk.nack("p", "p-1", desk.send("p", "p-1", leaf("M", "b")), LEAF);
    const { holds } = desk.plan();
    assert.equal(desk.settle(), "Refused");
    assert.equal(holds[0]?.waitingFor[0]?.detail, "answering default: Envoy's words");
  }
});

test("E10 a root that the refusing proxy never came to trust can be taken back: it may be why it refuses", () => {
  const desk = new Desk(inForce("a", "a", "b"));
  desk.running("p", leaf("L", "a"), bundle("1", "a"));
  desk.nack("p", "p-1", desk.send("p", "p-1", bundle("2", "a", "b")), BUNDLE);
  desk.want(["b"], ["a", "b"]);
  assert.equal(desk.settle(), "Refused");
  desk.want(["a"]);
  assert.equal(desk.settle(), "distrust b");
});

test("E10 a leaf goes to a proxy whose every bundle holds the signer and what others present, or was answered", () => {
  const desk = new Desk(inForce("b", "a", "b"));
  desk.running("p", leaf("L", "a"), bundle("1", "a"));
  const row = desk.row("p");
  assert.equal(readyForLeaf(row, ["a", "b"], desk.now), false);
  const seq = desk.send("p", "p-1", bundle("2", "a", "b"));
  assert.equal(readyForLeaf(row, ["a", "b"], desk.now), false);
  desk.nack("p", "p-1", seq);
  assert.equal(
    readyForLeaf(row, ["a", "b"], desk.now),
    true,
    "refused, but stored: the leaf completes the pair with it",
  );
  desk.end("p", "p-1");
  assert.equal(readyForLeaf(row, ["a", "b"], desk.now), false, "an answer counts on a live stream only");
});

test("E10 a bundle that the proxy has not asked for again yet counts too: its context would get the leaf", () => {
  const desk = new Desk(inForce("b", "a", "b"));
  desk.running("p", leaf("L", "a"), bundle("1", "a"));
  desk.ack("p", "p-1", desk.send("p", "p-1", bundle("1x", "a"), "other"), "other");
  desk.end("p", "p-1");
  desk.connect("p", "p-2", BUNDLE, LEAF);
  desk.ack("p", "p-2", desk.send("p", "p-2", bundle("2", "a", "b")));
  assert.equal(readyForLeaf(desk.row("p"), ["a", "b"], desk.now), false);
  desk.ask("p", "p-2", BUNDLE, LEAF, "other");
  desk.ack("p", "p-2", desk.send("p", "p-2", bundle("2x", "a", "b"), "other"), "other");
  assert.equal(readyForLeaf(desk.row("p"), ["a", "b"], desk.now), true);
});

test("E10 a bundle whose own stream broke a moment ago holds the leaf back, however long the proxy has been there", () => {
  const desk = new Desk(inForce("b", "a", "b"));
  desk.running("p", leaf("L", "a"), bundle("1", "a"));
  desk.connect("p", "p-2", LEAF);
  desk.tick(60 * 60_000);
  desk.end("p", "p-1");
  assert.equal(readyForLeaf(desk.row("p"), ["a", "b"], desk.now), false, "it comes again within Envoy's back-off");
  desk.tick(RESUBSCRIBED_AFTER_MS);
  assert.equal(readyForLeaf(desk.row("p"), ["a", "b"], desk.now), true);
});

test("E10 a bundle that only a predecessor asked for holds the leaf back until any living Envoy would have asked again", () => {
  const desk = new Desk(inForce("b", "a", "b"));
  desk.running("p", leaf("L", "a"), bundle("1", "a"));
  desk.end("p", "p-1");
  desk.tick(60 * 60_000);
  desk.connect("p", "p-2", LEAF);
  const ready = () => readyForLeaf(desk.row("p"), ["a", "b"], desk.now);
  desk.tick(RESUBSCRIBED_AFTER_MS - 1);
  assert.equal(ready(), false);
  desk.tick(1);
  assert.equal(ready(), true, "its clusters wait for the leaf, and its listeners, which ask for the bundle, for them");
  desk.ask("p", "p-2", LEAF, BUNDLE);
  assert.equal(ready(), false, "once it is asked for, its answer is waited for");
  desk.ack("p", "p-2", desk.send("p", "p-2", bundle("2", "a", "b")));
  assert.equal(ready(), true);
});

test("E11 a gate opens `settle` after its conditions have come true, and begins anew when they break", () => {
  const desk = wantB(...ready);
  assert.equal(desk.plan().holds[0]?.reason, "Settling");
  desk.now += SETTLE_MS - 1;
  assert.equal(desk.plan().change, undefined);
  desk.connect("q", "q-1", BUNDLE);
  const seq = desk.send("q", "q-1", bundle("1", "a"));
  assert.equal(desk.plan().holds[0]?.reason, "WaitingForTrust");
  desk.ack("q", "q-1", desk.send("q", "q-1", bundle("2", "a", "b")));
  assert.ok(seq > 0);
  desk.now += 1;
  const again = desk.plan();
  assert.equal(again.holds[0]?.until, desk.now + SETTLE_MS);
  assert.equal(wakeAt(again, desk.now), desk.now + SETTLE_MS);
  desk.now += SETTLE_MS;
  assert.equal(desk.plan().change?.kind, "signer");
});

test("the incumbent keeps signing while both are active, whatever the order", () => {
  const desk = new Desk(inForce("a", "a", "b"));
  desk.running("p", ...ready);
  desk.want(["b", "a"]);
  assert.equal(desk.settle(), "nothing to do");
  assert.equal(desk.trust.signer, "a");
});

test("a plan without a change is the same plan again", () => {
  const desk = new Desk(inForce("a", "a", "b"));
  desk.running("p", ...ready);
  const first = desk.plan();
  const second = desk.plan();
  assert.equal(second.trust, first.trust);
  assert.deepEqual(second, first);
});

test("E8 a proxy that for 45 s takes a leaf but no bundle is a hold of its own, until the operator answers for it", () => {
  const desk = wantB(leaf("L", "a"));
  desk.now += 45_000;
  assert.equal(desk.settle(), "TrustNotOursToProve");
  record(desk.ledger, { type: "assume", proxy: "p", reason: "checked by hand", at: desk.now });
  assert.equal(desk.settle(), "signer b");
});

test("E8 a proxy that takes ROOTCA alone holds a change of the SAN form", () => {
  const desk = wantB(...ready);
  desk.trust = { ...desk.trust, roots: { ...desk.trust.roots, b: trustedRoot("b", "other.example") } };
  assert.equal(desk.settle(), "TrustNotOursToProve");
});

test("two live streams for one name: both count, and after a minute they are a named hold", () => {
  const desk = wantB(...ready);
  desk.connect("p", "p-2", BUNDLE);
  desk.now += MINUTE;
  assert.equal(desk.settle(), "TwoStreams");
  desk.end("p", "p-2");
  assert.equal(desk.settle(), "signer b");
});

test("two live streams for one name hold the bundle, too: which of them has the new leaf can't be told", () => {
  const desk = dropA(leaf("L", "b"), bundle("2", "a", "b"));
  desk.connect("p", "p-2", LEAF);
  desk.now += MINUTE;
  assert.equal(desk.settle(), "TwoStreams");
  desk.end("p", "p-2");
  assert.equal(desk.settle(), "distrust a");
});

test("E13 an absent proxy holds the gate, and the hold says until when", () => {
  const desk = new Desk(inForce("a", "a", "b"));
  const expires = desk.now + 10 * MINUTE;
  desk.running("p", leaf("L", "a", expires), bundle("1", "a"));
  desk.want(["b"], ["a", "b"]);
  desk.end("p", "p-1");
  const { holds } = desk.plan();
  assert.deepEqual(holds[0]?.waitingFor[0], {
    proxy: "p",
    identity: "p.shop",
    detail: "may still run a bundle without b",
    connected: false,
    lastContactAt: desk.now,
    countsUntil: expires,
  });
  desk.now = expires;
  assert.equal(desk.settle(), "signer b");
});

test("E13 forget opens the gate after the settling time", () => {
  const desk = wantB(leaf("L", "a"), bundle("1", "a"));
  desk.end("p", "p-1");
  assert.equal(desk.settle(), "WaitingForTrust");
  record(desk.ledger, { type: "forget", proxy: "p", reason: "gone", at: desk.now });
  assert.equal(desk.plan().holds[0]?.reason, "Settling");
  assert.equal(desk.settle(), "signer b");
});

test("E14 after a restart no gate opens until everyone is heard or the window has passed", () => {
  const before = wantB(...ready);
  const rows = new Map([...before.ledger.proxies].map(([id, row]) => [id, toDurable(row)]));
  const restart = () => {
    const desk = new Desk(before.trust, fromDurable(rows, before.now));
    desk.want(["b"], ["a", "b"]);
    desk.recoveringSince = desk.now;
    return desk;
  };
  const silent = restart();
  assert.equal(silent.settle(), "Recovering");
  silent.now = (silent.recoveringSince ?? 0) + RECOVERY_MS;
  assert.equal(silent.settle(), "signer b");

  const heard = restart();
  heard.connect("p", "new", BUNDLE, LEAF);
  assert.equal(heard.settle(), "Recovering", "a connection is not an ACK");
  heard.ack("p", "new", heard.send("p", "new", bundle("2", "a", "b")));
  assert.equal(heard.settle(), "signer b");
});

test("roles that can't be followed leave the trust as it is", () => {
  const desk = wantB(...ready);
  desk.settle();
  const { trust } = desk;
  assert.equal(trust.signer, "b");
  desk.want([], []);
  desk.plan();
  assert.equal(desk.trust.signer, "b");
});
