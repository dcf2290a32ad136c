/** D1: when a wall clock is believed. */

import assert from "node:assert/strict";
import { test } from "node:test";
import {
  CLOCK_BELIEVED_AFTER_MS,
  type ClockCheck,
  newClockCheck,
  readClock,
  spanOf,
  withRecord,
} from "../../src/core/clock-check.ts";

const DAY_MS = 86_400_000;
const START = 1_800_000_000_000;

/** Reads at `monotonic` ms after the start, with a wall clock that is off by `offMs`. */
function read(check: ClockCheck, monotonic: number, offMs: number) {
  return readClock(check, { wall: START + monotonic + offMs, monotonic });
}

const begun = () => newClockCheck({ wall: START, monotonic: 0 });

test("D1: small corrections are followed, in any number", () => {
  let check = begun();
  for (let step = 1; step <= 10; step++) {
    const { check: next, news } = read(check, step * 1_000, step * 20_000);
    assert.equal(news, undefined);
    check = next;
  }
  assert.deepEqual(spanOf(check), { earliest: START + 210_000, latest: START + 210_000, doubt: 0 });
});

for (const byMs of [3 * DAY_MS, -3 * DAY_MS]) {
  test(`D1: a leap of ${byMs / DAY_MS} days leaves both readings possible until the clock is back`, () => {
    const leapt = read(begun(), 10_000, byMs);
    assert.deepEqual(leapt.news, { kind: "leapt", byMs });
    const believed = START + 10_000;
    const wall = believed + byMs;
    assert.deepEqual(spanOf(leapt.check), {
      earliest: Math.min(believed, wall),
      latest: Math.max(believed, wall),
      doubt: 1,
    });
    const still = read(leapt.check, 20_000, byMs);
    assert.equal(still.news, undefined);
    assert.equal(still.check.believed, START + 20_000, "time goes on by the monotonic clock");
    const back = read(still.check, 35_000, 0);
    assert.deepEqual(back.news, { kind: "returned", byMs });
    assert.deepEqual(spanOf(back.check), { earliest: START + 35_000, latest: START + 35_000, doubt: 0 });
  });

  test(`D1: a leap of ${byMs / DAY_MS} days that lasts is believed in the end`, () => {
    const leapt = read(begun(), 10_000, byMs);
    const before = read(leapt.check, 10_000 + CLOCK_BELIEVED_AFTER_MS - 1, byMs);
    assert.equal(before.news, undefined);
    const after = read(before.check, 10_000 + CLOCK_BELIEVED_AFTER_MS, byMs);
    assert.equal(after.news?.kind, "believed");
    assert.equal(spanOf(after.check).latest, START + 10_000 + CLOCK_BELIEVED_AFTER_MS + byMs);
    assert.equal(spanOf(after.check).doubt, 0);
  });
}

test("D1: a leap within a leap is another doubt, and counts anew", () => {
  const first = read(begun(), 0, DAY_MS);
  const second = read(first.check, CLOCK_BELIEVED_AFTER_MS - 1, 2 * DAY_MS);
  assert.equal(second.news?.kind, "leapt");
  assert.equal(spanOf(second.check).doubt, 2);
  assert.equal(read(second.check, CLOCK_BELIEVED_AFTER_MS, 2 * DAY_MS).news, undefined);
});

test("D1: both clocks leap together (a faked monotonic clock): nothing is noticed, there or back", () => {
  const ahead = readClock(begun(), { wall: START + DAY_MS, monotonic: DAY_MS });
  const back = readClock(ahead.check, { wall: START + 1_000, monotonic: 1_000 });
  assert.deepEqual([ahead.news, back.news], [undefined, undefined]);
  assert.equal(spanOf(back.check).latest, START + 1_000);
});

test("D1: a clock that shows less than what is on record is wrong, and believed as soon as it has been set", () => {
  const check = withRecord(begun(), START + 300 * DAY_MS);
  assert.deepEqual(spanOf(check), { earliest: START, latest: START + 300 * DAY_MS, doubt: 1 });
  const set = read(check, 20_000, 301 * DAY_MS);
  assert.equal(set.news?.kind, "believed");
  assert.deepEqual(spanOf(set.check).doubt, 0);
  const never = read(check, CLOCK_BELIEVED_AFTER_MS, 0);
  assert.equal(never.news?.kind, "believed", "what is on record was written in a leap");
  assert.equal(read(never.check, CLOCK_BELIEVED_AFTER_MS + 1_000, 0).news, undefined);
});

test("D1: what is on record of just now says nothing", () => {
  const check = withRecord(begun(), START - DAY_MS);
  assert.equal(spanOf(check).doubt, 0);
});
