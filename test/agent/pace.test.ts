/** When an agent connects again: the step alone (C4). */

import assert from "node:assert/strict";
import { test } from "node:test";
import { type AttemptOutcome, FIRST_PACE, paceAfter } from "../../src/agent/pace.ts";
import { BACK_OFF } from "../../src/agent/waits.ts";
import { steadyPauseAfter } from "../../src/core/back-off.ts";

const error = new Error("away");
const refused: AttemptOutcome = { end: { kind: "failed", error }, stood: false, answered: false };
const broke: AttemptOutcome = { end: { kind: "failed", error }, stood: true, answered: false };
const renewed: AttemptOutcome = { end: { kind: "renew" }, stood: true, answered: false };
const shut: AttemptOutcome = { end: { kind: "renew" }, stood: false, answered: false };
const undigested: AttemptOutcome = { end: { kind: "undigested", error }, stood: true, answered: false };
const answered: AttemptOutcome = { ...broke, answered: true };

/** Failures that each pause is for; `now`: there is none. */
function pauses(...attempts: readonly AttemptOutcome[]): string {
  let pace = FIRST_PACE;
  return attempts
    .map((attempt) => {
      const next = paceAfter(pace, attempt);
      pace = next.pace;
      return next.pause ?? "now";
    })
    .join(" ");
}

test("C4: a connection that stood and ended with OK is followed by the next one at once; every other end by a longer pause", () => {
  assert.equal(pauses(refused, refused, refused), "0 1 2");
  assert.equal(pauses(refused, refused, renewed, refused), "0 1 now 0");
  assert.equal(pauses(refused, refused, broke, refused), "0 1 0 1");
  assert.equal(pauses(shut, shut), "0 1", "an end with OK before it stood is no reason to hurry");
});

test("what can't be dealt with comes again ever more slowly, until something is answered", () => {
  assert.equal(pauses(undigested, undigested, undigested), "0 1 2");
  assert.equal(pauses(undigested, broke, broke, answered, broke), "0 1 2 0 0");
  assert.equal(pauses(undigested, { ...undigested, answered: true }), "0 1", "the last of it was not");
});

test("pauses double up to the longest, and chance takes up to a half of them", () => {
  const whole = [0, 1, 5, 6, 1_000].map((failures) => steadyPauseAfter(failures + 1, BACK_OFF, 0));
  assert.deepEqual(whole, [500, 1_000, 16_000, 30_000, 30_000]);
  assert.equal(steadyPauseAfter(2, BACK_OFF, 0.5), 750);
});
