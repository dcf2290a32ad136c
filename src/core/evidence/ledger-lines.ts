/** The lines of a slot: what streams that have ended left there, and when it is settled (evidence.md E6). */

import { OVERLAP_MS } from "./ledger-queries.ts";
import type { Line, SlotEvidence } from "./ledger-state.ts";

export function mentions({ acked, lines }: SlotEvidence, version: string): boolean {
  return (
    acked?.version === version ||
    lines.some(({ entries }) => entries.some(({ content }) => content.version === version))
  );
}

export function dropSettledLines(slot: SlotEvidence, now: number): void {
  slot.lines = slot.lines.filter(
    (line) => line.ended === undefined || !line.superseded || (line.overlapped && now < line.ended.at + OVERLAP_MS),
  );
}

/** Of lines that ended with the same contents the last to end stands for all: what settles it, settles them. */
export function withoutTwins(lines: readonly Line[]): Line[] {
  const kept = new Map<unknown, Line>();
  for (const line of lines) {
    const versions = line.entries.map(({ content }) => content.version);
    const key = line.ended === undefined || line.overlapped ? line : `${line.superseded} ${versions}`;
    const twin = kept.get(key)?.ended;
    if (twin === undefined || line.ended === undefined || twin.seq <= line.ended.seq) kept.set(key, line);
  }
  return [...kept.values()];
}
