/** A hold in full, for people: each proxy that it waits for, since when it is absent and until when it counts, and what ends it. */

import { ENVOY_USED_IT } from "../evidence/ledger-queries.ts";
import type { AssumedFor } from "../evidence/ledger-state.ts";
import type { Hold, HoldReason, Waiting } from "./holds.ts";

/** One line for each proxy that the hold waits for, absent ones first: they are what somebody has to decide about. */
export function waitingLines(hold: Hold): string[] {
  return hold.waitingFor
    .toSorted((a, b) => Number(a.connected) - Number(b.connected) || a.lastContactAt - b.lastContactAt)
    .map((one) => `${one.identity} (${one.proxy}): ${one.detail}; ${presence(one)}`);
}

/** The same for the absent ones alone. */
export function absentLines(hold: Hold): string[] {
  return hold.waitingFor
    .filter(({ connected }) => !connected)
    .map((one) => `${one.identity} (${one.proxy}): ${presence(one)}`);
}

function presence({ connected, absentSide, leftByEnded, lastContactAt, countsUntil }: Waiting): string {
  const last = `last contact ${at(lastContactAt)}`;
  if (connected) {
    const here = absentSide === undefined ? "connected" : `connected, but its ${absentSide} is absent`;
    if (leftByEnded === undefined) return here;
    const when = leftByEnded.at === undefined ? "" : `, not before ${at(leftByEnded.at)}`;
    return `${here}; what an ended stream of it left counts until a later answer settles it${when}`;
  }
  if (countsUntil !== undefined && countsUntil <= lastContactAt) return `absent, ${last}, has no leaf that is valid`;
  return countsUntil === undefined
    ? `absent, ${last}, counts until it returns or is forgotten`
    : `absent, ${last}, counts until ${at(countsUntil)} or until it is forgotten`;
}

/** What ends the hold: what happens by itself, and which command helps. Sentences; empty where the message says it already. */
export function waysOut(hold: Hold): string[] {
  const present = hold.waitingFor.find(({ connected }) => connected);
  const absent = hold.waitingFor.find(({ connected }) => !connected);
  const ways: string[] = [];
  if (hold.until !== undefined) ways.push(`It opens by itself at ${at(hold.until)} at the latest.`);
  if (present !== undefined) ways.push(...(FOR_PRESENT[hold.reason]?.(present, hold) ?? []));
  if (absent !== undefined && hold.reason !== "Recovering") {
    if (hold.reason === "TrustNotOursToProve") ways.push(assume(absent));
    ways.push(
      `Start ${absent.identity} (${short(absent)}) again, or, if it is gone for good: \`meshroot proxy forget ${short(absent)} --reason TEXT\`.`,
    );
  }
  return ways;
}

const FOR_PRESENT: Partial<Readonly<Record<HoldReason, (one: Waiting, hold: Hold) => string[]>>> = {
  Refused: (one) => [`Mend what Envoy says, then \`meshroot proxy retry ${short(one)}\`.`],
  TwoStreams: (one) => [
    `Stop one of the two processes that use the credential of ${one.identity} (${short(one)}), or give each its own: \`meshroot proxy bootstrap ${one.identity} --out ANOTHER-FOLDER\`.`,
    "If it is one Envoy that asks for one name in two places, give both places the same `sds_config`, to the letter: Envoy opens a stream for each that differs.",
  ],
  TrustNotOursToProve: (one) => [assume(one)],
  WaitingForTrust: () => [
    "The ACKs of those that are connected end it; `meshroot proxy status` shows which are STALE.",
  ],
  StillPresented: () => ["Those that are connected are given other leaves; their ACKs end it."],
  WaitingForCredentials: (one, hold) => [
    `Have its credentials renewed: \`meshroot proxy agent\` does it by itself, \`meshroot proxy bootstrap ${one.identity} --out ITS-FOLDER\` once.`,
    ...(hold.gate === "xdsControlPlane" ? [assume(one, "xds-trust")] : []),
    ...(hold.gate !== "xdsControlPlane" && one.absentSide === "agent" && !one.detail.endsWith(ENVOY_USED_IT)
      ? [assume(one, "xds-credentials")]
      : []),
  ],
};

/** Trust in the mesh's roots is what `assume` answers for first. */
function assume(one: Waiting, what: AssumedFor = "mesh-trust"): string {
  const flag = what === "mesh-trust" ? "" : ` --for ${what}`;
  return `If you have made sure of it yourself: \`meshroot proxy assume ${short(one)} --reason TEXT${flag}\`.`;
}

function short({ proxy }: Waiting): string {
  return proxy.slice(0, 8);
}

/** RFC 3339 to the second. */
function at(ms: number): string {
  return `${new Date(ms).toISOString().slice(0, 19)}Z`;
}
