import assert from "node:assert/strict";
import { test } from "node:test";
import { pairsInTurn, startPace } from "../../../src/cli/demo/pace.ts";
import fc from "../../support/property.ts";

test("the first request is due at once, the others at even distances", () => {
  const due = startPace(10, 5_000);
  const calls = [5_000, 5_099, 5_100, 5_100, 5_350, 6_000].map(due);
  assert.deepEqual(calls, [1, 0, 1, 0, 2, 7]);
});

test("whenever it is asked, never more than the rate and one second of a stall that is made up for", () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 300 }),
      fc.array(fc.double({ min: 0, max: 20_000, noNaN: true }), { minLength: 1, maxLength: 200 }),
      (rate, gaps) => {
        const due = startPace(rate, 0);
        const calls: { at: number; sent: number }[] = [];
        let now = 0;
        for (const gap of gaps) {
          now += gap;
          calls.push({ at: now, sent: due(now) });
        }
        const total = calls.reduce((sum, { sent }) => sum + sent, 0);
        assert.ok(total <= (now * rate) / 1000 + 1, `${total} in ${now} ms`);
        for (const [index, first] of calls.entries()) {
          let sent = 0;
          for (const { at, sent: more } of calls.slice(index)) {
            sent += more;
            assert.ok(sent <= ((at - first.at) * rate) / 1000 + rate + 1, `${sent} from ${first.at} to ${at} ms`);
          }
        }
      },
    ),
  );
});

test("without a stall of a second nothing is left out", () => {
  const due = startPace(90, 0);
  let total = 0;
  for (let now = 0; now <= 60_000; now += 50) total += due(now);
  assert.equal(total, 60 * 90 + 1);
  assert.equal(due(65_000), 90, "of five seconds only one is made up for");
  assert.equal(due(66_000), 90, "and what was left out does not come later");
});

test("each pair has its turn once, and all are client and server once before one is again", () => {
  for (const count of [2, 3, 8, 12, 20]) {
    const names = Array.from({ length: count }, (_, index) => `s${index}`);
    const pairs = pairsInTurn(names);
    assert.equal(new Set(pairs.map(({ from, to }) => `${from} ${to}`)).size, count * (count - 1));
    assert.equal(pairs.length, count * (count - 1));
    assert.ok(pairs.every(({ from, to }) => from !== to));
    for (let start = 0; start < pairs.length; start += count) {
      const round = pairs.slice(start, start + count);
      for (const side of ["from", "to"] as const) assert.equal(new Set(round.map((pair) => pair[side])).size, count);
    }
  }
});
