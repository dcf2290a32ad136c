/**
 * The ledger: for every proxy that we know, what it may be running (evidence.md E6).
 *
 * `record` is the one door through which it changes. Invariant: whatever a TLS context of a proxy may hold is in the
 * `mayRun` of its slot, because a content enters it before its bytes are written and leaves it only on an ACK of
 * something that the same client processed later.
 */

import type { ProxyIdentity } from "../identity.ts";
import type { RootId } from "../roots/trust.ts";
import { joined } from "./assumptions.ts";
import { type Content, isLeaf } from "./content.ts";
import { forgetExpired, noteUse } from "./handed-out.ts";
import { dropSettledLines, mentions, withoutTwins } from "./ledger-lines.ts";
import { isConnected, leaves, mayRun, sidesHere, UNPROVEN_AFTER_MS } from "./ledger-queries.ts";
import { restamp } from "./ledger-restamp.ts";
import {
  type Assumption,
  type Consumer,
  type HandedOut,
  type Ledger,
  type Line,
  newRow,
  newSlot,
  type ProxyId,
  type ProxyRow,
  type Slot,
  type StreamId,
  slotKey,
  type XdsCredential,
} from "./ledger-state.ts";
import { acceptRefused, refuse, retryFrom, showStanding } from "./refusals.ts";
import { isOwnLeafName } from "./secret-names.ts";
import { endStrangeness, noteReport, type Report } from "./strangers.ts";

/** Longer than Envoy's default drain time (E13). */
const UNASKED_MS = 15 * 60_000;
/** Time is looked at every second: after a pause like this one there was nobody to see who came and went. */
const LEAP_MS = 60_000;

export type LedgerEvent =
  | {
      type: "connected";
      proxy: ProxyId;
      identity: ProxyIdentity;
      stream: StreamId;
      consumer: Consumer;
      credential: XdsCredential;
      at: number;
    }
  | ({ type: "reported"; proxy: ProxyId } & Report)
  | { type: "asked"; proxy: ProxyId; stream: StreamId; names: ReadonlySet<string>; at: number }
  | { type: "sent"; proxy: ProxyId; stream: StreamId; name: string; matchers: boolean; content: Content; at: number }
  | { type: "acked"; proxy: ProxyId; stream: StreamId; name: string; seq: number; at: number }
  | { type: "resumed"; proxy: ProxyId; stream: StreamId; name: string; at: number }
  | { type: "nacked"; proxy: ProxyId; stream: StreamId; name: string; seq: number; message: string; at: number }
  | { type: "ended"; proxy: ProxyId; stream: StreamId; at: number }
  | { type: "synced"; proxy: ProxyId }
  | ({ type: "assume"; proxy: ProxyId } & Assumption)
  | { type: "forget"; proxy: ProxyId; reason: string; at: number }
  | { type: "withdraw"; proxy: ProxyId; word: "assume" | "forget" }
  /** Its row leaves the ledger, as long as no stream of it is open (E13). */
  | { type: "retire"; proxy: ProxyId; at: number }
  /** That could not be written down. */
  | { type: "restore"; proxy: ProxyId; row: ProxyRow }
  | { type: "retry"; proxy: ProxyId; at: number }
  | { type: "issued"; proxy: ProxyId; credential: HandedOut; at: number }
  /** `earliest`: what the time may be at the earliest, where the clock is in doubt. */
  | { type: "tick"; at: number; earliest?: number };

/** Applies one event; returns the sequence number of the ledger after it (for `sent`: that of the send). */
export function record(ledger: Ledger, event: LedgerEvent): number {
  if (event.type === "tick") {
    const passed = event.at - (ledger.tickedAt ?? event.at);
    ledger.tickedAt = event.at;
    for (const row of ledger.proxies.values()) {
      // This process slept, or its clock was set: who came and went meanwhile, it could not see.
      if (passed < 0 || passed > LEAP_MS) row.session.presentSince = event.at;
      if (passed < 0) restamp(row, event.at);
      forgetExpired(row, event.earliest ?? event.at);
      forgetOldThings(row, event.at);
      endStrangeness(row, event.at);
    }
    if (passed < 0) for (const root of ledger.replacedAt.keys()) ledger.replacedAt.set(root, event.at);
    return ledger.seq;
  }
  if (event.type === "connected") connect(ledger, event);
  // Where its process has come back meanwhile, what that one says stands.
  if (event.type === "restore" && !ledger.proxies.has(event.proxy)) ledger.proxies.set(event.proxy, event.row);
  const row = ledger.proxies.get(event.proxy);
  if (row === undefined) return ledger.seq;
  switch (event.type) {
    case "connected":
    case "restore":
      break;
    case "reported":
      noteReport(ledger, row, event);
      break;
    case "asked":
      ask(row, event);
      break;
    case "sent":
      ledger.seq += 1;
      send(row, ledger.seq, event);
      break;
    case "acked":
      acknowledge(ledger, row, event);
      break;
    case "resumed":
      resume(row, event);
      break;
    case "nacked":
      reject(row, event);
      break;
    case "ended":
      end(ledger, row, event);
      break;
    case "synced":
      row.error = undefined;
      row.session.sentSinceSynced.clear();
      break;
    case "issued":
      ledger.seq += 1;
      row.issued = [...row.issued, { ...event.credential, seq: ledger.seq }];
      row.session.lastIssued = { fingerprint: event.credential.fingerprint, at: event.at };
      break;
    case "assume":
      row.assumed = joined(row.assumed, assumption(event));
      break;
    case "forget":
      row.forgotten = { reason: event.reason, at: event.at };
      break;
    case "withdraw":
      if (event.word === "assume") row.assumed = undefined;
      else row.forgotten = undefined;
      break;
    case "retire":
      retire(ledger, row, event);
      break;
    case "retry":
      retryFrom(row, event.at);
      break;
  }
  return ledger.seq;
}

function assumption({ reason, at, for: some, roots }: Assumption): Assumption {
  return { reason, at, for: some, roots };
}

function connect(ledger: Ledger, event: LedgerEvent & { type: "connected" }): void {
  const row = ledger.proxies.get(event.proxy) ?? newRow(event.identity, event.at);
  ledger.proxies.set(event.proxy, row);
  // Given a credential under another trust domain, it is the same proxy under another name.
  row.identity = event.identity;
  if (!sidesHere(row).has(event.consumer)) {
    row.session.presentSince = event.at;
    // It may be another process, which has none.
    if (event.consumer === "envoy") row.showsLeaf = false;
  }
  row.session.streams.set(event.stream, {
    consumer: event.consumer,
    openedAt: event.at,
    names: new Set(),
    shared: new Map(),
  });
  row.auth = { ...row.auth, [event.consumer]: event.credential.root };
  row.credentialsUntil = Math.max(row.credentialsUntil ?? 0, event.credential.notAfter);
  if (row.issued.length > 0) noteUse(row, { ...event, seq: ledger.seq });
  row.lastContactAt = event.at;
  row.forgotten = undefined;
}

/** A connection begun just before may still present what it presented (E11). */
function retire(ledger: Ledger, row: ProxyRow, { proxy, at }: LedgerEvent & { type: "retire" }): void {
  if (isConnected(row)) return;
  for (const { root, notAfter } of leaves(row)) if (notAfter > at) ledger.replacedAt.set(root, at);
  ledger.proxies.delete(proxy);
}

function ask(row: ProxyRow, event: LedgerEvent & { type: "asked" }): void {
  const stream = row.session.streams.get(event.stream);
  if (stream === undefined) return;
  for (const name of stream.names) {
    const slot = row.slots.get(slotKey(stream.consumer, name));
    if (slot === undefined) continue;
    slot.session.lastAskedAt = event.at;
    if (!event.names.has(name)) slot.withdrawn = true;
  }
  stream.names = event.names;
  row.lastContactAt = event.at;
  askAgain(row, stream.consumer);
  if (stream.consumer === "envoy") row.hadLeaf ||= [...event.names].some((name) => isOwnLeafName(name, row.identity));
  for (const [id, other] of row.session.streams) {
    if (other === stream || other.consumer !== stream.consumer) continue;
    for (const name of event.names) {
      if (!other.names.has(name)) continue;
      const slot = row.slots.get(slotKey(stream.consumer, name));
      for (const line of slot?.lines ?? [])
        if (line.stream === id || line.stream === event.stream) line.overlapped = true;
      for (const shared of [stream.shared, other.shared]) if (!shared.has(name)) shared.set(name, event.at);
    }
  }
}

/** What is asked for is not withdrawn; where it was refused before, that stands again (E12). */
function askAgain(row: ProxyRow, consumer: Consumer): void {
  for (const slot of row.slots.values()) {
    if (!slot.withdrawn || slot.consumer !== consumer || isUnasked(row, slot)) continue;
    slot.withdrawn = false;
    if (slot.refusal !== undefined && row.error === undefined) showStanding(row);
  }
}

function send(row: ProxyRow, seq: number, event: LedgerEvent & { type: "sent" }): void {
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
function acknowledge(ledger: Ledger, row: ProxyRow, event: LedgerEvent & { type: "acked" }): void {
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
function resume(row: ProxyRow, event: LedgerEvent & { type: "resumed" }): void {
  row.lastContactAt = event.at;
  hear(row, event.stream);
}

function rootsGone(before: readonly Content[], after: readonly Content[]): RootId[] {
  const left = new Set(after.filter(isLeaf).map(({ root }) => root));
  return before.filter(isLeaf).flatMap(({ root }) => (left.has(root) ? [] : [root]));
}

/** NACK(C): C stays, because Envoy stores it and uses it as soon as its companion is replaced (X7). */
function reject(row: ProxyRow, event: LedgerEvent & { type: "nacked" }): void {
  row.lastContactAt = event.at;
  const found = find(row, event);
  if (found === undefined) return;
  const { slot, line, entry } = found;
  const { content } = entry;
  noteAnswer(line, event.seq);
  if ("roots" in content) slot.session.answered = { stream: event.stream, roots: content.roots };
  refuse(row, slot, content.version, event);
}

function end(ledger: Ledger, row: ProxyRow, event: LedgerEvent & { type: "ended" }): void {
  const stream = row.session.streams.get(event.stream);
  if (stream === undefined) return;
  row.session.streams.delete(event.stream);
  row.lastContactAt = event.at;
  row.cutShort = event.at < row.session.firstSeenAt + UNPROVEN_AFTER_MS;
  for (const name of stream.names) {
    const slot = row.slots.get(slotKey(stream.consumer, name));
    if (slot !== undefined) slot.session.lastAskedAt = event.at;
  }
  for (const slot of row.slots.values()) {
    if (slot.session.answered?.stream === event.stream) slot.session.answered = undefined;
    for (const line of slot.lines) {
      if (line.stream === event.stream) line.ended = { at: event.at, seq: ledger.seq };
    }
    slot.lines = withoutTwins(slot.lines.filter((line) => line.ended === undefined || line.entries.length > 0));
  }
}

/** Its Envoy, or its agent, is here and does not ask for it. */
function isUnasked(row: ProxyRow, { consumer, name }: Slot): boolean {
  let isHere = false;
  for (const stream of row.session.streams.values()) {
    if (stream.consumer !== consumer) continue;
    if (stream.names.has(name)) return false;
    isHere = true;
  }
  return isHere;
}

/** What only time settles: overlapped orphans (E6), and names that a present proxy no longer asks for (E13). */
function forgetOldThings(row: ProxyRow, now: number): void {
  for (const [key, slot] of row.slots) {
    if (slot.lines.some((line) => line.ended !== undefined)) dropSettledLines(slot, now);
    if (now >= Math.max(slot.session.lastAskedAt, row.session.presentSince) + UNASKED_MS && isUnasked(row, slot))
      row.slots.delete(key);
  }
}
