/**
 * The ledger: for every proxy that we know, what it may be running (evidence.md E6).
 *
 * `record` is the one door through which it changes. Invariant: whatever a TLS context of a proxy may hold is in the
 * `mayRun` of its slot, because a content enters it before its bytes are written and leaves it only on an ACK of
 * something that the same client processed later.
 */

import { joined } from "./assumptions.ts";
import { forgetExpired, noteUse } from "./handed-out.ts";
import { acknowledge, reject, resume, send } from "./ledger-deliveries.ts";
import type { LedgerEvent } from "./ledger-events.ts";
import { dropSettledLines, withoutTwins } from "./ledger-lines.ts";
import { isConnected, leaves, sidesHere, UNPROVEN_AFTER_MS } from "./ledger-queries.ts";
import { restamp } from "./ledger-restamp.ts";
import {
  type Assumption,
  type Consumer,
  type Ledger,
  newRow,
  type ProxyRow,
  type Slot,
  slotKey,
} from "./ledger-state.ts";
import { retryFrom, showStanding } from "./refusals.ts";
import { isOwnLeafName } from "./secret-names.ts";
import { endStrangeness, noteReport } from "./strangers.ts";

/** Longer than Envoy's default drain time (E13). */
const UNASKED_MS = 15 * 60_000;
/** Time is looked at every second: after a pause like this one there was nobody to see who came and went. */
const LEAP_MS = 60_000;

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

function assumption({ reason, at, for: some, roots, mesh }: Assumption): Assumption {
  return { reason, at, for: some, roots, mesh };
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
