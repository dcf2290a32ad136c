import assert from "node:assert/strict";
import type { HistoryOutcome } from "./histories-process.ts";

/** Fails with the shrunk history, and how to see it happen. */
export function assertNoBreach({ breach, history }: HistoryOutcome, from: string): void {
  assert.equal(
    breach,
    undefined,
    `\n${from}: ${breach}\n\nto see it happen:\n` +
      `echo '${JSON.stringify(history)}' | npx -c 'node test/support/model/replay.ts -'\n`,
  );
}
