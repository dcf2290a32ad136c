/** What is known of the disk (D8): what ends a failure, and when a disk is tried that nothing is written to. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { Durability } from "../../src/controller/durability.ts";
import { emptyLedger } from "../../src/core/evidence/ledger-state.ts";
import type { StateStore } from "../../src/ports/store.ts";
import { inForce } from "../support/desk.ts";

function durability() {
  const said: string[] = [];
  const broken = new Set<string>();
  const clock = { at: 1e12 };
  let probes = 0;
  const writes = async (what: string) => {
    if (broken.has(what)) throw Object.assign(new Error(`EIO: i/o error, ${what}`), { code: "EIO" });
  };
  const state: StateStore = {
    trust: { read: async () => undefined, write: () => writes("trust").then(() => 1) },
    evidence: {
      read: async () => new Map(),
      write: () => writes("rows"),
      probe: () => {
        probes += 1;
        return writes("probe");
      },
    },
  };
  const say = (_: object, message: string) => void said.push(message);
  const log = { debug: say, info: say, warn: say, error: say };
  const tested = new Durability(
    { state, clock: { now: () => clock.at, after: () => () => undefined }, log },
    emptyLedger(),
    1,
  );
  return { tested, said, broken, clock, probes: () => probes };
}

test("each kind of write ends its own failure: one line when the first begins, one when the last is over", async () => {
  const { tested, said, broken, clock } = durability();
  broken.add("trust").add("probe");
  await assert.rejects(tested.save(inForce("a", "a"), new Map()));
  clock.at += 10_000;
  await tested.tryAgain();
  assert.equal(said.length, 1);
  broken.delete("probe");
  await tested.tryAgain();
  assert.match(tested.problem?.message ?? "", /EIO.*trust/);
  assert.deepEqual([said.length, tested.holds.length], [1, 1], "the trust is not on disk yet");
  broken.delete("trust");
  await tested.save(inForce("a", "a"), new Map());
  assert.deepEqual([tested.problem, said.length], [undefined, 2]);
  assert.match(said[1] ?? "", /can be written again/);
});

test("a disk that nothing is written to is tried every ten seconds, also by a clock that was set back", async () => {
  const { tested, clock, probes } = durability();
  for (const [ms, count] of [
    [9_999, 0],
    [1, 1],
    [9_999, 1],
    [-3_600_000, 2],
    [9_999, 2],
    [1, 3],
  ] as const) {
    clock.at += ms;
    await tested.tryAgain();
    assert.equal(probes(), count, `after ${ms} ms more`);
  }
});
