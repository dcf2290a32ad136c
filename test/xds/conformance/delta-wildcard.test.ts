/** Delta xDS where a response holds more than one resource, and where `*` means all: the generic layer, which secrets don't use. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { assertDeltaForm, DELTA_SERVICES } from "../../support/delta-conformance.ts";
import { contents, startGenericXds } from "../../support/generic-xds.ts";

for (const { service, open } of DELTA_SERVICES) {
  test(`${service}: everything that changed comes in one response, and nothing else (R51, R58, R59)`, async (t) => {
    const xds = await startGenericXds(t);
    xds.set({ A: "1", B: "1", C: "1" });
    const stream = open(xds.client).request({ subscribe: ["A", "B", "D", "E"] });
    assert.equal(contents(await stream.next()), "-D, -E, A 1, B 1");
    stream.ack();
    xds.set({ A: "1", B: "2", C: "2", D: "1" });
    assert.equal(contents(await stream.next()), "B 2, D 1", "not C, nor A; of E it was told");
    // Meanwhile A goes and comes back as it was, and B changes twice: only where it ended is sent.
    xds.set({ B: "3", D: "1" });
    xds.set({ A: "1", B: "4", D: "1" });
    stream.ack();
    assert.equal(contents(await stream.next()), "B 4");
    stream.ack();
    xds.set({ B: "4" });
    assert.equal(contents(await stream.next()), "-A, -D");
    stream.ack();
    xds.set({ B: "4" });
    xds.set({ A: "1", B: "4", E: "1" });
    assert.equal(contents(await stream.next()), "A 1, E 1", "what came in between was no change");
    assertDeltaForm(stream.received);
  });

  test(`${service}: a NACK is on all that the response held; the next change is sent (R52, R51)`, async (t) => {
    const xds = await startGenericXds(t);
    xds.set({ A: "1", B: "1" });
    const stream = open(xds.client).request({ subscribe: ["A", "B"] });
    await stream.next();
    stream.nack("no good");
    stream.request({ subscribe: ["C"] });
    assert.equal(contents(await stream.next()), "-C", "the NACK itself was not answered (R20)");
    assert.deepEqual(xds.recorded.verdicts, ["nacked A 1: no good", "nacked B 1: no good"]);
    stream.ack();
    xds.set({ A: "2", B: "1" });
    assert.equal(contents(await stream.next()), "A 2");
  });

  for (const [form, first] of [
    ["*", ["*"]],
    ["the legacy form, no names at first", []],
  ] as const) {
    test(`${service}: a wildcard (${form}): all, then changes, then removals; then none of it (R60)`, async (t) => {
      const xds = await startGenericXds(t, { wildcard: true });
      xds.set({ A: "1", B: "1" });
      const stream = open(xds.client).request({ subscribe: first });
      assert.equal(contents(await stream.next()), "A 1, B 1");
      stream.ack();
      xds.set({ A: "2", C: "1" });
      assert.equal(contents(await stream.next()), "-B, A 2, C 1");
      stream.ack({ unsubscribe: ["*"] });
      stream.request({ subscribe: ["Z"] });
      assert.equal(contents(await stream.next()), "-Z", "leaving * is not answered");
      stream.ack();
      xds.set({ A: "3", C: "2", Z: "1" });
      assert.equal(contents(await stream.next()), "Z 1", "no hidden subscription is left (R36)");
      assertDeltaForm(stream.received);
    });
  }

  test(`${service}: a name that is taken back while * holds is answered once more, present or gone (R60)`, async (t) => {
    const xds = await startGenericXds(t, { wildcard: true });
    xds.set({ A: "1", B: "1" });
    const stream = open(xds.client).request({ subscribe: ["*", "A", "N"] });
    assert.equal(contents(await stream.next()), "-N, A 1, B 1");
    stream.ack({ unsubscribe: ["A"] });
    assert.equal(contents(await stream.next()), "A 1");
    stream.ack({ unsubscribe: ["N"] });
    assert.equal(contents(await stream.next()), "-N");
    stream.ack({ unsubscribe: ["phantom", "B"] });
    stream.request({ subscribe: ["A"] });
    assert.equal(contents(await stream.next()), "A 1", "B was never asked for by name: there is nothing to take back");
    assertDeltaForm(stream.received);
  });

  test(`${service}: a first wildcard for which there is nothing is told so, once; nobody else ever is (R59, R60)`, async (t) => {
    // The one exception to R59: a cluster manager that waits for its first CDS answer would wait for ever.
    const xds = await startGenericXds(t, { wildcard: true });
    const stream = open(xds.client).request({ subscribe: ["*"] });
    assert.equal(contents(await stream.next()), "");
    stream.ack();
    xds.set({});
    stream.request({ subscribe: ["*"] });
    xds.set({ A: "1" });
    assert.equal(contents(await stream.next()), "A 1");
    assert.equal(stream.received.length, 2);
    const named = open(xds.connect()).request({ subscribe: ["A"], unsubscribe: ["A"] });
    named.request({ subscribe: ["A"] });
    assert.equal(contents(await named.next()), "A 1");
    assert.equal(named.received.length, 1);
  });
}
