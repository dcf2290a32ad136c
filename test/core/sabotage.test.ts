/**
 * Tests are worth something only if they notice defects: each of these must be caught, by the histories or by the test file
 * that it names. Prints a table. With MESHROOT_CHECK=traffic only failed handshakes count, and not the ledger, the order
 * of writes or the rest in the end.
 */

import assert from "node:assert/strict";
import { availableParallelism } from "node:os";
import { test } from "node:test";
import { runSabotaged } from "../support/model/sabotage.ts";
import { SABOTAGES } from "../support/model/sabotages.ts";
import { SABOTAGES_ELSEWHERE } from "../support/model/sabotages-elsewhere.ts";

const BUDGET = Number(process.env.MESHROOT_SABOTAGE_HISTORIES ?? 10_000);
const SEED = Number(process.env.MESHROOT_SEED ?? 20_261_123);
const ALL = [...SABOTAGES, ...SABOTAGES_ELSEWHERE];

test(`${ALL.length} sabotages are caught`, { concurrency: Math.min(2, availableParallelism()) }, async (t) => {
  const rows = new Map<string, string>();
  await Promise.all(
    ALL.map((sabotage) =>
      t.test(`caught: ${sabotage.name} (${sabotage.rule})`, async () => {
        const { breach, after } = await runSabotaged(sabotage, BUDGET, SEED);
        rows.set(sabotage.name, `${sabotage.rule} | ${sabotage.name} | ${breach ?? "NOTHING"} | ${after}`);
        assert.ok(breach !== undefined, `not noticed: ${after}`);
        assert.doesNotMatch(breach, /^NO BREACH/, "it must fail for what the checks say, not crash");
      }),
    ),
  );
  t.diagnostic("rule | sabotage | caught by | after");
  for (const { name } of ALL) t.diagnostic(rows.get(name) ?? name);
});
