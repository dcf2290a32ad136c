/** What the histories found, rule by rule of evidence.md: credentials that were handed out, and moments that fall together. */

import assert from "node:assert/strict";
import { test } from "node:test";
import type { Content } from "../../../src/core/evidence/content.ts";
import { needsProof, presentedRoots, syncState } from "../../../src/core/evidence/ledger-queries.ts";
import { fromDurable, toDurable } from "../../../src/core/evidence/ledger-rows.ts";
import type { Slot } from "../../../src/core/evidence/ledger-state.ts";
import { outdated } from "../../../src/core/evidence/outdated.ts";
import { BUNDLE, bundle, Desk, inForce, LEAF, leaf, ownCredential } from "../../support/desk.ts";

const CREDENTIAL = "tls_sds";
const XDS_BUNDLE = "validation_context_sds";

/** The mesh has moved from a to b, the xDS port has not; p's agent has ACKed a bundle with both roots. */
function proven(): Desk {
  const desk = new Desk({ ...inForce("b", "a", "b"), mesh: ["b"], xdsServer: "a" });
  desk.running("p", leaf("L", "b"), bundle("2", "b"));
  desk.want(["b"]);
  desk.join("p", "agent-1", "agent", "a", CREDENTIAL, XDS_BUNDLE);
  const both: Content = { kind: "xdsBundle", version: "3", roots: ["a", "b"] };
  desk.ack("p", "agent-1", desk.send("p", "agent-1", both, XDS_BUNDLE), XDS_BUNDLE);
  return desk;
}

const waits = (desk: Desk) => {
  assert.equal(desk.settle(), "WaitingForCredentials");
  return desk.plan().holds[0]?.waitingFor[0]?.detail ?? "";
};

const bothRoots = (desk: Desk, stream = "agent-1") =>
  desk.send("p", stream, { kind: "xdsBundle", version: "4", roots: ["a", "b"] }, XDS_BUNDLE);

test("C5: a bootstrap that was handed out and not used yet may bring a bundle without the new root", () => {
  const desk = proven();
  const handedOut = desk.handOut("p", "a", "a");
  assert.match(waits(desk), /handed a credential that it has not used yet/);
  desk.join("p", "p-2", "envoy", "a");
  assert.match(waits(desk), /handed a credential that it has not used yet/, "it came with another one under a");
  desk.joinWith("p", "p-3", "envoy", handedOut);
  assert.match(waits(desk), /its agent has not ACKed a bundle/, "the bundle that came with it is what runs now");
  desk.ack("p", "agent-1", bothRoots(desk), XDS_BUNDLE);
  assert.equal(desk.settle(), "xdsServer b");
});

test("C5: the bundle of a bootstrap that was used is remembered over restarts, and what is sent after it ends it", () => {
  const desk = proven();
  const before = bothRoots(desk);
  desk.joinWith("p", "p-2", "envoy", desk.handOut("p", "a", "a"));
  desk.ack("p", "agent-1", before, XDS_BUNDLE);
  waits(desk);
  assert.equal(needsProof(desk.row("p").slots.get(`agent|${XDS_BUNDLE}`) as Slot), true, "its agent is asked again");
  const rows = new Map([...desk.ledger.proxies].map(([key, row]) => [key, toDurable(row)]));
  desk.ledger = fromDurable(structuredClone(rows), desk.now);
  waits(desk);
  desk.join("p", "agent-1", "agent", "a", CREDENTIAL, XDS_BUNDLE);
  desk.ack("p", "agent-1", bothRoots(desk), XDS_BUNDLE);
  assert.equal(desk.settle(), "xdsServer b");
});

test("C5: an agent that comes with a bootstrap says nothing of what its Envoy runs, before its ACK of what is sent then", () => {
  const desk = proven();
  const handedOut = desk.handOut("p", "a", "a");
  const before = bothRoots(desk);
  desk.joinWith("p", "agent-2", "agent", handedOut, CREDENTIAL, XDS_BUNDLE);
  desk.ack("p", "agent-1", before, XDS_BUNDLE);
  assert.match(waits(desk), /its agent has not ACKed a bundle/);
  desk.ack("p", "agent-1", bothRoots(desk), XDS_BUNDLE);
  assert.equal(desk.settle(), "xdsServer b");
});

test("C5: a bootstrap that never came to be used is done with once its Envoy uses a later credential and its agent has ACKed", () => {
  const desk = proven();
  const later = { ...ownCredential("a"), notBefore: desk.handOut("p", "a", "a").notBefore + 1_000 };
  desk.joinWith("p", "agent-2", "agent", later, CREDENTIAL, XDS_BUNDLE);
  desk.ack("p", "agent-2", bothRoots(desk, "agent-2"), XDS_BUNDLE);
  assert.match(waits(desk), /handed a credential that it has not used yet/, "its agent can't know");
  desk.joinWith("p", "p-2", "envoy", later);
  assert.match(
    waits(desk),
    /its agent has not ACKed a bundle/,
    "it may have come before the later one, which it was merged with",
  );
  desk.ack("p", "agent-2", bothRoots(desk, "agent-2"), XDS_BUNDLE);
  assert.equal(desk.settle(), "xdsServer b");
});

test("C5: a bootstrap that never came to be used is done with when it expires", () => {
  const desk = proven();
  const { notAfter } = desk.handOut("p", "a", "a");
  waits(desk);
  desk.leap(notAfter - desk.now);
  assert.equal(desk.settle(), "xdsServer b");
});

test("C5: a bootstrap that is used ends what agents of before it left, where none is left to ACK anything", () => {
  const desk = proven();
  desk.joinWith("p", "p-2", "envoy", desk.handOut("p", "a", "a"));
  desk.end("p", "agent-1");
  desk.tick(1_000);
  waits(desk);
  desk.joinWith("p", "p-3", "envoy", desk.handOut("p", "b", "a", "b"));
  assert.equal(desk.settle(), "xdsServer b");
});

test("C5: an Envoy that came under a root proves nothing of the bundle that its agent has put beside it", () => {
  const desk = proven();
  desk.join("p", "p-2", "envoy", "b");
  desk.ack(
    "p",
    "agent-1",
    desk.send("p", "agent-1", { kind: "xdsBundle", version: "9", roots: ["a"] }, XDS_BUNDLE),
    XDS_BUNDLE,
  );
  waits(desk);
  // Its first bundle was refused, and the leaf that came next lies beside that of the bootstrap.
  const first = new Desk({ ...inForce("b", "a", "b"), mesh: ["b"], xdsServer: "a" });
  first.running("p", leaf("L", "b"), bundle("2", "b"));
  first.want(["b"]);
  first.join("p", "agent-1", "agent", "a", CREDENTIAL, XDS_BUNDLE);
  first.nack("p", "agent-1", bothRoots(first), XDS_BUNDLE);
  const credential: Content = { kind: "xdsLeaf", version: "B", root: "b", notAfter: 1e12 };
  first.ack("p", "agent-1", first.send("p", "agent-1", credential, CREDENTIAL), CREDENTIAL);
  first.join("p", "p-2", "envoy", "b");
  waits(first);
  first.joinWith("p", "p-3", "envoy", first.handOut("p", "b", "a", "b"));
  assert.equal(first.settle(), "xdsServer b", "what was handed out is one set");
});

test("C5: an agent whose stream resumed, and was sent nothing, is asked again once a bootstrap is in use", () => {
  const desk = proven();
  desk.end("p", "agent-1");
  desk.join("p", "agent-2", "agent", "a", CREDENTIAL, XDS_BUNDLE);
  const slot = desk.row("p").slots.get(`agent|${XDS_BUNDLE}`) as Slot;
  assert.equal(needsProof(slot), false);
  desk.joinWith("p", "p-2", "envoy", desk.handOut("p", "a", "a"));
  assert.equal(needsProof(slot), true);
});

test("E6 streams that ended with the same contents, and bootstraps that were used, leave one line", () => {
  const desk = proven();
  for (let stream = 0; stream < 50; stream++) {
    desk.join("p", `x-${stream}`, "agent", "a", CREDENTIAL, XDS_BUNDLE);
    bothRoots(desk, `x-${stream}`);
    desk.end("p", `x-${stream}`);
    desk.tick(1_000);
    desk.joinWith("p", `y-${stream}`, "envoy", desk.handOut("p", "a", "a", "b"));
    desk.end("p", `y-${stream}`);
  }
  for (const { lines } of desk.row("p").slots.values()) assert.ok(lines.length <= 3, `${lines.length}`);
});

test("C5: a bootstrap whose bundle holds the new root holds nothing back", () => {
  const desk = proven();
  desk.handOut("p", "a", "a", "b");
  assert.equal(desk.settle(), "xdsServer b");
});

test("C4: a connection that was opened around the ACK may have begun before it, and ends; a later one is left alone", () => {
  const desk = proven();
  const xdsLeaf: Content = { kind: "xdsLeaf", version: "B", root: "b", notAfter: 1e12 };
  desk.ack("p", "agent-1", desk.send("p", "agent-1", xdsLeaf, CREDENTIAL), CREDENTIAL);
  const opened = (afterMs: number) =>
    outdated(
      { fingerprint: "A", root: "a", openedAt: desk.now + afterMs, notAfter: 1e12 },
      desk.row("p"),
      desk.trust,
      desk.now + 10_000,
    );
  assert.match(opened(0) ?? "", /newer credential is loaded/);
  assert.match(opened(4_000) ?? "", /newer credential is loaded/);
  assert.equal(opened(6_000), undefined);
});

test("E12 the agent of an Envoy that is away does not make it SYNCED, and does not take back its refusal", () => {
  const desk = proven();
  const state = () => syncState(desk.row("p"), (_name, consumer) => (consumer === "envoy" ? "wanted" : undefined));
  for (const stream of desk.row("p").session.streams.keys()) if (stream !== "agent-1") desk.end("p", stream);
  assert.equal(desk.row("p").session.streams.size, 1);
  assert.equal(state(), "UNKNOWN");
  desk.row("p").error = { answering: "default", message: "no", at: desk.now, names: [] };
  assert.equal(state(), "ERROR");
});

test("E10 E11 a root is still presented for as long as a connection begun before the leaf's ACK may take", () => {
  const desk = new Desk(inForce("a", "a", "b"));
  desk.running("p", leaf("L", "b", desk.now + 1e9), bundle("2", "a", "b"));
  const stream = [...desk.row("p").session.streams.keys()][0] ?? "";
  const presented = () => [...presentedRoots(desk.ledger, ["a", "b"], desk.now, 5_000)].sort();
  desk.ack("p", stream, desk.send("p", stream, leaf("M", "a", desk.now + 1e9), LEAF), LEAF);
  assert.deepEqual(presented(), ["a", "b"]);
  desk.tick(5_000);
  assert.deepEqual(presented(), ["a"]);
});

test("E13 a process that slept, or whose clock was set, forgets nothing that it could not see asked for", () => {
  for (const leapMs of [16 * 60_000, -3_600_000]) {
    const desk = new Desk(inForce("a", "a"));
    desk.running("p", leaf("L", "a", 1e12), bundle("1", "a"));
    desk.connect("p", "p-2", BUNDLE);
    desk.ask("p", "p-1", LEAF);
    desk.tick(1_000);
    desk.end("p", "p-2");
    desk.leap(leapMs);
    assert.notEqual(desk.row("p").slots.get(`envoy|${BUNDLE}`), undefined, "its client has had no time to come back");
    desk.tick(15 * 60_000);
    if (leapMs > 0) assert.equal(desk.row("p").slots.get(`envoy|${BUNDLE}`), undefined, "it was here and did not ask");
  }
});
