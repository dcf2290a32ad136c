/** The end of a controller: after it nothing is written, because another server may hold the lock by then. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { AuthorityKeeper } from "../../src/controller/authority-keeper.ts";
import { RotationController } from "../../src/controller/rotation-controller.ts";
import { createTresor } from "../../src/providers/tresor.ts";
import { manualClock } from "../support/manual-clock.ts";
import { memorySecretStore } from "../support/memory-secret-store.ts";
import { MemoryState } from "../support/model/memory-state.ts";
import { HOUR_MS, NOW } from "../support/pki.ts";
import { root } from "../support/roots.ts";
import { trustingProofs } from "../support/trusting-proofs.ts";

test("a plan that waits for the disk decides nothing once the controller is stopped", async () => {
  const clock = manualClock(NOW);
  const memory = new MemoryState();
  const opened = memory.open();
  const disk = Promise.withResolvers<void>();
  const state = { ...opened, evidence: { ...opened.evidence, probe: () => disk.promise } };
  const log = { debug() {}, info() {}, warn() {}, error() {} };
  const tresor = createTresor({ secrets: memorySecretStore(), clock, keyAlgorithm: "ec-p256" });
  const authorities = new AuthorityKeeper({ providers: [tresor], proofs: trustingProofs(), clock, log });
  const gates = { settleMs: 0, recoveryMs: 0, absentPolicy: "until-leaf-expiry" } as const;
  const settings = { ...gates, namespace: "osm-system", xdsCertValidityMs: HOUR_MS };
  const second = root("second", "active", { createdAt: 2 });
  const list = (role: "active" | "passive") => ({
    ...{ problems: [], outdated: [] },
    roots: [root("first", role, { createdAt: 1 }), second],
  });
  const controller = await RotationController.start(
    { clock, state, authorities, settings, log, wanted: () => undefined },
    list("active"),
  );
  await clock.rest();
  await clock.advance(10_000);
  controller.setRoots(list("passive"));
  let told = 0;
  controller.subscribe(() => {
    told += 1;
  });
  const stopped = controller.stop();
  disk.resolve();
  await stopped;
  const { generation } = memory;
  await clock.rest();
  assert.deepEqual([memory.generation, told], [generation, 0]);
  assert.equal(generation, 1, "the next process decides");
});
