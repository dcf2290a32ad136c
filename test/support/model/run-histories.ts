/**
 * `run-histories.ts COUNT SEED`: runs histories and says how it went, as one line of JSON. A process of its own, because
 * the async hooks of node:test cost a third of the time.
 */

import fc from "fast-check";
import { histories, runHistory } from "./history.ts";

export type Outcome = {
  readonly histories: number;
  readonly handshakes: number;
  readonly breach?: string;
  readonly history?: unknown;
};

const count = Number(process.argv[2]);
const seed = Number(process.argv[3]);
/** A saboteur wants to know only whether something breaks. */
const shrink = process.argv[4] !== "no-shrink";

let handshakes = 0;
const details = await fc.check(
  fc.asyncProperty(histories, async (history) => {
    handshakes += (await runHistory(history)).memory.handshakes;
  }),
  { numRuns: count, seed, endOnFailure: !shrink },
);
const { counterexample, errorInstance } = details;
const outcome: Outcome = {
  histories: details.numRuns,
  handshakes,
  ...(details.failed
    ? {
        breach: errorInstance instanceof Error ? (errorInstance.stack ?? errorInstance.message) : String(errorInstance),
        history: counterexample?.[0],
      }
    : {}),
};
console.log(JSON.stringify(outcome));
