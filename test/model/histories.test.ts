/**
 * The proof of the product: whatever happens, any two proxies that take part can talk at every moment, what runs is in the
 * ledger, and once the storm is over the mesh comes to what is desired.
 *
 * The same histories every time, however slow the machine is; `npm run explore` looks at others. A failure prints the shrunk
 * history, and the line that replays it with every message.
 */

import assert from "node:assert/strict";
import { test } from "node:test";
import { atOnce } from "../support/at-once.ts";
import { assertNoBreach } from "../support/model/assert-no-breach.ts";
import { runHistories } from "../support/model/histories-process.ts";
import { seedsOf } from "../support/seed.ts";

const SLICE = 1_500;
const SLICES = 12;
/** From each seed that once failed. */
const AGAIN = 500;

const [first = 0, ...failed] = seedsOf("histories");
const RUNS = [
  ...failed.map((seed) => ({ seed, count: AGAIN })),
  ...Array.from({ length: SLICES }, (_, slice) => ({ seed: first + slice, count: SLICE })),
];

test(`no handshake ever fails, in ${SLICES * SLICE} random histories (seeds from ${first})`, async (t) => {
  const outcomes = await atOnce(RUNS, async (run) => {
    const outcome = await runHistories(run);
    assertNoBreach(outcome, `seed ${run.seed}`);
    return outcome;
  });
  const total = (what: "histories" | "handshakes" | "resumed") =>
    outcomes.reduce((sum, outcome) => sum + outcome[what], 0);
  const [done, handshakes, resumed] = [total("histories"), total("handshakes"), total("resumed")];
  assert.equal(
    done,
    RUNS.reduce((sum, { count }) => sum + count, 0),
  );
  assert.ok(handshakes > done * 100, `only ${handshakes} handshakes were looked at`);
  assert.ok(resumed > done, `only ${resumed} secrets were resumed (E15)`);
  t.diagnostic(`${done} histories, ${handshakes} moments of handshakes looked at, ${resumed} secrets resumed`);
});
