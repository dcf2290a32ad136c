/** What the histories found, rule by rule of evidence.md: credentials that were handed out, and moments that fall together. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { outdated } from "../../src/core/connections.ts";
import type { Content } from "../../src/core/content.ts";
import { record } from "../../src/core/ledger.ts";
import { presentedRoots, syncState } from "../../src/core/ledger-queries.ts";
import { bundle, Desk, inForce, LEAF, leaf } from "../support/desk.ts";

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

test("C5: a bootstrap that was handed out and not used yet may bring a bundle without the new root", () => {
  const desk = proven();
  record(desk.ledger, { type: "issued", proxy: "p", root: "a", at: desk.now });
  assert.equal(desk.settle(), "WaitingForCredentials");
  assert.match(desk.plan().holds[0]?.waitingFor[0]?.detail ?? "", /handed a credential that it has not used yet/);
  desk.join("p", "p-2", "envoy", "a");
  assert.equal(desk.settle(), "xdsServer b", "it is used: what its agent proves since counts");
});

test("C5: a bootstrap under the new root holds nothing back, because its bundle came with it", () => {
  const desk = proven();
  record(desk.ledger, { type: "issued", proxy: "p", root: "b", at: desk.now });
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
  for (const stream of desk.row("p").streams.keys()) if (stream !== "agent-1") desk.end("p", stream);
  assert.equal(desk.row("p").streams.size, 1);
  assert.equal(state(), "UNKNOWN");
  desk.row("p").error = { answering: "default", message: "no", at: desk.now, names: [] };
  assert.equal(state(), "ERROR");
});

test("E10 E11 a root is still presented for as long as a connection begun before the leaf's ACK may take", () => {
  const desk = new Desk(inForce("a", "a", "b"));
  desk.running("p", leaf("L", "b", desk.now + 1e9), bundle("2", "a", "b"));
  const stream = [...desk.row("p").streams.keys()][0] ?? "";
  const presented = () => [...presentedRoots(desk.ledger, desk.now, 5_000)].sort();
  desk.ack("p", stream, desk.send("p", stream, leaf("M", "a", desk.now + 1e9), LEAF), LEAF);
  assert.deepEqual(presented(), ["a", "b"]);
  desk.tick(5_000);
  assert.deepEqual(presented(), ["a"]);
});
