/** Which xDS connections have to end, so that a newer credential is used on the next one (evidence.md C4). Pure. */

import type { TrustInForce } from "../roots/trust.ts";
import type { ProxyRow, XdsCredential } from "./ledger-state.ts";

export type Connection = Omit<XdsCredential, "notBefore"> & { readonly openedAt: number };

/** Files that were handed out are in place and loaded by then; ending a connection too early costs a reconnect, no more. */
const HANDED_OUT_MS = 5_000;
/** Envoy's default connect_timeout: what opens so soon after the ACK may have begun before it, with the old credential (E11). */
const HANDSHAKE_MS = 5_000;

/**
 * Why this connection of `row` has to end now; undefined: it may stay. Each reason holds for connections of before some
 * moment only, so that a client which comes back with the same old credential is not sent away again and again.
 */
export function outdated(
  connection: Connection,
  row: ProxyRow | undefined,
  trust: TrustInForce,
  now: number,
): string | undefined {
  if (now >= connection.notAfter) return "its certificate has expired";
  if (!trust.xds.includes(connection.root)) return "its root is no longer accepted";
  if (row === undefined) return undefined;
  const { lastIssued } = row.session;
  for (const { kind, acked, session } of row.slots.values()) {
    if (kind !== "xdsLeaf" || acked === undefined || acked.version === connection.fingerprint) continue;
    // What was handed out since may have taken its place, and is no old credential.
    const isReplaced = lastIssued !== undefined && lastIssued.at >= session.ackedAt;
    if (connection.openedAt <= session.ackedAt + (isReplaced ? 0 : HANDSHAKE_MS)) return "a newer credential is loaded";
  }
  if (lastIssued === undefined || connection.fingerprint === lastIssued.fingerprint) return undefined;
  const inPlaceAt = lastIssued.at + HANDED_OUT_MS;
  return connection.openedAt < inPlaceAt && now >= inPlaceAt ? "a newer credential was handed out" : undefined;
}
