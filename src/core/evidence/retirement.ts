/** When a proxy that is away leaves the ledger by itself (evidence.md E13). Pure. */

import { isLeaf } from "./content.ts";
import { type AbsentPolicy, counts, isConnected, mayRun } from "./ledger-queries.ts";
import type { Ledger, ProxyRow } from "./ledger-state.ts";

/** Nothing waits for it: an hour is also how long a clock that has leapt is not believed. */
export const RETIRES_AFTER_MS = 3_600_000;

export type RetirementInput = {
  /** What the time may be at the earliest: a clock that has leapt lets nothing expire. */
  readonly earliest: number;
  /** Since when this process has looked at the time: one that began in a leap can't know. */
  readonly since: number;
  readonly policy: AbsentPolicy;
  /** How long a credential may live of which an earlier version did not note when it expires. */
  readonly credentialMs: number;
};

/**
 * Those who count no more, and whose leaf and xDS credentials have all expired. Under the policy `wait` only an operator's word ends
 * that somebody counts. No gate is wider for it than it was: who counts is never among them.
 */
export function retiring(ledger: Ledger, input: RetirementInput): ProxyRow[] {
  const { earliest, since, policy, credentialMs } = input;
  const then = earliest - RETIRES_AFTER_MS;
  if (then < since) return [];
  return [...ledger.proxies.values()].filter(
    (row) =>
      !isConnected(row) && !counts(row, then, policy) && validUntil(row, credentialMs) <= then && isKnownAgain(row),
  );
}

/**
 * A process that comes back is told from a new one by what it says to hold: first of all its leaf, because a new Envoy asks for that
 * before its listeners' bundles, and has to get it. One that holds a bundle and no leaf says nothing.
 */
function isKnownAgain({ forgotten, showsLeaf, slots }: ProxyRow): boolean {
  if (forgotten !== undefined || showsLeaf) return true;
  return ![...slots.values()].some((slot) => slot.kind === "bundle" && mayRun(slot).length > 0);
}

/** When the last certificate expires that this proxy may have. */
function validUntil(row: ProxyRow, credentialMs: number): number {
  let until = Math.max(row.credentialsUntil ?? row.lastContactAt + credentialMs, row.stranger?.leafUntil ?? 0);
  for (const { notAfter } of row.issued) until = Math.max(until, notAfter);
  for (const slot of row.slots.values())
    for (const content of mayRun(slot)) if (isLeaf(content)) until = Math.max(until, content.notAfter);
  return until;
}
