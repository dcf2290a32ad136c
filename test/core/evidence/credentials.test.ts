/** C4 and C5 of evidence.md: when the xDS port's own certificate moves, when a root leaves it, which connections end. */

import assert from "node:assert/strict";
import { test } from "node:test";
import type { Content } from "../../../src/core/evidence/content.ts";
import { record } from "../../../src/core/evidence/ledger.ts";
import { fromDurable, toDurable } from "../../../src/core/evidence/ledger-rows.ts";
import { type Connection, outdated } from "../../../src/core/evidence/outdated.ts";
import type { TrustedRoot } from "../../../src/core/roots/trust.ts";
import { bundle, Desk, inForce, leaf } from "../../support/desk.ts";

const HOUR = 60 * 60_000;
const CREDENTIAL = "tls_sds";
const XDS_BUNDLE = "validation_context_sds";
const xdsBundle = (version: string, ...roots: string[]): Content => ({ kind: "xdsBundle", version, roots });
const xdsLeaf = (version: string, root: string, notAfter = 1e12): Content => ({
  kind: "xdsLeaf",
  version,
  root,
  notAfter,
});

/** The mesh has moved from a to b; the xDS port has not. p has an Envoy under a. */
function rotated(): Desk {
  const desk = new Desk({ ...inForce("b", "a", "b"), mesh: ["b"], xdsServer: "a" });
  desk.running("p", leaf("L", "b"), bundle("2", "b"));
  desk.want(["b"]);
  return desk;
}

function agent(desk: Desk, root = "a", stream = "agent-1"): void {
  desk.join("p", stream, "agent", root, CREDENTIAL, XDS_BUNDLE);
}

test("C5: our own certificate moves once the agent has ACKed a bundle that holds the new root, not when it was sent", () => {
  const desk = rotated();
  assert.equal(desk.settle(), "WaitingForCredentials");
  agent(desk);
  const sent = desk.send("p", "agent-1", xdsBundle("3", "a", "b"), XDS_BUNDLE);
  assert.equal(desk.settle(), "WaitingForCredentials", "Envoy still runs the bundle of its bootstrap");
  desk.ack("p", "agent-1", sent, XDS_BUNDLE);
  assert.equal(desk.settle(), "xdsServer b");
});

test("C5: our own certificate stays under the old root while that is wanted, and until its last day", () => {
  const desk = rotated();
  desk.join("p", "p-2", "envoy", "b");
  desk.want(["b"], ["a", "b"]);
  desk.trust = { ...desk.trust, mesh: ["a", "b"] };
  assert.equal(desk.settle(), "nothing to do", "bootstraps of before the rotation hold no other root");
  const a = desk.trust.roots.a as TrustedRoot;
  desk.trust = { ...desk.trust, roots: { ...desk.trust.roots, a: { ...a, notAfter: desk.now + 24 * HOUR } } };
  assert.equal(desk.settle(), "xdsServer b");
});

test("C5: what an agent may still run without the new root holds our certificate back, after a restart too", () => {
  const desk = rotated();
  agent(desk);
  desk.ack("p", "agent-1", desk.send("p", "agent-1", xdsBundle("2", "a"), XDS_BUNDLE), XDS_BUNDLE);
  desk.send("p", "agent-1", xdsBundle("3", "a", "b"), XDS_BUNDLE);
  assert.equal(desk.settle(), "WaitingForCredentials");
  const rows = new Map([...desk.ledger.proxies].map(([key, row]) => [key, toDurable(row)]));
  desk.ledger = fromDurable(structuredClone(rows), desk.now);
  assert.equal(desk.settle(), "WaitingForCredentials");
  agent(desk, "a", "agent-2");
  desk.ack("p", "agent-2", desk.send("p", "agent-2", xdsBundle("3", "a", "b"), XDS_BUNDLE), XDS_BUNDLE);
  assert.equal(desk.settle(), "xdsServer b");
});

test("C5: where no agent speaks, a handshake of the Envoy under the new root is the proof", () => {
  const desk = rotated();
  desk.join("p", "p-2", "envoy", "b");
  assert.equal(desk.settle(), "xdsServer b");
});

test("C5: an operator's assume stands for a proof that nobody can give", () => {
  const desk = rotated();
  const [hold] = desk.plan().holds;
  assert.match(hold?.waitingFor[0]?.detail ?? "", /no agent keeps its credentials/);
  record(desk.ledger, { type: "assume", proxy: "p", reason: "I have looked", at: desk.now });
  assert.equal(desk.settle(), "xdsServer b");
});

test("C5: the old root leaves the port when neither Envoy nor agent used it last, and neither is taken for the other", () => {
  const desk = rotated();
  desk.trust = { ...desk.trust, xdsServer: "b" };
  agent(desk);
  desk.join("p", "p-2", "envoy", "b");
  assert.match(desk.plan().holds[0]?.waitingFor[0]?.detail ?? "", /its agent last authenticated with it/);
  agent(desk, "b", "agent-2");
  assert.equal(desk.settle(), "xdsDistrust a");
});

test("C5: a credential under the old root that an agent was sent, or that was handed out, may still come", () => {
  const desk = rotated();
  desk.trust = { ...desk.trust, xdsServer: "b" };
  desk.join("p", "p-2", "envoy", "b");
  agent(desk, "b");
  desk.send("p", "agent-1", xdsLeaf("A", "a", desk.now + HOUR), CREDENTIAL);
  assert.equal(desk.settle(), "WaitingForCredentials");
  desk.ack("p", "agent-1", desk.send("p", "agent-1", xdsLeaf("B", "b"), CREDENTIAL), CREDENTIAL);
  desk.handOut("p", "a", "a", "b");
  assert.equal(desk.settle(), "WaitingForCredentials");
  desk.tick(1_000);
  desk.joinWith("p", "p-3", "envoy", desk.handOut("p", "b", "a", "b"));
  assert.equal(desk.settle(), "xdsDistrust a");
});

test("C5: an agent that is gone for good holds its proxy's old root until an operator answers for it", () => {
  const desk = rotated();
  desk.trust = { ...desk.trust, xdsServer: "b" };
  agent(desk);
  desk.end("p", "agent-1");
  desk.join("p", "p-2", "envoy", "b");
  assert.equal(desk.settle(), "WaitingForCredentials");
  record(desk.ledger, { type: "assume", proxy: "p", reason: "no agent any more", at: desk.now });
  assert.equal(desk.settle(), "xdsDistrust a");
});

test("C5: what an agent refuses does not stop the mesh, and what it answers is no word of its Envoy (E14)", () => {
  const desk = new Desk(inForce("a", "a", "b"));
  desk.running("p", leaf("L", "a"), bundle("2", "a", "b"));
  agent(desk);
  const sent = desk.send("p", "agent-1", xdsLeaf("B", "b"), CREDENTIAL);
  desk.nack("p", "agent-1", sent, CREDENTIAL);
  desk.want(["b"], ["a", "b"]);
  assert.equal(desk.row("p").error, undefined);
  const rows = new Map([...desk.ledger.proxies].map(([key, row]) => [key, toDurable(row)]));
  desk.ledger = fromDurable(structuredClone(rows), desk.now);
  agent(desk, "a", "agent-2");
  desk.ack("p", "agent-2", desk.send("p", "agent-2", xdsLeaf("C", "a"), CREDENTIAL), CREDENTIAL);
  assert.equal(desk.row("p").session.heard, false);
  assert.equal(desk.settle(), "signer b");
});

test("C4: a connection ends when its proxy has loaded a newer credential, and the next one is left alone", () => {
  const desk = rotated();
  agent(desk);
  const { trust } = desk;
  const old: Connection = { fingerprint: "A", root: "a", openedAt: desk.now, notAfter: desk.now + HOUR };
  const verdict = (connection: Connection) => outdated(connection, desk.row("p"), trust, desk.now);
  desk.tick(1_000);
  const sent = desk.send("p", "agent-1", xdsLeaf("B", "b"), CREDENTIAL);
  assert.equal(verdict(old), undefined, "not before Envoy has it");
  desk.ack("p", "agent-1", sent, CREDENTIAL);
  assert.match(verdict(old) ?? "", /newer credential is loaded/);
  assert.equal(verdict({ ...old, fingerprint: "B" }), undefined);
  desk.tick(6_000);
  assert.equal(
    verdict({ ...old, openedAt: desk.now }),
    undefined,
    "who comes back with the old one is not sent in circles",
  );
});

test("C4: a connection ends some seconds after a new credential was handed out, once", () => {
  const desk = rotated();
  const old: Connection = { fingerprint: "A", root: "a", openedAt: desk.now, notAfter: desk.now + HOUR };
  const verdict = (connection: Connection) => outdated(connection, desk.row("p"), desk.trust, desk.now);
  desk.tick(1_000);
  desk.handOut("p", "b", "a", "b");
  assert.equal(verdict(old), undefined);
  desk.tick(5_000);
  assert.match(verdict(old) ?? "", /handed out/);
  assert.equal(verdict({ ...old, openedAt: desk.now }), undefined);
});

test("C4: a connection ends with its certificate, and with its root", () => {
  const desk = rotated();
  const connection: Connection = { fingerprint: "A", root: "a", openedAt: desk.now, notAfter: desk.now + HOUR };
  assert.match(outdated(connection, undefined, desk.trust, desk.now + HOUR) ?? "", /expired/);
  assert.match(outdated({ ...connection, root: "gone" }, undefined, desk.trust, desk.now) ?? "", /no longer accepted/);
  assert.equal(outdated(connection, undefined, desk.trust, desk.now), undefined);
});

/** The mesh has moved from a to b, and both are one CA: `issuerId` is what verifiers look for. */
function reissued(more: Partial<TrustedRoot> = {}): Desk {
  const desk = rotated();
  const { a, b } = desk.trust.roots;
  if (a === undefined || b === undefined) throw new Error("no roots");
  desk.trust = { ...desk.trust, roots: { a: { ...a, issuerId: "ca" }, b: { ...b, issuerId: "ca", ...more } } };
  return desk;
}

test("A4: a CA reissued with its key ends its rotation: a credential under the old certificate is good under the new one", () => {
  const desk = reissued();
  assert.equal(desk.settle(), "xdsServer b", "whoever trusts a verifies what b signs");
  assert.equal(desk.settle(), "xdsDistrust a");
  assert.deepEqual(desk.trust.xds, ["b"]);
});

test("A4: also with an agent that has ACKed nothing of the new certificate yet", () => {
  const desk = reissued();
  agent(desk);
  desk.ack("p", "agent-1", desk.send("p", "agent-1", xdsBundle("2", "a"), XDS_BUNDLE), XDS_BUNDLE);
  assert.equal(desk.settle(), "xdsServer b");
  assert.equal(desk.settle(), "xdsDistrust a");
});

test("A4: no other CA stands in, nor one of another trust domain, nor one that is not valid now", () => {
  const form = { trustDomain: "mesh.example", spiffe: false };
  for (const more of [
    { issuerId: "another" },
    { issuerId: undefined },
    { form },
    { notAfter: 1 },
    { notBefore: 1e14 },
  ]) {
    const desk = reissued(more);
    desk.trust = { ...desk.trust, xdsServer: "b" };
    assert.equal(desk.settle(), "WaitingForCredentials", JSON.stringify(more));
  }
});
