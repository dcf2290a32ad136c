/** What proxies have refused: what a refusal is attached to, when it is tried again, and what ends it (evidence.md E5, E12). */

import { ceilingAfter } from "../back-off.ts";
import type { Line, ProxyRow, Refusal, Slot, StreamId } from "./ledger-state.ts";

/** Refused contents come back after 30 s, doubling to 30 min (E5). */
const RETRY_MIN_MS = 30_000;
/** The longest pause before a refused content comes back (E5). */
export const RETRY_MAX_MS = 30 * 60_000;

type Verdict = { readonly stream: StreamId; readonly name: string; readonly at: number };

/** NACK of `version`, in the client's own words. */
export function refuse(
  row: ProxyRow,
  slot: Slot,
  version: string,
  verdict: Verdict & { readonly message: string },
): void {
  const { at, message, name, stream } = verdict;
  const attempts = slot.refusal?.version === version ? slot.refusal.attempts + 1 : 1;
  const pause = ceilingAfter(attempts, { baseMs: RETRY_MIN_MS, mostMs: RETRY_MAX_MS });
  slot.refusal = { version, at, attempts, retryAt: at + pause, message, stream };
  // An agent refuses what it could not hand on: that says nothing of the mesh's secrets (C5 waits by itself).
  if (slot.consumer === "agent") return;
  row.error = { answering: name, message, at, names: [...new Set([...row.session.sentSinceSynced, name])] };
}

/** ACK of what was sent as `seq` on `line`: unless the refused content has gone out again since, it was answered well. */
export function acceptRefused(row: ProxyRow, slot: Slot, line: Line, seq: number): void {
  const { refusal } = slot;
  if (refusal === undefined || !mayAnswerFor(row, refusal, line.stream)) return;
  if (line.entries.some((later) => later.seq > seq && later.content.version === refusal.version)) return;
  slot.refusal = undefined;
  if (slot.consumer === "envoy" && row.error?.answering === slot.name) showStanding(row);
}

/**
 * What is accepted on `answering` may end this refusal: it came from there, or from a stream that has ended. Two live streams of
 * one name may be two TLS contexts, and what one of them has accepted says nothing of the other.
 */
export function mayAnswerFor(row: ProxyRow, { stream }: Refusal, answering: StreamId): boolean {
  return stream === undefined || stream === answering || !row.session.streams.has(stream);
}

/** Refused by its Envoy, and not answered well since; nor has the proxy said that it wants the name no more. */
export function standingRefusals(row: ProxyRow): (Slot & { readonly refusal: Refusal })[] {
  return [...row.slots.values()].flatMap((slot) => {
    const { consumer, refusal, withdrawn } = slot;
    return consumer === "envoy" && refusal !== undefined && !withdrawn ? [{ ...slot, refusal }] : [];
  });
}

/** The words of the newest refusal that stands become those of the row; where none stands, they stay until all is SYNCED. */
export function showStanding(row: ProxyRow): void {
  const last = standingRefusals(row)
    .toSorted((a, b) => a.refusal.at - b.refusal.at)
    .at(-1);
  if (last?.refusal.message === undefined) return;
  const { at, message } = last.refusal;
  row.error = { answering: last.name, message, at, names: [...new Set([...(row.error?.names ?? []), last.name])] };
}

/** Another secret of the proxy has changed, or an operator asks: refused contents get another chance (E5). */
export function retryFrom(row: ProxyRow, at: number, except?: Slot): void {
  for (const slot of row.slots.values())
    if (slot !== except && slot.refusal !== undefined && slot.refusal.retryAt > at)
      slot.refusal = { ...slot.refusal, retryAt: at };
}
