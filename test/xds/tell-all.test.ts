import assert from "node:assert/strict";
import { test } from "node:test";
import { setImmediate as turn } from "node:timers/promises";
import { tellAll } from "../../src/xds/tell-all.ts";

const SLICE = 500;

function telling(count: number): { readonly told: readonly number[]; readonly all: readonly number[] } {
  const told: number[] = [];
  const all = Array.from({ length: count }, (_, index) => index);
  tellAll(all.map((index) => () => void told.push(index)));
  return { told, all };
}

test("what fits into a slice is told at once", () => {
  for (const count of [0, 1, SLICE]) {
    const { told, all } = telling(count);
    assert.deepEqual(told, all);
  }
});

test("each of thousands is told once, in order, a slice a turn", async () => {
  for (const count of [SLICE + 1, 2 * SLICE, 3 * SLICE + 200]) {
    const { told, all } = telling(count);
    for (let slices = 1; slices < count / SLICE; slices++) {
      assert.equal(told.length, slices * SLICE, "the next turn belongs to others, too");
      await turn();
    }
    assert.deepEqual(told, all);
  }
});
