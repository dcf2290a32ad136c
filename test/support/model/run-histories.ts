/**
 * Reads `HistoryOrders` from stdin, runs them, and writes the `HistoryOutcome` as a line of JSON; a breach at once, and once
 * more when it is as short as it gets, because a defect may end the process on the way there.
 */

import { json } from "node:stream/consumers";
import fc from "../property.ts";
import type { HistoryOrders, HistoryOutcome } from "./histories-process.ts";
import { type History, histories, runHistory } from "./history.ts";

/** A short story soon is worth more than the shortest one later. Without a breach nothing here looks at a clock. */
const SHRINK_MS = 60_000;

let ran = 0;
let handshakes = 0;
let resumed = 0;

async function run(history: History): Promise<void> {
  ran += 1;
  const { memory, server } = await runHistory(history);
  handshakes += memory.handshakes;
  resumed += memory.resumed + (server?.resumed ?? 0);
}

async function search(count: number, seed: number): Promise<HistoryOutcome> {
  const property = fc.asyncProperty(histories, run);
  const found = await fc.check(property, { numRuns: count, seed, endOnFailure: true });
  const checked = { histories: ran, handshakes, resumed };
  if (!found.failed || found.counterexamplePath === null) return checked;
  const path = found.counterexamplePath;
  const unshrunk = found.counterexample?.[0];
  if (unshrunk !== undefined) answer({ ...checked, breach: wordsOf(found.errorInstance), history: unshrunk });
  const { counterexample, errorInstance } = await fc.check(property, {
    numRuns: count,
    seed,
    path,
    interruptAfterTimeLimit: SHRINK_MS,
  });
  const history = counterexample?.[0] ?? unshrunk;
  const breach = wordsOf(errorInstance ?? found.errorInstance);
  return { ...checked, breach, ...(history === undefined ? {} : { history }) };
}

async function repeat(known: readonly History[]): Promise<HistoryOutcome> {
  for (const history of known) {
    try {
      await run(history);
    } catch (error) {
      return { histories: ran, handshakes, resumed, breach: wordsOf(error), history };
    }
  }
  return { histories: ran, handshakes, resumed };
}

function wordsOf(error: unknown): string {
  return error instanceof Error ? (error.stack ?? error.message) : String(error);
}

function answer(outcome: HistoryOutcome): void {
  console.log(JSON.stringify(outcome));
}

const orders = (await json(process.stdin)) as HistoryOrders;
answer("known" in orders ? await repeat(orders.known) : await search(orders.count, orders.seed));
