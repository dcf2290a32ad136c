/** Histories that once noticed a defect, and some more, as a first look; all of them are in test/model. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { assertNoBreach } from "../support/model/assert-no-breach.ts";
import { runHistories } from "../support/model/histories-process.ts";
import { readKnown } from "../support/model/sabotage.ts";
import { SEED } from "../support/seed.ts";

const SOME = 300;

test("no handshake fails in the histories that notice a sabotage", async () => {
  const known = Object.values(await readKnown()).filter((one) => typeof one !== "string");
  assert.ok(known.length > 0);
  const outcome = await runHistories({ known });
  assertNoBreach(outcome, "known.json");
  assert.equal(outcome.histories, known.length);
});

test(`no handshake fails in ${SOME} random histories (seed ${SEED})`, async () => {
  const outcome = await runHistories({ seed: SEED, count: SOME });
  assertNoBreach(outcome, `seed ${SEED}`);
  assert.equal(outcome.histories, SOME);
});
