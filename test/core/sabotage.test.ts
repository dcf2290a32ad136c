/**
 * The histories are worth something only if they notice defects: each of these must be caught. Prints a table.
 * With MESHROOT_CHECK=traffic only failed handshakes count, and not the ledger, the order of writes or the rest in the end.
 */

import assert from "node:assert/strict";
import { test } from "node:test";
import { runSabotaged } from "../support/model/sabotage.ts";
import { SABOTAGES } from "../support/model/sabotages.ts";

const BUDGET = Number(process.env.MESHROOT_SABOTAGE_HISTORIES ?? 10_000);
const SEED = Number(process.env.MESHROOT_SEED ?? 20_261_123);

for (const sabotage of SABOTAGES) {
  test(`caught: ${sabotage.name} (${sabotage.rule})`, async (t) => {
    const { breach, histories } = await runSabotaged(sabotage, BUDGET, SEED);
    assert.ok(breach !== undefined, `not noticed in ${BUDGET} histories`);
    assert.match(breach, /Breach: /, "it must fail for what the checks say, not crash");
    t.diagnostic(`${sabotage.rule} | ${sabotage.name} | ${histories} histories | ${reason(breach)}`);
  });
}

function reason(breach: string): string {
  return /Breach: ([^\n]*)/.exec(breach)?.[1] ?? "";
}
