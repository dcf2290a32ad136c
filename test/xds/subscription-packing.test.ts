/** Types other than secrets: several resources in a response, and subscriptions to all there is. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { Conversation, refusal } from "../support/conversation.ts";

const versionIn = (words: string[]) => words.find((line) => line.startsWith("send ["));
const full = (offers: Record<string, string>) =>
  new Conversation("sotw", offers, "n", { packing: "full", wildcard: true });
const ack = (stream: Conversation) => ({
  nonce: stream.state.latestNonce,
  version: stream.state.inFlight?.version ?? "",
});

test("SotW full: every response holds everything, because the client takes what is missing for deleted", () => {
  const stream = full({ A: "1", B: "1" });
  assert.deepEqual(stream.say({}), ["asked *", "send [A 1, unique; B 1, unique] as n1"]);
  assert.deepEqual(stream.say(ack(stream)), ["acked A 1, B 1"]);
  assert.deepEqual(stream.set("B", "2"), ["send [A 1, plain; B 2, plain] as n2"]);
  stream.say(ack(stream));
  assert.deepEqual(stream.set("A", "absent"), ["send B 2 as n3, plain"]);
  stream.say(ack(stream));
  assert.deepEqual(stream.changed(), []);
  stream.offers.delete("B");
  assert.equal(versionIn(stream.changed()), "send [] as n4", "the last one is gone, too");
});

test("SotW full: whoever asks for all gets a first answer, also when there is nothing, but not before it is known", () => {
  const empty = full({});
  assert.deepEqual(empty.say({}), ["asked *", "send [] as n1"]);
  assert.deepEqual(empty.say(ack(empty)), ["acked"]);
  assert.deepEqual(empty.changed(), [], "once");
  const waiting = full({ A: "later" });
  assert.deepEqual(waiting.say({}), ["asked *"]);
  assert.deepEqual(waiting.set("A", "1"), ["send A 1 as n1, unique"]);
});

test("SotW full: after a NACK nothing is sent until something changes, then all in unique bytes (R20, E3)", () => {
  const stream = full({ A: "1", B: "1" });
  stream.say({});
  assert.deepEqual(stream.say({ nonce: "n1", version: "", ...refusal() }), ["nacked A 1, B 1: x"]);
  assert.deepEqual(stream.changed(), []);
  assert.deepEqual(stream.set("A", "2"), ["send [A 2, unique; B 1, unique] as n2"]);
});

test("one version_info for one set of resources, whatever their order; another for another set (R12)", () => {
  const version = (offers: Record<string, string>) => {
    const stream = full(offers);
    stream.say({});
    return stream.state.inFlight?.version;
  };
  assert.equal(version({ A: "1", B: "2" }), version({ B: "2", A: "1" }));
  assert.notEqual(version({ A: "1", B: "2" }), version({ A: "2", B: "1" }));
});

test("SotW changed: what changed goes out in one response, and what the client asks for by name (R31)", () => {
  const stream = new Conversation("sotw", { A: "1", B: "1", C: "1" }, "n", { packing: "changed" });
  assert.deepEqual(stream.say({ names: ["A", "B"] }), ["asked A,B", "send [A 1, unique; B 1, unique] as n1"]);
  stream.say({ names: ["A", "B"], ...ack(stream) });
  assert.deepEqual(stream.set("B", "2"), ["send B 2 as n2, plain"]);
});

test("R36 SotW: a wildcard beside names, then names alone: what came by the wildcard is over", () => {
  const stream = full({ A: "1", B: "1" });
  assert.deepEqual(stream.say({ names: ["*", "A"] }), ["asked *,A", "send [A 1, unique; B 1, unique] as n1"]);
  assert.deepEqual(stream.say({ names: ["A"], ...ack(stream) }), ["acked A 1, B 1", "asked A"]);
  assert.deepEqual(stream.set("B", "2"), []);
  assert.deepEqual(stream.set("A", "2"), ["send A 2 as n2, plain"]);
});

test("R35 the legacy wildcard ends with the first name; no names mean none then", () => {
  const stream = full({ A: "1" });
  stream.say({ names: ["A"] });
  assert.deepEqual(stream.say({ names: [], ...ack(stream) }), ["acked A 1", "asked"]);
  assert.deepEqual(stream.set("A", "2"), []);
});

test("R60 delta wildcard: all, changes, removals, and a name that is taken back is answered once more", () => {
  const stream = new Conversation("delta", { A: "1", B: "1" }, "n", { packing: "changed", wildcard: true });
  assert.deepEqual(stream.say({ subscribe: ["*", "A"] }), ["asked *,A", "send [A 1, unique; B 1, unique] as n1"]);
  stream.say({ nonce: "n1" });
  assert.deepEqual(stream.say({ unsubscribe: ["A"] }), ["asked *", "send A 1 as n2, plain"]);
  stream.say({ nonce: "n2" });
  stream.offers.set("C", { version: "1" });
  assert.deepEqual(stream.set("B", "absent"), ["send [C 1, unique; without B] as n3"]);
  stream.say({ nonce: "n3" });
  assert.deepEqual(stream.say({ unsubscribe: ["*"] }), ["asked"]);
  assert.deepEqual(stream.set("C", "2"), []);
});

test("R60 delta wildcard: a name that does not exist and is taken back is said to be gone once more", () => {
  const stream = new Conversation("delta", { A: "1" }, "n", { packing: "changed", wildcard: true });
  assert.deepEqual(stream.say({ subscribe: ["*", "N"] }), ["asked *,N", "send [A 1, unique; without N] as n1"]);
  stream.say({ nonce: "n1" });
  assert.deepEqual(stream.say({ unsubscribe: ["N"] }), ["asked *", "remove N as n2"]);
  assert.deepEqual(stream.say({ nonce: "n2" }), ["acked"]);
  assert.deepEqual(stream.changed(), []);
});

test("R57 delta wildcard: what is reported in the right version is not sent, what is gone is removed", () => {
  const kept = (version: string) => ({ version, kept: "delta" }) as const;
  const stream = new Conversation("delta", { A: kept("1"), B: { version: "2" } }, "n", {
    packing: "changed",
    wildcard: true,
  });
  const initialVersions = new Map([
    ["A", "1"],
    ["B", "1"],
    ["D", "4"],
  ]);
  assert.deepEqual(stream.say({ initialVersions }), ["asked *", "resumed A 1", "send [B 2, unique; without D] as n1"]);
});
