/** Refreshes the gauges from the mesh's status, at the moment when they are read. */

import type { CheckedClock } from "../controller/checked-clock.ts";
import type { MeshStatus } from "../controller/status.ts";
import type { Gate } from "../core/holds.ts";
import type { Metrics } from "../ops/metrics.ts";

const SYNC_STATES = ["SYNCED", "NOT SENT", "STALE", "ERROR", "UNKNOWN"] as const;
const GATES: readonly Gate[] = ["roles", "signer", "bundle", "xdsControlPlane", "bootstrap"];

export function collectMetrics(metrics: Metrics, status: MeshStatus, streams: number, clock: CheckedClock): void {
  metrics.xdsStreams.set(streams);
  metrics.clockLeaps.set(clock.leaps);
  metrics.clockOff.set(clock.offMs / 1000);
  metrics.trustGeneration.set(status.generation);
  for (const sync of SYNC_STATES)
    metrics.proxies.set({ sync }, status.proxies.filter((proxy) => proxy.sync === sync).length);
  for (const gate of GATES) metrics.gateBlocked.set({ gate }, status.holds.some((hold) => hold.gate === gate) ? 1 : 0);
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
