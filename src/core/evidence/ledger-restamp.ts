/** What a clock that is set back does to the times in the ledger. */

import type { ProxyRow } from "./ledger-state.ts";
import { RETRY_MAX_MS } from "./refusals.ts";

/** What would have to wait until the clock gets to where it was begins anew. */
export function restamp(row: ProxyRow, now: number): void {
  for (const slot of row.slots.values()) {
    slot.lastAskedAt = Math.min(slot.lastAskedAt, now);
    if (slot.refusal && slot.refusal.retryAt > now + RETRY_MAX_MS) slot.refusal = { ...slot.refusal, retryAt: now };
    for (const line of slot.lines) if (line.ended && line.ended.at > now) line.ended = { ...line.ended, at: now };
    if (slot.acked && slot.acked.at > now) slot.acked = { ...slot.acked, at: now };
  }
  for (const { shared } of row.streams.values()) for (const [name, at] of shared) if (at > now) shared.set(name, now);
  if (row.leafFirstSentAt !== undefined) row.leafFirstSentAt = Math.min(row.leafFirstSentAt, now);
  if (row.lastIssued && row.lastIssued.at > now) row.lastIssued = { ...row.lastIssued, at: now };
  row.lastContactAt = Math.min(row.lastContactAt, now);
}
