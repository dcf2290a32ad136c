/** What a clock that is set back does to the times in the ledger. */

import type { ProxyRow } from "./ledger-state.ts";
import { RETRY_MAX_MS } from "./refusals.ts";

/** What would have to wait until the clock gets to where it was begins anew. */
export function restamp(row: ProxyRow, now: number): void {
  const { session } = row;
  for (const slot of row.slots.values()) {
    slot.session.lastAskedAt = Math.min(slot.session.lastAskedAt, now);
    slot.session.ackedAt = Math.min(slot.session.ackedAt, now);
    if (slot.refusal && slot.refusal.retryAt > now + RETRY_MAX_MS) slot.refusal = { ...slot.refusal, retryAt: now };
    for (const line of slot.lines) if (line.ended && line.ended.at > now) line.ended = { ...line.ended, at: now };
  }
  for (const { shared } of session.streams.values())
    for (const [name, at] of shared) if (at > now) shared.set(name, now);
  if (session.leafFirstSentAt !== undefined) session.leafFirstSentAt = Math.min(session.leafFirstSentAt, now);
  if (session.lastIssued && session.lastIssued.at > now) session.lastIssued = { ...session.lastIssued, at: now };
  row.lastContactAt = Math.min(row.lastContactAt, now);
}
