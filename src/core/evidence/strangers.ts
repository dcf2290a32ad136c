/**
 * Processes that run what the ledger does not know (evidence.md E13). A client reports the versions that it holds, and none of them
 * leaves the ledger while it may run; so who reports another one is older than its row: that had left, or is lost.
 */

import { isUnknown, type SecretKind, unknownContent } from "./content.ts";
import { mentions, withoutTwins } from "./ledger-lines.ts";
import { mayRun, RESUBSCRIBED_AFTER_MS, sidesHere } from "./ledger-queries.ts";
import { type Ledger, type Line, newSlot, type ProxyRow, type Slot, type StreamId, slotKey } from "./ledger-state.ts";

/** What the first request of a stream says to hold. */
export type Report = {
  readonly stream: StreamId;
  readonly held: readonly Held[];
  /** A leaf that the ledger does not know expires by then. */
  readonly leafUntil: number;
  readonly at: number;
};

export type Held = {
  readonly name: string;
  readonly kind: SecretKind;
  readonly matchers: boolean;
  /** Empty: it reports none. */
  readonly version: string;
  /** The version is one of several names, and nobody knows which (SotW). */
  readonly shared: boolean;
};

/** In the place of a stream: what a process brought that is older than its row. */
const BEFORE_ITS_ROW = "before-its-row";

export function noteReport(ledger: Ledger, row: ProxyRow, report: Report): void {
  const { held, leafUntil, stream, at } = report;
  const consumer = row.session.streams.get(stream)?.consumer;
  if (consumer === undefined) return;
  const slots = [...row.slots.values()].filter((slot) => slot.consumer === consumer);
  const isKnown = ({ name, shared, version }: Held) =>
    version === "" || slots.some((slot) => (shared || slot.name === name) && mayRunIt(slot, version));
  const hasSlot = ({ name }: Held) => row.slots.has(slotKey(consumer, name));
  // What the ledger knows of a name, one process of this proxy has been sent, and that one has its row.
  const isStrange = row.stranger !== undefined || held.some((one) => !isKnown(one) && !hasSlot(one));
  // What it has refused it does not report, and may run all the same.
  if (slots.some((slot) => slot.kind === "leaf" && held.some(({ version }) => mentions(slot, version))))
    row.showsLeaf = true;
  const unknown = held.filter((one) => !isKnown(one) || (isStrange && !hasSlot(one)));
  for (const { name, kind, matchers } of unknown) {
    const key = slotKey(consumer, name);
    const slot = row.slots.get(key) ?? newSlot({ consumer, name, kind, matchers }, at);
    row.slots.set(key, slot);
    const until = kind === "xdsLeaf" ? (row.credentialsUntil ?? leafUntil) : leafUntil;
    bringUnknown(slot, until, { at, seq: ledger.seq });
    if (kind === "leaf") row.session.leafFirstSentAt ??= at;
  }
  if (consumer !== "envoy" || !isStrange) return;
  row.stranger = { leafUntil: Math.max(leafUntil, row.stranger?.leafUntil ?? 0) };
}

function mayRunIt(slot: Slot, version: string): boolean {
  return mentions(slot, version) || mayRun(slot).some(isUnknown);
}

/** As what a stream left that has ended: the ACK of what is sent from now on settles it (E6). */
function bringUnknown(slot: Slot, until: number, ended: { readonly at: number; readonly seq: number }): void {
  const entries = [{ seq: 0, content: unknownContent(slot.kind, until) }];
  const line: Line = { stream: BEFORE_ITS_ROW, entries, overlapped: false, ended, superseded: false };
  slot.lines = withoutTwins([...slot.lines, line]);
}

/** By now its Envoy has asked for all its names, and each of its slots speaks for itself. */
export function endStrangeness(row: ProxyRow, now: number): void {
  if (row.stranger === undefined || !sidesHere(row).has("envoy")) return;
  if (now >= row.session.presentSince + RESUBSCRIBED_AFTER_MS) row.stranger = undefined;
}
