/**
 * Tests are worth something only if they notice defects: each of these must be caught, by the histories or by the test file
 * that it names. Prints a table. test/support/model/known.json says what catches which; where that catches it no more, a
 * search follows, whose find MESHROOT_REWRITE=1 writes down. With MESHROOT_CHECK=traffic only failed handshakes count, and
 * not the ledger, the order of writes or the rest in the end.
 */

import assert from "node:assert/strict";
import { test } from "node:test";
import { atOnce } from "../support/at-once.ts";
import { type Known, readKnown, runSabotaged, writeKnown } from "../support/model/sabotage.ts";
import { SABOTAGES } from "../support/model/sabotages.ts";
import { SABOTAGES_AT_THE_EDGES } from "../support/model/sabotages-at-the-edges.ts";
import { SABOTAGES_BY_CHANCE } from "../support/model/sabotages-by-chance.ts";
import { SABOTAGES_ELSEWHERE } from "../support/model/sabotages-elsewhere.ts";
import { SABOTAGES_OF_ABSENCE } from "../support/model/sabotages-of-absence.ts";
import { SABOTAGES_OF_SEAMS } from "../support/model/sabotages-of-seams.ts";

/** For each core: many are noticed by what never happens, which is a matter of waiting. */
const WAITING = 3;
const ALL = [
  ...SABOTAGES,
  ...SABOTAGES_ELSEWHERE,
  ...SABOTAGES_AT_THE_EDGES,
  ...SABOTAGES_BY_CHANCE,
  ...SABOTAGES_OF_SEAMS,
  ...SABOTAGES_OF_ABSENCE,
];

test(`${ALL.length} sabotages are caught`, async (t) => {
  const known = await readKnown();
  const caught = await atOnce(
    ALL,
    async (sabotage) => {
      const startedAt = performance.now();
      const result = await runSabotaged(sabotage, known[sabotage.name]);
      return { ...result, seconds: ((performance.now() - startedAt) / 1000).toFixed(1) };
    },
    WAITING,
  );
  const rows = caught.map(({ breach, after, seconds }, index) => {
    const { rule, name } = ALL[index] ?? { rule: "", name: "" };
    return `${rule} | ${name} | ${breach ?? "NOTHING"} | ${after} | ${seconds}`;
  });
  t.diagnostic(["rule | sabotage | caught by | after | seconds", ...rows].join("\n"));
  for (const [index, { breach, after, found }] of caught.entries()) {
    const { name = "", rule = "" } = ALL[index] ?? {};
    await t.test(`caught: ${name} (${rule})`, (t) => {
      assert.ok(breach !== undefined, `not noticed: ${after}`);
      assert.doesNotMatch(breach, /^NO BREACH/, "it must fail for what the checks say, not crash");
      if (found !== undefined) t.diagnostic("not by what is known: run again with MESHROOT_REWRITE=1");
    });
  }
  if (process.env.MESHROOT_REWRITE === "1") {
    const entries = ALL.map(({ name }, index) => [name, caught[index]?.found ?? known[name]] as const);
    await writeKnown(Object.fromEntries(entries.filter(([, what]) => what !== undefined)) as Known);
  }
});
