/** E8 and C5 of evidence.md where meshroot can prove nothing: which bundles those are, and how far an operator's word reaches. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { isOver } from "../../../src/core/evidence/assumptions.ts";
import type { Content } from "../../../src/core/evidence/content.ts";
import { record } from "../../../src/core/evidence/ledger.ts";
import { fromDurable, toDurable } from "../../../src/core/evidence/ledger-rows.ts";
import type { AssumedFor } from "../../../src/core/evidence/ledger-state.ts";
import { withRoots } from "../../../src/core/roots/trust.ts";
import { askedFor } from "../../../src/core/rotation/holds.ts";
import { BUNDLE, bundle, Desk, inForce, LEAF, leaf, trustedRoot } from "../../support/desk.ts";

const OUTBOUND = "root-cert-for-mtls-outbound:shop/pay";

/** a and b in force; b, which should sign, has another trust domain. */
function formChanges(): Desk {
  const desk = new Desk(inForce("a", "a", "b"));
  desk.trust = { ...desk.trust, roots: { ...desk.trust.roots, b: trustedRoot("b", "other.example") } };
  desk.want(["b"], ["a", "b"]);
  return desk;
}

/** p takes its leaf and these bundles, and has ACKed them all. */
function takes(desk: Desk, ...names: string[]): void {
  desk.connect("p", "p-1", LEAF, ...names);
  const give = (content: Content, name: string, matchers: boolean) => {
    const sent = { type: "sent", proxy: "p", stream: "p-1", name, matchers, content, at: desk.now } as const;
    desk.ack("p", "p-1", record(desk.ledger, sent), name);
  };
  give(leaf("L", "a"), LEAF, false);
  for (const name of names) give(bundle("2", "a", "b"), name, name === OUTBOUND);
}

for (const bare of [BUNDLE, "ALL", "spiffe://cluster.local"])
  test(`C2: ${bare} beside a bundle with our matchers holds a change of the SAN form, slot by slot`, () => {
    const desk = formChanges();
    takes(desk, OUTBOUND, bare);
    assert.equal(desk.settle(), "TrustNotOursToProve");
    desk.ask("p", "p-1", LEAF, OUTBOUND);
    desk.tick(15 * 60_000);
    assert.equal(desk.settle(), "signer b", "once that bundle has left its sets");
  });

test("C2: bundles with our matchers, and the one for listeners, hold nothing; nor does any while the form stays", () => {
  const desk = formChanges();
  takes(desk, OUTBOUND, "root-cert-for-mtls-inbound");
  assert.equal(desk.settle(), "signer b");
  const same = new Desk(inForce("a", "a", "b"));
  takes(same, OUTBOUND, BUNDLE);
  same.want(["b"], ["a", "b"]);
  assert.equal(same.settle(), "signer b");
});

/** An operator's word, as the server records it. */
function assume(desk: Desk, ...some: AssumedFor[]): void {
  const { xds: roots, mesh } = desk.trust;
  record(desk.ledger, { type: "assume", proxy: "p", reason: "checked", at: desk.now, for: some, roots, mesh });
}

/** p takes its leaf from us and its roots from elsewhere, and has no agent; b should sign. */
function leafOnly(): Desk {
  const desk = new Desk(inForce("a", "a", "b"));
  desk.running("p", leaf("L", "a"));
  desk.want(["b"], ["a", "b"]);
  desk.now += 45_000;
  return desk;
}

/** p has the new leaf, and the old root should leave; it has left the mesh. */
function afterMove(desk: Desk): void {
  desk.ack("p", "p-1", desk.send("p", "p-1", leaf("M", "b")), LEAF);
  desk.want(["b"]);
  assert.equal(desk.settle(), "distrust a");
}

test("C3: a word about trust in the mesh says nothing of a root that was on the xDS port alone", () => {
  const desk = leafOnly();
  const before = desk.trust;
  desk.trust = { ...before, mesh: ["a"] };
  assume(desk, "mesh-trust");
  desk.trust = before;
  assert.equal(desk.settle(), "TrustNotOursToProve", "b is back in the mesh's bundle");
  assume(desk, "xds-trust");
  assert.equal(desk.settle(), "TrustNotOursToProve", "a word about the xDS connection adds nothing");
  assume(desk, "mesh-trust");
  assert.equal(desk.settle(), "signer b");
});

test("C3: a word about trust in the mesh opens the mesh's gate, and not that of the xDS port", () => {
  const desk = leafOnly();
  assume(desk, "xds-trust", "xds-credentials");
  assert.equal(desk.settle(), "TrustNotOursToProve", "another question");
  assume(desk, "mesh-trust");
  assert.equal(desk.settle(), "signer b");
  record(desk.ledger, { type: "withdraw", proxy: "p", word: "assume" });
  assume(desk, "mesh-trust");
  afterMove(desk);
  const [hold] = desk.plan().holds;
  assert.deepEqual([hold?.gate, hold?.reason], ["xdsControlPlane", "WaitingForCredentials"]);
  assert.equal(askedFor(desk.plan().holds, "p"), "xds-trust");
  assume(desk, "xds-trust");
  assert.deepEqual(desk.row("p").assumed?.for, ["mesh-trust", "xds-trust"]);
  assert.equal(desk.settle(), "xdsServer b");
});

test("C3: two words in one rotation are one about both, over a restart, too", () => {
  const desk = leafOnly();
  assume(desk, "xds-trust");
  assume(desk, "mesh-trust");
  const rows = JSON.parse(JSON.stringify([...desk.ledger.proxies].map(([id, row]) => [id, toDurable(row)])));
  desk.ledger = fromDurable(new Map(rows), desk.now);
  assert.deepEqual(desk.row("p").assumed?.for, ["mesh-trust", "xds-trust"]);
  assert.deepEqual(desk.row("p").assumed?.roots, ["a", "b"]);
});

test("C3: the word is about the roots of its day: it ends with the rotation, and says nothing of the next", () => {
  const desk = leafOnly();
  assume(desk, "mesh-trust");
  const word = desk.row("p").assumed ?? assert.fail();
  assert.equal(isOver(word, desk.trust), false);
  assert.equal(desk.settle(), "signer b");
  assert.equal(isOver(word, desk.trust), false);
  assert.equal(isOver(word, { ...desk.trust, mesh: ["b"] }), false, "the old root still lets xDS clients in");
  assert.equal(isOver(word, { ...desk.trust, mesh: ["b"], xds: ["b"] }), true);
  const next = { ...desk.trust, mesh: ["b", "c"], xds: ["a", "b", "c"] };
  desk.trust = withRoots(next, [trustedRoot("c")]);
  desk.want(["c"], ["b", "c"]);
  assert.equal(desk.settle(), "TrustNotOursToProve");
});

test("C3: whoever answers for trust does not answer for what a bundle of ours lacks", () => {
  const desk = leafOnly();
  assume(desk, "mesh-trust", "xds-trust", "xds-credentials");
  desk.connect("p", "p-2", BUNDLE);
  desk.ack("p", "p-2", desk.send("p", "p-2", bundle("1", "a")));
  assert.equal(desk.settle(), "WaitingForTrust");
});

test("C3: a word that an earlier version wrote down is read, and means all that it meant", () => {
  const desk = leafOnly();
  const row = toDurable(desk.row("p"));
  const old = JSON.parse(JSON.stringify({ ...row, assumed: { reason: "old", at: 7 } }));
  desk.ledger = fromDurable(new Map([["p", old]]), desk.now);
  assert.equal(desk.row("p").assumed?.reason, "old");
  assert.equal(desk.settle(), "signer b");
  assert.equal(
    isOver({ reason: "old", at: 7 }, desk.trust),
    false,
    "not before it is known which rotation it belongs to",
  );
});
