/** A hold: a change that waits, why, and for whom. Printed unchanged in status, logs and events. */

import { type AbsentPolicy, countsUntil, isConnected, OVERLAP_MS, sidesHere } from "../evidence/ledger-queries.ts";
import type { AssumedFor, Consumer, ProxyId, ProxyRow } from "../evidence/ledger-state.ts";
import { identityName } from "../identity.ts";

/**
 * roles: the set of MRCs is not allowed, or a root can't be had. signer: the signer wants to move. bundle: a root wants
 * to leave the mesh's bundle. xdsControlPlane and bootstrap: the same for the xDS connection (C5). state: it can't be written.
 */
export type Gate = "roles" | "signer" | "bundle" | "xdsControlPlane" | "bootstrap" | "state";

export type HoldReason =
  | "RolesNotAllowed"
  | "RootNotAvailable"
  | "RootUnfit"
  | "SignerMissing"
  | "StateNotWritable"
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
  /** Of a proxy that is connected: its side that has been here and is not now. Absence of one side alone ends by no time. */
  readonly absentSide?: Consumer;
  /**
   * Of a proxy that is connected: another stream of it has ended, and nothing since then has settled what it left (E6). At the
   * earliest it is settled at `at`, milliseconds since the epoch; undefined: by the next ACK.
   */
  readonly leftByEnded?: { readonly at: number | undefined };
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
  const absentSide = absentSideOf(row);
  const leftByEnded = leftByEndedStream(row);
  return {
    proxy: row.identity.uuid,
    identity: identityName(row.identity),
    detail,
    connected: isConnected(row),
    ...(absentSide === undefined ? {} : { absentSide }),
    ...(leftByEnded === undefined ? {} : { leftByEnded }),
    lastContactAt: row.lastContactAt,
    ...(until === undefined ? {} : { countsUntil: until }),
  };
}

function leftByEndedStream(row: ProxyRow): { at: number | undefined } | undefined {
  const here = sidesHere(row);
  const slots = [...row.slots.values()].filter((slot) => here.has(slot.consumer));
  const ended = slots.flatMap((slot) => slot.lines).filter((line) => line.ended !== undefined);
  if (ended.length === 0) return undefined;
  const times = ended.flatMap((line) => (line.overlapped && line.ended ? [line.ended.at + OVERLAP_MS] : []));
  return { at: times.length === 0 ? undefined : Math.max(...times) };
}

function absentSideOf(row: ProxyRow): Consumer | undefined {
  if (!isConnected(row)) return undefined;
  const here = sidesHere(row);
  return (["envoy", "agent"] as const).find((side) => row.auth[side] !== undefined && !here.has(side));
}

/** Names at most five proxies, then counts. */
export function listed(waitingFor: readonly Waiting[]): string {
  const shown = waitingFor.slice(0, 5).map((one) => {
    const absent = one.connected ? (one.absentSide === undefined ? "" : `, ${one.absentSide} absent`) : ", absent";
    return `${one.identity} (${one.proxy.slice(0, 8)}${absent})`;
  });
  const more = waitingFor.length - shown.length;
  return shown.join(", ") + (more > 0 ? ` and ${more} more` : "");
}

/** What is asked for of this proxy, by the first hold that waits for it; trust in the mesh's roots where none does. */
export function askedFor(holds: readonly Hold[], proxy: ProxyId): AssumedFor {
  const asking = holds.find(({ waitingFor }) => waitingFor.some((one) => one.proxy === proxy));
  if (asking?.gate === "xdsControlPlane") return "xds-trust";
  return asking?.gate === "bootstrap" ? "xds-credentials" : "mesh-trust";
}
