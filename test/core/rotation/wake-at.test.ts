import assert from "node:assert/strict";
import { test } from "node:test";
import type { Hold } from "../../../src/core/rotation/holds.ts";
import { type Plan, wakeAt } from "../../../src/core/rotation/rotation-plan.ts";

/** So many can't be spread into the arguments of one call. */
const MANY = 200_000;

test("a plan that waits for many absent proxies wakes when the first of them stops counting", () => {
  const waitingFor = Array.from({ length: MANY }, (_, index) => ({ countsUntil: MANY - index }));
  const hold = { waitingFor } as unknown as Hold;
  const plan = { holds: [hold] } as unknown as Plan;
  assert.equal(wakeAt(plan, 0), 1);
  assert.equal(wakeAt(plan, 5), 6);
  assert.equal(wakeAt(plan, MANY), undefined);
});
