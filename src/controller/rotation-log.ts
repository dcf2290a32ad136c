/** A rotation in the log: each change that was made, and each hold once, when it begins or says something new. */

import type { Problem } from "../core/errors.ts";
import { absentLines, waysOut } from "../core/rotation/hold-words.ts";
import type { Hold, HoldReason } from "../core/rotation/holds.ts";
import type { Change } from "../core/rotation/rotation-plan.ts";
import type { Log } from "../ports/log.ts";

/** Holds that somebody has to do something about. */
const LOUD: ReadonlySet<HoldReason> = new Set([
  "RolesNotAllowed",
  "RootNotAvailable",
  "RootUnfit",
  "SignerMissing",
  "Refused",
]);
/** What a log line can hold. */
const MAX_ABSENT = 50;

/** `before`: the holds that were reported last. */
export function reportHolds(log: Log, before: readonly Hold[], holds: readonly Hold[]): void {
  const known = new Set(before.map(textOf));
  for (const hold of holds) {
    if (known.has(textOf(hold))) continue;
    // The text of the log line holds the message; the key is the logger's own.
    const { waitingFor, message, ...fields } = hold;
    const write = LOUD.has(hold.reason) ? log.warn : log.info;
    write.call(
      log,
      { component: "rotation", ...fields, proxies: waitingFor.length, ...detailsOf(hold) },
      `held: ${hold.wants}: ${message}`,
    );
  }
}

const DAY_MS = 24 * 3_600_000;

/** The signer is near its end: said at once and then once a day. Returns when it was said last. */
export function reportEnd(log: Log, problem: Problem | undefined, saidAt: number | undefined, now: number) {
  if (problem === undefined) return undefined;
  if (saidAt !== undefined && now < saidAt + DAY_MS) return saidAt;
  const { code, message, hint } = problem;
  log.warn({ component: "rotation", code, hint }, `${code} ${message}`);
  return now;
}

function textOf({ gate, reason, message }: Hold): string {
  return gate + reason + message;
}

/** Every absent proxy by name (E13), and what ends the wait. */
function detailsOf(hold: Hold): { absent?: string[]; hint?: string } {
  const absent = absentLines(hold);
  const hint = waysOut(hold).join(" ");
  return {
    ...(absent.length === 0 ? {} : { absent: absent.slice(0, MAX_ABSENT) }),
    ...(hint === "" ? {} : { hint }),
  };
}

/** `settleMs`: how long connections begun before may still finish with what was loaded before (E11). */
export function reportChange(log: Log, change: Change, generation: number, settleMs: number): void {
  const { kind, root, forced } = change;
  const fields = { component: "rotation", change: kind, root, generation, settleMs };
  if (forced === undefined) log.info(fields, CHANGE_WORDS[kind](root));
  else log.warn({ ...fields, forced }, `${CHANGE_WORDS[kind](root)}: FORCED past the gates: ${forced}`);
}

const CHANGE_WORDS = {
  trust: (root: string) => `trust grows: the mesh now validates with ${root} too`,
  signer: (root: string) => `the signer moves: leaves are now issued under ${root}`,
  distrust: (root: string) => `trust shrinks: ${root} leaves the mesh's bundle`,
  xdsServer: (root: string) => `the xDS server's own certificate moves under ${root}`,
  xdsDistrust: (root: string) => `xDS clients under ${root} are no longer accepted`,
} as const;
