/** The state-of-the-world half of the subscription machine, rule by rule (docs/xds-protocol.md). */

import assert from "node:assert/strict";
import { test } from "node:test";
import { Conversation, refusal } from "../support/conversation.ts";

/** A stream on which A has been delivered and acknowledged in version 1, under nonce n1. */
function withA(more: Readonly<Record<string, string>> = {}): Conversation {
  const stream = new Conversation("sotw", { A: "1", ...more });
  stream.say({ names: ["A"] });
  stream.say({ names: ["A"], nonce: "n1", version: "1" });
  return stream;
}

test("R11 every response has a nonce of its own, with the prefix of its stream", () => {
  const stream = withA();
  assert.deepEqual(stream.set("A", "2"), ["send A 2 as n2, plain"]);
  const other = new Conversation("sotw", { A: "1" }, "m");
  assert.deepEqual(other.say({ names: ["A"] }), ["asked A", "send A 1 as m1, unique"]);
});

test("R13 a version of the client that we never issued is answered like any other", () => {
  const stream = new Conversation("sotw", { A: "1" });
  assert.deepEqual(stream.say({ names: ["A"], version: "99999" }), ["asked A", "send A 1 as n1, unique"]);
});

test("R14 an ACK names our nonce and the version sent with it, and has no error", () => {
  const stream = new Conversation("sotw", { A: "1" });
  stream.say({ names: ["A"] });
  assert.deepEqual(stream.say({ names: ["A"], nonce: "n1", version: "1" }), ["acked A 1"]);
});

test("R15 an error is a NACK, whatever version comes with it", () => {
  const stream = new Conversation("sotw", { A: "1" });
  stream.say({ names: ["A"] });
  assert.deepEqual(stream.say({ names: ["A"], nonce: "n1", version: "1", ...refusal("bad") }), ["nacked A 1: bad"]);
});

test("R16 the current nonce with another version is neither ACK nor NACK, and nothing is sent again", () => {
  const stream = new Conversation("sotw", { A: "1" });
  stream.say({ names: ["A"] });
  assert.deepEqual(stream.say({ names: ["A"], nonce: "n1", version: "0" }), ["unknown A 1"]);
});

test("R17 a stale nonce changes no names; its verdict goes to the response that it names", () => {
  const stream = new Conversation("sotw", { A: "1", B: "1" });
  stream.say({ names: ["A"] });
  stream.overdue();
  stream.set("A", "2");
  assert.deepEqual(stream.say({ names: ["A", "B"], nonce: "n1", version: "1" }), ["acked A 1"]);
  assert.deepEqual(stream.say({ names: ["A"], nonce: "n2", version: "2" }), ["acked A 2"]);
});

test("R18 a nonce of another stream is ignored, but on the first request", () => {
  const stream = new Conversation("sotw", { A: "1", B: "1" });
  assert.deepEqual(stream.say({ names: ["A"], nonce: "FOO" }), ["asked A", "send A 1 as n1, unique"]);
  stream.say({ names: ["A"], nonce: "n1", version: "1" });
  assert.deepEqual(stream.say({ names: ["A", "B"], nonce: "FOO", version: "1" }), []);
});

test("R19 an empty nonce is never stale", () => {
  const stream = withA({ B: "1" });
  assert.deepEqual(stream.say({ names: ["A", "B"] }), ["asked A,B", "send B 1 as n2, unique"]);
});

test("R20 a hundred NACKs get no response", () => {
  const stream = new Conversation("sotw", { A: "1" });
  stream.say({ names: ["A"] });
  const said = Array.from({ length: 100 }, () => stream.say({ names: ["A"], nonce: "n1", ...refusal() })).flat();
  assert.deepEqual(said, ["nacked A 1: x"]);
});

test("R22 one response is on its way at a time; meanwhile only the newest content waits", () => {
  const stream = new Conversation("sotw", { A: "1" });
  stream.say({ names: ["A"] });
  assert.deepEqual(stream.set("A", "2"), []);
  assert.deepEqual(stream.set("A", "3"), []);
  assert.deepEqual(stream.say({ names: ["A"], nonce: "n1", version: "1" }), ["acked A 1", "send A 3 as n2, plain"]);
});

test("R22 an answer that does not come: superseded, and the newest goes out in unique bytes (E3)", () => {
  const stream = withA();
  stream.set("A", "2");
  stream.set("A", "3");
  assert.deepEqual(stream.overdue(), ["superseded A 2", "send A 3 as n3, unique"]);
});

test("R23 a response carries one secret", () => {
  const stream = new Conversation("sotw", { A: "1", B: "1" });
  assert.deepEqual(stream.say({ names: ["A", "B"] }), ["asked A,B", "send A 1 as n1, unique"]);
  assert.deepEqual(stream.say({ names: ["A", "B"], nonce: "n1", version: "1" }), [
    "acked A 1",
    "send B 1 as n2, unique",
  ]);
});

test("R24 a NACK that changes the names is a subscription change too", () => {
  const stream = new Conversation("sotw", { A: "1", B: "1" });
  stream.say({ names: ["A"] });
  assert.deepEqual(stream.say({ names: ["A", "B"], nonce: "n1", ...refusal() }), [
    "nacked A 1: x",
    "asked A,B",
    "send B 1 as n2, unique",
  ]);
});

test("R25 T11 a first request with a leftover error is answered, and nothing counts as refused", () => {
  const stream = new Conversation("sotw", { A: "1" });
  assert.deepEqual(stream.say({ names: ["A"], ...refusal() }), ["asked A", "send A 1 as n1, unique"]);
});

test("R26 a second ACK changes nothing, and an ACK by itself gets no response", () => {
  const stream = withA();
  assert.deepEqual(stream.say({ names: ["A"], nonce: "n1", version: "1" }), []);
});

test("R28 unchanged content is not sent", () => {
  assert.deepEqual(withA().changed(), []);
});

test("R30 names are a set; empty ones are ignored", () => {
  const stream = withA({ B: "1" });
  stream.say({ names: ["A", "B"], nonce: "n1", version: "1" });
  stream.say({ names: ["A", "B"], nonce: "n2", version: "1" });
  assert.deepEqual(stream.say({ names: ["B", "A", "", "A"], nonce: "n2", version: "1" }), []);
});

test("R31 a name that is asked for again is sent although unchanged; the others are not", () => {
  const stream = withA({ B: "1" });
  stream.say({ names: ["A", "B"], nonce: "n1", version: "1" });
  stream.say({ names: ["B"], nonce: "n2", version: "1" });
  assert.deepEqual(stream.say({ names: ["A", "B"], nonce: "n2", version: "1" }), [
    "asked A,B",
    "send A 1 as n3, unique",
  ]);
});

test("R32 a name that is no longer asked for gets no response, now or later", () => {
  const stream = withA({ B: "1" });
  stream.say({ names: ["A", "B"], nonce: "n1", version: "1" });
  assert.deepEqual(stream.say({ names: ["A"], nonce: "n2", version: "1" }), ["acked B 1", "asked A"]);
  assert.deepEqual(stream.set("B", "2"), []);
});

test("R33 what waits for an answer is dropped when its name is no longer asked for", () => {
  const stream = new Conversation("sotw", { A: "1", B: "1" });
  stream.say({ names: ["A", "B"] });
  assert.deepEqual(stream.say({ names: ["A"], nonce: "n1", version: "1" }), ["acked A 1", "asked A"]);
});

test("R34 R39 no names left, or a secret deleted: silence, and the stream goes on", () => {
  const stream = withA();
  assert.deepEqual(stream.set("A", "absent"), []);
  assert.deepEqual(stream.say({ names: [], nonce: "n1", version: "1" }), ["asked"]);
  assert.deepEqual(stream.set("A", "2"), []);
  assert.deepEqual(stream.say({ names: ["A"] }), ["asked A", "send A 2 as n2, unique"]);
});

test("R35 R36 no names on the first request, or *, mean no secret", () => {
  const stream = new Conversation("sotw", { A: "1" });
  assert.deepEqual(stream.say({ names: [] }), ["asked"]);
  assert.deepEqual(stream.say({ names: ["*"] }), []);
});

test("R37 R38 a name that can't be had does not hold up others, and is sent once it can", () => {
  const stream = new Conversation("sotw", { B: "1", C: "later" });
  assert.deepEqual(stream.say({ names: ["A", "B", "C"] }), ["asked A,B,C", "send B 1 as n1, unique"]);
  stream.say({ names: ["A", "B", "C"], nonce: "n1", version: "1" });
  assert.deepEqual(stream.set("C", "1"), ["send C 1 as n2, unique"]);
  stream.say({ names: ["A", "B", "C"], nonce: "n2", version: "1" });
  assert.deepEqual(stream.set("A", "1"), ["send A 1 as n3, unique"]);
});

test("R40 R41 T6 a reconnect is answered, in plain bytes if exactly this version is reported, and acknowledges nothing", () => {
  const stream = new Conversation("sotw", { A: "1" });
  assert.deepEqual(stream.say({ names: ["A"], version: "1" }), ["asked A", "send A 1 as n1, plain"]);
  const older = new Conversation("sotw", { A: "1" });
  assert.deepEqual(older.say({ names: ["A"], version: "0" }), ["asked A", "send A 1 as n1, unique"]);
});

test("R40 E3a a version that is reported for several names proves nothing about one", () => {
  const stream = new Conversation("sotw", { A: "1", B: "1" });
  assert.deepEqual(stream.say({ names: ["A", "B"], version: "1" }), ["asked A,B", "send A 1 as n1, unique"]);
  const late = new Conversation("sotw", { A: "later", B: "1" });
  late.say({ names: ["A"], version: "1" });
  late.say({ names: ["A", "B"] });
  late.say({ names: ["A", "B"], nonce: "n1", version: "1" });
  assert.deepEqual(late.set("A", "1"), ["send A 1 as n2, plain"]);
});

test("R83 E4 T1 the first verdict on a nonce stands, though Envoy repeats it without the error", () => {
  const stream = withA({ B: "1", C: "1" });
  assert.deepEqual(stream.say({ names: ["A", "B"], nonce: "n1", version: "1" }), [
    "asked A,B",
    "send B 1 as n2, unique",
  ]);
  assert.deepEqual(stream.say({ names: ["A", "B"], nonce: "n2", version: "1", ...refusal() }), ["nacked B 1: x"]);
  assert.deepEqual(stream.say({ names: ["A", "B", "C"], nonce: "n2", version: "1" }), [
    "asked A,B,C",
    "send C 1 as n3, unique",
  ]);
});

test("R85 E3b plain bytes only after an ACK on this stream; unique after a NACK and when told `again`", () => {
  const stream = withA();
  assert.deepEqual(stream.set("A", "2"), ["send A 2 as n2, plain"]);
  stream.say({ names: ["A"], nonce: "n2", version: "1", ...refusal() });
  assert.deepEqual(stream.set("A", "3"), ["send A 3 as n3, unique"]);
  assert.deepEqual(stream.say({ names: ["A"], nonce: "n3", version: "3" }), ["acked A 3"]);
  assert.deepEqual(stream.set("A", { version: "3", again: true }), ["send A 3 as n4, unique"]);
});

test("R85 E3 a verdict that is unknown is no ACK: unique bytes", () => {
  const stream = withA();
  stream.set("A", "2");
  stream.say({ names: ["A"], nonce: "n2", version: "7" });
  assert.deepEqual(stream.set("A", "3"), ["send A 3 as n3, unique"]);
});

test("T2 an update crosses a new name: silence for the stale request, then both", () => {
  const stream = withA({ B: "1" });
  stream.set("A", "2");
  assert.deepEqual(stream.say({ names: ["A", "B"], nonce: "n1", version: "1" }), []);
  assert.deepEqual(stream.say({ names: ["A", "B"], nonce: "n2", version: "2" }), [
    "acked A 2",
    "asked A,B",
    "send B 1 as n3, unique",
  ]);
});

test("T3 a burst before the first response: each name is delivered once, one at a time", () => {
  const stream = new Conversation("sotw", { A: "1", B: "1", C: "1" });
  assert.deepEqual(stream.say({ names: ["A"] }), ["asked A", "send A 1 as n1, unique"]);
  assert.deepEqual(stream.say({ names: ["A", "B"] }), ["asked A,B"]);
  assert.deepEqual(stream.say({ names: ["A", "B", "C"] }), ["asked A,B,C"]);
  const all = ["A", "B", "C"];
  assert.deepEqual(stream.say({ names: all, nonce: "n1", version: "1" }), ["acked A 1", "send B 1 as n2, unique"]);
  assert.deepEqual(stream.say({ names: all, nonce: "n2", version: "1" }), ["acked B 1", "send C 1 as n3, unique"]);
  assert.deepEqual(stream.say({ names: all, nonce: "n3", version: "1" }), ["acked C 1"]);
});

test("T4 the unified mux after a first NACK: only the new name is sent", () => {
  const stream = new Conversation("sotw", { A: "1", B: "1" });
  stream.say({ names: ["A"] });
  stream.say({ names: ["A"], nonce: "n1", ...refusal() });
  assert.deepEqual(stream.say({ names: ["A", "B"] }), ["asked A,B", "send B 1 as n2, unique"]);
});

test("T8 after a storm of NACKs the next content is sent once, and its ACK counts", () => {
  const stream = new Conversation("sotw", { A: "1" });
  stream.say({ names: ["A"] });
  for (let time = 0; time < 100; time += 1) stream.say({ names: ["A"], nonce: "n1", ...refusal() });
  assert.deepEqual(stream.set("A", "2"), ["send A 2 as n2, unique"]);
  assert.deepEqual(stream.say({ names: ["A"], nonce: "n2", version: "2" }), ["acked A 2"]);
});

test("T9 the same content after a NACK: nothing, until the source says `again`", () => {
  const stream = new Conversation("sotw", { A: "1" });
  stream.say({ names: ["A"] });
  stream.say({ names: ["A"], nonce: "n1", ...refusal() });
  assert.deepEqual(stream.set("A", "1"), []);
  assert.deepEqual(stream.set("A", { version: "1", again: true }), ["send A 1 as n2, unique"]);
});

test("T16 a new stream after a NACK: unique bytes, unless the source withholds it (E5)", () => {
  const stream = new Conversation("sotw", { A: "later" });
  assert.deepEqual(stream.say({ names: ["A"], version: "0" }), ["asked A"]);
  assert.deepEqual(stream.set("A", { version: "1", again: true }), ["send A 1 as n1, unique"]);
});

test("R17 a verdict that comes long after is still known, the last response of a name for ever", () => {
  const stream = withA({ B: "1" });
  stream.say({ names: ["A", "B"], nonce: "n1", version: "1" });
  stream.say({ names: ["A", "B"], nonce: "n2", version: "1" });
  for (let version = 2; version < 30; version += 1) {
    stream.set("A", `${version}`);
    stream.say({ names: ["A", "B"], nonce: `n${version + 1}`, version: `${version}` });
  }
  assert.ok(stream.state.log.size < 12, "the log is bounded");
  assert.deepEqual(stream.set("B", "2"), ["send B 2 as n31, plain"]);
});

test("E15 what the client kept is not sent; the next of that name goes out in unique bytes", () => {
  const stream = new Conversation("sotw", { A: { version: "1", kept: "always" } });
  assert.deepEqual(stream.say({ names: ["A"], version: "1" }), ["asked A", "resumed A 1"]);
  assert.deepEqual(stream.changed(), []);
  assert.deepEqual(stream.set("A", "2"), ["send A 2 as n1, unique"]);
});

test("E15 a bundle that was kept is resumed in delta only; SotW sends it in plain bytes", () => {
  const offer = { A: { version: "1", kept: "delta" } } as const;
  const sotw = new Conversation("sotw", offer);
  assert.deepEqual(sotw.say({ names: ["A"], version: "1" }), ["asked A", "send A 1 as n1, plain"]);
  const delta = new Conversation("delta", offer);
  const say = { subscribe: ["A"], initialVersions: new Map([["A", "1"]]) };
  assert.deepEqual(delta.say(say), ["asked A", "resumed A 1"]);
});
