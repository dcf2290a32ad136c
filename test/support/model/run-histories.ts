/**
 * `run-histories.ts COUNT SEED`: runs histories and says how it went, as one line of JSON. A process of its own, because
 * the async hooks of node:test cost a third of the time.
 */

import fc from "fast-check";
import { histories, runHistory } from "./history.ts";

export type Outcome = {
  readonly histories: number;
  readonly handshakes: number;
  /** Secrets that were not sent again, because their client had them (E15). */
  readonly resumed: number;
  readonly breach?: string;
  readonly history?: unknown;
};

const count = Number(process.argv[2]);
const seed = Number(process.argv[3]);
/** A saboteur wants to know only whether something breaks. */
const shrink = process.argv[4] !== "no-shrink";

/** A machine that is slow looks at fewer. */
const SEARCH_MS = 8 * 60_000;

/** A short story soon is worth more than the shortest one later. */
const SHRINK_MS = 60_000;

let handshakes = 0;
let resumed = 0;
const property = fc.asyncProperty(histories, async (history) => {
  const { memory, server } = await runHistory(history);
  handshakes += memory.handshakes;
  resumed += memory.resumed + (server?.resumed ?? 0);
});
const limit = { interruptAfterTimeLimit: SEARCH_MS, markInterruptAsFailure: false };
let details = await fc.check(property, { numRuns: count, seed, endOnFailure: true, ...limit });
const checked = { histories: details.numRuns, handshakes, resumed };
if (shrink && details.failed && details.counterexamplePath !== null) {
  const path = details.counterexamplePath;
  details = await fc.check(property, { numRuns: count, seed, path, interruptAfterTimeLimit: SHRINK_MS });
}
const { counterexample, errorInstance } = details;
const outcome: Outcome = {
  ...checked,
  ...(details.failed
    ? {
        breach: errorInstance instanceof Error ? (errorInstance.stack ?? errorInstance.message) : String(errorInstance),
        history: counterexample?.[0],
      }
    : {}),
};
console.log(JSON.stringify(outcome));
