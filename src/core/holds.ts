/** A hold: a change that waits, why, and for whom. Printed unchanged in status, logs and events. */

import { identityName } from "./identity.ts";
import type { AbsentPolicy } from "./ledger-queries.ts";
import { countsUntil, isConnected } from "./ledger-queries.ts";
import type { ProxyRow } from "./ledger-state.ts";

/**
 * roles: the set of MRCs is not allowed, or a root can't be had. signer: the signer wants to move. bundle: a root wants
 * to leave the mesh's bundle. xdsControlPlane and bootstrap: the same for the xDS connection (C5).
 */
export type Gate = "roles" | "signer" | "bundle" | "xdsControlPlane" | "bootstrap";

export type HoldReason =
  | "RolesNotAllowed"
  | "RootNotAvailable"
  | "SignerMissing"
  | "Refused"
  | "Recovering"
  | "TwoStreams"
  | "TrustNotOursToProve"
  | "WaitingForTrust"
  | "StillPresented"
  | "WaitingForCredentials"
  | "Settling";

export type Waiting = {
  readonly proxy: string;
  /** `sa.ns` */
  readonly identity: string;
  readonly detail: string;
  readonly connected: boolean;
  readonly lastContactAt: number;
  /** When it stops counting by itself, if it stays away (E13). */
  readonly countsUntil?: number;
};

export type Hold = {
  readonly gate: Gate;
  /** What the change would do, e.g. `sign with root-b`. */
  readonly wants: string;
  /** Names of the MRCs that it is about. */
  readonly root: string;
  readonly reason: HoldReason;
  readonly message: string;
  readonly waitingFor: readonly Waiting[];
  /** When time alone may open it, milliseconds since the epoch. */
  readonly until?: number;
};

export function waiting(row: ProxyRow, detail: string, policy: AbsentPolicy): Waiting {
  const until = countsUntil(row, policy);
  return {
    proxy: row.identity.uuid,
    identity: identityName(row.identity),
    detail,
    connected: isConnected(row),
    lastContactAt: row.lastContactAt,
    ...(until === undefined ? {} : { countsUntil: until }),
  };
}

/** Names at most five proxies, then counts. */
export function listed(waitingFor: readonly Waiting[]): string {
  const shown = waitingFor
    .slice(0, 5)
    .map((one) => `${one.identity} (${one.proxy.slice(0, 8)}${one.connected ? "" : ", absent"})`);
  const more = waitingFor.length - shown.length;
  return shown.join(", ") + (more > 0 ? ` and ${more} more` : "");
}
