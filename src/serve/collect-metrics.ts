/** Refreshes the gauges from the mesh's status, at the moment when they are read. */

import type { CheckedClock } from "../controller/checked-clock.ts";
import type { RotationController } from "../controller/rotation-controller.ts";
import type { MeshStatus } from "../controller/status.ts";
import type { Gate } from "../core/rotation/holds.ts";
import type { Metrics } from "../ops/metrics.ts";

const SYNC_STATES = ["SYNCED", "NOT SENT", "STALE", "ERROR", "UNKNOWN"] as const;
const GATES: readonly Gate[] = ["roles", "signer", "bundle", "xdsControlPlane", "bootstrap", "state"];

/** What others count already. */
function countTo(counter: Metrics["clockLeaps"], value: number): void {
  counter.reset();
  counter.inc(value);
}

type Store = Pick<RotationController, "storeProblem" | "storeFailures">;

export function collectMetrics(
  metrics: Metrics,
  status: MeshStatus,
  streams: number,
  clock: CheckedClock,
  store: Store,
): void {
  metrics.xdsStreams.set(streams);
  metrics.stateWritable.set(store.storeProblem === undefined ? 1 : 0);
  countTo(metrics.stateFailures, store.storeFailures);
  countTo(metrics.clockLeaps, clock.leaps);
  metrics.clockOff.set(clock.offMs / 1000);
  metrics.trustGeneration.set(status.generation);
  for (const sync of SYNC_STATES)
    metrics.proxies.set({ sync }, status.proxies.filter((proxy) => proxy.sync === sync).length);
  for (const gate of GATES) metrics.gateBlocked.set({ gate }, status.holds.some((hold) => hold.gate === gate) ? 1 : 0);
  metrics.signerEndsSoon.set(status.warnings.some(({ code }) => code === "MR3009") ? 1 : 0);
  metrics.rootInfo.reset();
  metrics.rootExpiry.reset();
  for (const root of status.roots) {
    const { name, fingerprint, signing, validating } = root;
    metrics.rootInfo.set(
      { name, role: root.role ?? "deleted", fingerprint, signing: String(signing), validating: String(validating) },
      1,
    );
    metrics.rootExpiry.set({ root: name }, Date.parse(root.notAfter) / 1000);
  }
}
