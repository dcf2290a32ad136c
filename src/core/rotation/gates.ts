/**
 * The rules that a change has to pass (evidence.md E10, E12 to E14, C5), as lists that a reader can recite. A rule answers with
 * the reason why the change has to wait, or undefined. That a gate opens `settle` later (E11) is in rotation-plan.ts.
 */

import { assumes } from "../evidence/assumptions.ts";
import {
  type AbsentPolicy,
  authenticatesWith,
  counts,
  hasAgent,
  isHandedOutWithout,
  leafOnlySince,
  matchesByItself,
  presents,
  sharedSince,
  TWO_STREAMS_AFTER_MS,
  trusts,
  trustsOnXds,
  UNPROVEN_AFTER_MS,
  unheard,
} from "../evidence/ledger-queries.ts";
import type { Ledger, ProxyRow } from "../evidence/ledger-state.ts";
import { type RootId, rootOf, sanForms, standIns, type TrustInForce } from "../roots/trust.ts";
import { type Gate, type Hold, type HoldReason, listed, type Waiting, waiting } from "./holds.ts";

export type GateSettings = {
  /** E11. Must not be less than the largest connect_timeout in the mesh. */
  readonly settleMs: number;
  /** E14. Longer than Envoy's longest back-off. */
  readonly recoveryMs: number;
  readonly absentPolicy: AbsentPolicy;
};

export type GateInput = {
  readonly trust: TrustInForce;
  readonly ledger: Ledger;
  readonly now: number;
  /** What the time may be at the earliest: a clock that has leapt lets no certificate expire. Default: `now`. */
  readonly earliest?: number;
  readonly settings: GateSettings;
  /** When this process read the ledger back; undefined on the very first start of a mesh, where nothing can be missing. */
  readonly recoveringSince: number | undefined;
};

export type Blocked = {
  readonly reason: HoldReason;
  readonly message: string;
  readonly waitingFor: readonly Waiting[];
  readonly until?: number;
};
type Rule = (input: GateInput, root: RootId) => Blocked | undefined;

/** E10: the signer moves to `root` when: */
export const SIGNER_RULES: readonly Rule[] = [
  everyProxyHasReportedSinceTheRestart,
  noProxyRefusesItsSecrets,
  noTwoProcessesShareACredential,
  everyTrustIsOursToProve,
  everyProxyTrusts,
];

/** E10: `root` leaves the mesh's bundle when: */
export const BUNDLE_RULES: readonly Rule[] = [
  everyProxyHasReportedSinceTheRestart,
  noProxyThatTrustsItRefusesItsSecrets,
  noTwoProcessesShareACredential,
  noProxyPresents,
];

/** C5: our own xDS certificate moves under `root` when: */
export const XDS_SERVER_RULES: readonly Rule[] = [everyProxyHasReportedSinceTheRestart, everyXdsClientTrusts];

/** C5: `root` leaves the xDS port when: */
export const XDS_CLIENT_RULES: readonly Rule[] = [everyProxyHasReportedSinceTheRestart, noXdsClientAuthenticatesWith];

export function firstBlocked(rules: readonly Rule[], input: GateInput, root: RootId): Blocked | undefined {
  for (const rule of rules) {
    const blocked = rule(input, root);
    if (blocked !== undefined) return blocked;
  }
  return undefined;
}

export function toHold(gate: Gate, wants: string, root: string, blocked: Blocked): Hold {
  return { gate, wants, root, ...blocked };
}

function counting(input: GateInput): ProxyRow[] {
  return [...input.ledger.proxies.values()].filter((row) =>
    counts(row, input.earliest ?? input.now, input.settings.absentPolicy),
  );
}

/** The counting proxies for which `detail` has something to say, as a hold's list; undefined when there are none. */
function waitFor(
  input: GateInput,
  reason: HoldReason,
  detail: (row: ProxyRow) => string | undefined,
  message: (list: string) => string,
): Blocked | undefined {
  const waitingFor = counting(input).flatMap((row) => {
    const text = detail(row);
    return text === undefined ? [] : [waiting(row, text, input.settings.absentPolicy)];
  });
  return waitingFor.length === 0 ? undefined : { reason, message: message(listed(waitingFor)), waitingFor };
}

/** E14: an empty report is not an ACK. After the window the missing ones are absent, and E13 decides. */
function everyProxyHasReportedSinceTheRestart(input: GateInput): Blocked | undefined {
  if (input.recoveringSince === undefined) return undefined;
  const until = input.recoveringSince + input.settings.recoveryMs;
  const missing = unheard(input.ledger);
  if (input.now >= until || missing.length === 0) return undefined;
  const waitingFor = missing.map((row) => waiting(row, "not heard since the restart", input.settings.absentPolicy));
  return {
    reason: "Recovering",
    message: `after a restart, until these have reported again: ${listed(waitingFor)}`,
    waitingFor,
    until,
  };
}

/** E10, E12: a NACK becomes a hold here, as long as the row has an `error`. */
function noProxyRefusesItsSecrets(input: GateInput): Blocked | undefined {
  return waitFor(
    input,
    "Refused",
    (row) => row.error && `answering ${row.error.answering}: ${row.error.message}`,
    (list) => `refused secrets at ${list}`,
  );
}

/**
 * E10: a root that the refusing proxy never came to trust may be taken back: it can be what Envoy can't load, and then nothing else
 * ends the refusal (V). Safe, because what any proxy may present is the next rule's matter.
 */
function noProxyThatTrustsItRefusesItsSecrets(input: GateInput, root: RootId): Blocked | undefined {
  return waitFor(
    input,
    "Refused",
    (row) => (row.error && trusts(row, root) ? `answering ${row.error.answering}: ${row.error.message}` : undefined),
    (list) => `refused secrets at ${list}`,
  );
}

/** Which of two live streams has ACKed can't be told, and no operator's word ends that. */
function noTwoProcessesShareACredential(input: GateInput): Blocked | undefined {
  return waitFor(
    input,
    "TwoStreams",
    (row) => {
      const shared = sharedSince(row);
      return shared !== undefined && input.now >= shared.at + TWO_STREAMS_AFTER_MS
        ? `two live streams ask for ${shared.name}: one credential belongs to one Envoy, one name to one ConfigSource`
        : undefined;
    },
    (list) => `two live streams for one secret at ${list}`,
  );
}

/** E8: trust that no ACK can tell. */
function everyTrustIsOursToProve(input: GateInput, root: RootId): Blocked | undefined {
  const formChanges = sanForms(input.trust).length > 1;
  return waitFor(
    input,
    "TrustNotOursToProve",
    (row) => {
      if (assumes(row, "mesh-trust", root)) return undefined;
      const since = leafOnlySince(row);
      if (since !== undefined && input.now >= since + UNPROVEN_AFTER_MS)
        return "takes a leaf but no trust bundle from us";
      if (formChanges && matchesByItself(row)) return "takes its roots without SAN matchers while the SAN form changes";
      return undefined;
    },
    (list) => `trust not ours to prove at ${list}`,
  );
}

/** E8, E10. */
function everyProxyTrusts(input: GateInput, root: RootId): Blocked | undefined {
  const name = rootOf(input.trust, root).name;
  return waitFor(
    input,
    "WaitingForTrust",
    (row) => {
      if (!trusts(row, root)) return `may still run a bundle without ${name}`;
      // Where it is about to ask for its first bundle, that will hold every root. If it never does, it fails connections from
      // the first moment on, not from when the rule above calls it by its name.
      const isLeafOnly = leafOnlySince(row) !== undefined && !assumes(row, "mesh-trust", root);
      return isLeafOnly ? "has a leaf and has not taken a trust bundle yet" : undefined;
    },
    (list) => `waiting for the ACK of ${name} in the trust bundle from ${list}`,
  );
}

/** E9, E10. */
function noProxyPresents(input: GateInput, root: RootId): Blocked | undefined {
  const name = rootOf(input.trust, root).name;
  return waitFor(
    input,
    "StillPresented",
    (row) =>
      presents(row, root, input.earliest ?? input.now) ? `may still present a leaf issued under ${name}` : undefined,
    (list) => `leaves issued under ${name} may still be presented by ${list}`,
  );
}

function everyXdsClientTrusts(input: GateInput, root: RootId): Blocked | undefined {
  const name = rootOf(input.trust, root).name;
  return waitFor(
    input,
    "WaitingForCredentials",
    (row) =>
      assumes(row, "xds-trust", root) ||
      [root, ...standIns(input.trust, root, input.now)].some((id) => trustsOnXds(row, id))
        ? undefined
        : `not proven to trust ${name} on its xDS connection: ${whatIsMissing(row, root)}`,
    (list) => `no proof yet of trust in ${name} on the xDS connection of ${list}`,
  );
}

function whatIsMissing(row: ProxyRow, root: RootId): string {
  if (isHandedOutWithout(row, root)) return "it was handed a credential that it has not used yet";
  return hasAgent(row) ? "its agent has not ACKed a bundle that holds it" : "no agent keeps its credentials";
}

function noXdsClientAuthenticatesWith(input: GateInput, root: RootId): Blocked | undefined {
  // A credential that verifies under a root that stays needs no other.
  if (standIns(input.trust, root, input.now).length > 0) return undefined;
  const name = rootOf(input.trust, root).name;
  return waitFor(
    input,
    "WaitingForCredentials",
    (row) => {
      const how = authenticatesWith(row, root, input.earliest ?? input.now);
      return how && `may come with a credential under ${name}: ${how}`;
    },
    (list) => `xDS credentials under ${name} are in use at ${list}`,
  );
}
