/**
 * xDS credentials that were handed out for a proxy (evidence.md C5). Until someone comes with one, it may be anywhere; from then
 * on its two halves may run, like what a stream brought that has ended (E6).
 */

import type { Content } from "./content.ts";
import { withoutTwins } from "./ledger-lines.ts";
import {
  type Consumer,
  type Evidence,
  HANDED_OUT,
  type HandedOut,
  type Line,
  newSlot,
  type ProxyRow,
  slotKey,
  type XdsCredential,
} from "./ledger-state.ts";
import { XDS_BUNDLE, XDS_LEAF } from "./secret-names.ts";

type Use = {
  readonly consumer: Consumer;
  readonly credential: XdsCredential;
  readonly seq: number;
  readonly at: number;
};

/**
 * A side of this proxy comes with a credential; `seq` of the ledger, now. The folder holds one set at a time, so whoever comes
 * with one that was handed out has had those before it.
 */
export function noteUse(row: ProxyRow, use: Use): void {
  const { consumer, credential } = use;
  const index = row.issued.findIndex(({ fingerprint }) => fingerprint === credential.fingerprint);
  const found = row.issued[index];
  if (found !== undefined) {
    const past = row.issued.slice(0, index);
    row.issued = row.issued.slice(index + 1);
    // The agent tells what lies in the folder; its Envoy may still run what lay there before.
    if (consumer === "agent") for (const one of past) bring(row, one, use);
    else supersede(row, found.seq);
    bring(row, found, use);
    // It has loaded both halves: as good as an ACK of them.
    if (consumer === "envoy") acknowledge(row, found, use);
  } else if (consumer === "envoy") {
    // It uses one that was made later: what was handed out before has been replaced, if it ever came.
    const isPast = ({ notBefore }: HandedOut) => notBefore < credential.notBefore;
    for (const one of row.issued.filter(isPast)) bring(row, one, use);
    row.issued = row.issued.filter((one) => !isPast(one));
  }
}

/** Its Envoy has loaded what was handed out at `seq`, so what had ended before that is in its folder no more. */
function supersede(row: ProxyRow, seq: number): void {
  for (const slot of row.slots.values())
    if (slot.consumer === "agent")
      slot.lines = slot.lines.filter(({ ended }) => ended === undefined || ended.seq >= seq);
}

function acknowledge(row: ProxyRow, one: HandedOut, { seq, at }: Use): void {
  for (const [name, { version }] of halves(one)) {
    const slot = row.slots.get(slotKey("agent", name));
    if (slot === undefined) continue;
    slot.acked = { version, seq };
    slot.session.ackedAt = at;
  }
}

function halves({ fingerprint, root, notAfter, bundle }: HandedOut): [name: string, Content][] {
  return [
    [XDS_LEAF, { kind: "xdsLeaf", version: fingerprint, root, notAfter }],
    [XDS_BUNDLE, bundle],
  ];
}

function bring(row: ProxyRow, one: HandedOut, use: Use): void {
  for (const [name, content] of halves(one)) bringContent(row, name, content, use);
}

function bringContent(row: ProxyRow, name: string, content: Content, { consumer, seq, at }: Use): void {
  const key = slotKey("agent", name);
  const known = row.slots.get(key);
  // Where no agent has ever spoken, what its Envoy comes with is all that there is to know.
  if (known === undefined && consumer !== "agent") return;
  const slot = known ?? newSlot({ consumer: "agent", name, kind: content.kind, matchers: false }, at);
  row.slots.set(key, slot);
  const entries = [{ seq, content }];
  const line: Line = { stream: HANDED_OUT, entries, overlapped: false, ended: { at, seq }, superseded: false };
  slot.lines = withoutTwins([...slot.lines, line]);
}

/** What has expired lets nobody in. */
export function forgetExpired(row: Evidence, now: number): void {
  if (row.issued.length > 0) row.issued = row.issued.filter(({ notAfter }) => now < notAfter);
}
