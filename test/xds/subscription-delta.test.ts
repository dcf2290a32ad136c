/** The incremental half of the subscription machine, rule by rule (docs/xds-protocol.md). */

import assert from "node:assert/strict";
import { test } from "node:test";
import { Conversation, refusal } from "../support/conversation.ts";

const has = (...entries: [string, string][]) => ({ initialVersions: new Map(entries) });

/** A stream on which A has been delivered and acknowledged in version 1, under nonce n1. */
function withA(more: Readonly<Record<string, string>> = {}): Conversation {
  const stream = new Conversation("delta", { A: "1", ...more });
  stream.say({ subscribe: ["A"] });
  stream.say({ nonce: "n1" });
  return stream;
}

test("R51 only what changed is sent, and nothing that is not asked for", () => {
  const stream = withA({ B: "1" });
  assert.deepEqual(stream.set("B", "2"), []);
  assert.deepEqual(stream.set("A", "2"), ["send A 2 as n2, plain"]);
});

test("R52 a nonce alone is an ACK, with an error it is a NACK", () => {
  const stream = withA();
  stream.set("A", "2");
  assert.deepEqual(stream.say({ nonce: "n2" }), ["acked A 2"]);
  stream.set("A", "3");
  assert.deepEqual(stream.say({ nonce: "n3", ...refusal("bad") }), ["nacked A 3: bad"]);
});

test("R53 T10 a stale nonce does not take away what the message asks for", () => {
  const stream = withA({ B: "1" });
  stream.set("A", "2");
  assert.deepEqual(stream.say({ nonce: "n1", subscribe: ["B"] }), ["asked A,B"]);
  assert.deepEqual(stream.say({ nonce: "n2" }), ["acked A 2", "send B 1 as n3, unique"]);
  assert.deepEqual(stream.say({ nonce: "FOO", unsubscribe: ["B"] }), ["asked A"]);
});

test("R24 R53 a NACK and a new name in one message", () => {
  const stream = withA({ B: "1" });
  stream.set("A", "2");
  assert.deepEqual(stream.say({ nonce: "n2", subscribe: ["B"], ...refusal() }), [
    "nacked A 2: x",
    "asked A,B",
    "send B 1 as n3, unique",
  ]);
});

test("R54 a name that is asked for again is sent, though the client should have it", () => {
  assert.deepEqual(withA().say({ subscribe: ["A"] }), ["send A 1 as n2, plain"]);
});

test("R55 unsubscribing: no response, never an error; in both lists the last word is unsubscribe", () => {
  const stream = withA({ B: "1" });
  assert.deepEqual(stream.say({ unsubscribe: ["A", "phantom"] }), ["asked"]);
  assert.deepEqual(stream.set("A", "2"), []);
  assert.deepEqual(stream.say({ subscribe: ["B"], unsubscribe: ["B"] }), []);
});

test("R56 a name that does not exist is removed once; one that is being made is silence", () => {
  const stream = new Conversation("delta", { B: "later" });
  assert.deepEqual(stream.say({ subscribe: ["A", "B"] }), ["asked A,B", "remove A as n1"]);
  assert.deepEqual(stream.say({ nonce: "n1" }), ["acked"]);
  assert.deepEqual(stream.changed(), []);
  assert.deepEqual(stream.set("A", "1"), ["send A 1 as n2, unique"]);
});

test("R57 T7 reported versions: the same in plain bytes, others unique, unknown names removed, foreign ones ignored", () => {
  const stream = new Conversation("delta", { A: "1", B: "2" });
  const first = { subscribe: ["A", "B", "C"], ...has(["A", "1"], ["B", "1"], ["D", "4"]) };
  assert.deepEqual(stream.say(first), ["asked A,B,C", "remove C as n1"]);
  assert.deepEqual(stream.say({ nonce: "n1" }), ["acked", "send A 1 as n2, plain"]);
  assert.deepEqual(stream.say({ nonce: "n2" }), ["acked A 1", "send B 2 as n3, unique"]);
});

test("R57 reported versions count on the first request only", () => {
  const stream = withA({ B: "1" });
  assert.deepEqual(stream.say({ subscribe: ["B"], ...has(["B", "1"]) }), ["asked A,B", "send B 1 as n2, unique"]);
});

test("R58 a deleted secret is removed, and sent when it is back", () => {
  const stream = withA();
  assert.deepEqual(stream.set("A", "absent"), ["remove A as n2"]);
  assert.deepEqual(stream.say({ nonce: "n2" }), ["acked"]);
  assert.deepEqual(stream.changed(), []);
  assert.deepEqual(stream.set("A", "1"), ["send A 1 as n3, unique"]);
});

test("R59 R35 R60 nothing to say is not said: no names, or *", () => {
  const stream = new Conversation("delta", { A: "1" });
  assert.deepEqual(stream.say({}), ["asked"]);
  assert.deepEqual(stream.say({ subscribe: ["*"] }), []);
  assert.deepEqual(stream.say({ unsubscribe: ["*"] }), []);
});

test("R61 an xdstp name is a name like any other", () => {
  const stream = new Conversation("delta", {});
  assert.deepEqual(stream.say({ subscribe: ["xdstp://x/y"] }), ["asked xdstp://x/y", "remove xdstp://x/y as n1"]);
});

test("R20 R83 the first verdict on a nonce stands", () => {
  const stream = withA();
  stream.set("A", "2");
  assert.deepEqual(stream.say({ nonce: "n2", ...refusal() }), ["nacked A 2: x"]);
  assert.deepEqual(stream.say({ nonce: "n2" }), []);
  assert.deepEqual(stream.say({ nonce: "n2", ...refusal() }), []);
});

test("R22 R85 one response at a time; unanswered it is superseded by unique bytes", () => {
  const stream = withA({ B: "1" });
  stream.set("A", "2");
  assert.deepEqual(stream.say({ subscribe: ["B"] }), ["asked A,B"]);
  stream.set("A", "3");
  assert.deepEqual(stream.overdue(), ["superseded A 2", "send A 3 as n3, unique"]);
  assert.deepEqual(stream.say({ nonce: "n2" }), ["acked A 2"]);
  assert.deepEqual(stream.say({ nonce: "n3" }), ["acked A 3", "send B 1 as n4, unique"]);
});

test("R85 E3 a resubscription after a NACK goes out in unique bytes", () => {
  const stream = withA();
  stream.set("A", "2");
  stream.say({ nonce: "n2", ...refusal() });
  assert.deepEqual(stream.say({ subscribe: ["A"] }), ["send A 2 as n3, unique"]);
  stream.say({ nonce: "n3" });
  stream.say({ unsubscribe: ["A"] });
  assert.deepEqual(stream.say({ subscribe: ["A"] }), ["asked A", "send A 2 as n4, unique"]);
});
