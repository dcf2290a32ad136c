/** Leaves that can't be made: when they are tried again. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { LeafCache } from "../../src/controller/leaf-cache.ts";
import { type ErrorCode, MeshrootError } from "../../src/core/errors.ts";
import type { ProxyIdentity } from "../../src/core/identity.ts";
import { manualClock } from "../support/manual-clock.ts";
import { BOOKBUYER, HOUR_MS, NOW } from "../support/pki.ts";

const PROXY: ProxyIdentity = {
  ...BOOKBUYER,
  uuid: "5f2b2b7e-0000-4000-8000-000000000001",
  kind: "sidecar",
  trustDomain: "cluster.local",
};
/** Asked for every second for half an hour, in which `make` fails: the longest time without a try, in seconds. */
async function longestPause(code: ErrorCode): Promise<number> {
  const clock = manualClock(NOW);
  const tries: number[] = [];
  const cache = new LeafCache({
    clock,
    log: { debug() {}, info() {}, warn() {}, error() {} },
    make: async () => {
      tries.push(clock.now());
      throw new MeshrootError(code, "not now", "Later.");
    },
    renewalTime: (_, notAfter) => notAfter - HOUR_MS,
    random: () => 0.999,
  });
  for (let second = 0; second < 1_800; second += 1) {
    assert.equal(cache.current("leaf", PROXY, "root"), undefined);
    await clock.rest();
    await clock.advance(1_000);
  }
  return Math.max(...tries.map((at, index) => (at - (tries[index - 1] ?? at)) / 1_000));
}

test("a CA that is away is asked for each leaf every half minute: it may be back at any time", async () => {
  for (const code of ["MR1011", "MR3011", "MR2005"] as const) assert.equal(await longestPause(code), 30);
});

test("a proxy whose certificate is refused for what it is waits up to five minutes", async () => {
  for (const code of ["MR3007", "MR4003"] as const) assert.equal(await longestPause(code), 300);
});
