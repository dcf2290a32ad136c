/** What is sent to a proxy, and what it answers: how the sets of its slots change (evidence.md E6, E12). */

import type { RootId } from "../roots/trust.ts";
import { type Content, isLeaf } from "./content.ts";
import type { LedgerEvent } from "./ledger-events.ts";
import { dropSettledLines, mentions } from "./ledger-lines.ts";
import { mayRun } from "./ledger-queries.ts";
import { type Ledger, type Line, newSlot, type ProxyRow, type StreamId, slotKey } from "./ledger-state.ts";
import { acceptRefused, refuse, retryFrom } from "./refusals.ts";

export function send(row: ProxyRow, seq: number, event: LedgerEvent & { type: "sent" }): void {
  const stream = row.session.streams.get(event.stream);
  if (stream === undefined) throw new Error("invariant: a send on a stream that the ledger does not know");
  const key = slotKey(stream.consumer, event.name);
  const { name, matchers, content } = event;
  const { consumer } = stream;
  const known = row.slots.get(key);
  const slot = known ?? newSlot({ consumer, name, kind: content.kind, matchers }, event.at);
  if (known === undefined) slot.withdrawn = !stream.names.has(name);
  row.slots.set(key, slot);
  const isNews = !mentions(slot, content.version);
  let line = slot.lines.find((candidate) => candidate.stream === event.stream);
  if (line === undefined) {
    const overlapped = stream.shared.has(event.name);
    line = { stream: event.stream, entries: [], overlapped, superseded: false };
    slot.lines.push(line);
  }
  line.entries.push({ seq, content });
  line.unanswered = seq;
  if (content.kind === "leaf") {
    row.hadLeaf = true;
    row.session.leafFirstSentAt ??= event.at;
  }
  if (stream.consumer === "envoy") row.session.sentSinceSynced.add(event.name);
  // It may have been to blame for what was refused (E5).
  if (isNews) retryFrom(row, event.at, slot);
}

function find(row: ProxyRow, event: { stream: StreamId; name: string; seq: number }) {
  const consumer = row.session.streams.get(event.stream)?.consumer;
  const slot = consumer && row.slots.get(slotKey(consumer, event.name));
  const line = slot?.lines.find((candidate) => candidate.stream === event.stream);
  const entry = line?.entries.find((candidate) => candidate.seq === event.seq);
  return slot && line && entry ? { slot, line, entry } : undefined;
}

/** ACK(C): C and what was sent after it remain; what ended streams left is settled by it (E6). */
export function acknowledge(ledger: Ledger, row: ProxyRow, event: LedgerEvent & { type: "acked" }): void {
  row.lastContactAt = event.at;
  hear(row, event.stream);
  const found = find(row, event);
  if (found === undefined) return;
  const { slot, line, entry } = found;
  const before = mayRun(slot);
  line.entries = line.entries.filter((candidate) => candidate.seq >= event.seq);
  for (const other of slot.lines) if (other.ended !== undefined && other.ended.seq < event.seq) other.superseded = true;
  dropSettledLines(slot, event.at);
  if (slot.kind === "leaf") row.showsLeaf = true;
  if (slot.kind === "leaf") for (const root of rootsGone(before, mayRun(slot))) ledger.replacedAt.set(root, event.at);
  if ((slot.acked?.seq ?? -1) < event.seq) {
    slot.acked = { version: entry.content.version, seq: event.seq };
    slot.session.ackedAt = event.at;
  }
  if ("roots" in entry.content) slot.session.answered = { stream: event.stream, roots: entry.content.roots };
  noteAnswer(line, event.seq);
  acceptRefused(row, slot, line, event.seq);
}

function noteAnswer(line: Line, seq: number): void {
  if (line.unanswered !== undefined && line.unanswered <= seq) line.unanswered = undefined;
}

/** E14 asks after the Envoy: what its agent says counts only where no Envoy has ever asked for anything. */
function hear(row: ProxyRow, stream: StreamId): void {
  const consumer = row.session.streams.get(stream)?.consumer;
  const hasEnvoy = [...row.slots.values()].some((slot) => slot.consumer === "envoy");
  if (consumer === "envoy" || (consumer === "agent" && !hasEnvoy)) row.session.heard = true;
}

/** E15: the client still holds what it may run alone, and is sent nothing. Proves nothing new, so no set changes. */
export function resume(row: ProxyRow, event: LedgerEvent & { type: "resumed" }): void {
  row.lastContactAt = event.at;
  hear(row, event.stream);
}

function rootsGone(before: readonly Content[], after: readonly Content[]): RootId[] {
  const left = new Set(after.filter(isLeaf).map(({ root }) => root));
  return before.filter(isLeaf).flatMap(({ root }) => (left.has(root) ? [] : [root]));
}

/** NACK(C): C stays, because Envoy stores it and uses it as soon as its companion is replaced (X7). */
export function reject(row: ProxyRow, event: LedgerEvent & { type: "nacked" }): void {
  row.lastContactAt = event.at;
  const found = find(row, event);
  if (found === undefined) return;
  const { slot, line, entry } = found;
  const { content } = entry;
  noteAnswer(line, event.seq);
  if ("roots" in content) slot.session.answered = { stream: event.stream, roots: content.roots };
  refuse(row, slot, content.version, event);
}
