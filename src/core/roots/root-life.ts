/** How long a root has to last for the mesh that it signs for. */

import { formatDuration } from "../duration.ts";
import type { Problem } from "../errors.ts";
import { ACCEPT_SHORT_LIFE_ANNOTATION } from "./mesh-root.ts";
import type { TrustedRoot } from "./trust.ts";

type Lives = { readonly leafValidityMs: number; readonly xdsCertValidityMs: number };
type Ending = Pick<TrustedRoot, "name" | "notBefore" | "notAfter">;

/**
 * The time in which every leaf and every xDS credential is renewed once (with a third left, C6), and then a rotation, which waits
 * for an absent proxy until its leaf has expired (E13). Milliseconds.
 */
export function neededRootLife({ leafValidityMs, xdsCertValidityMs }: Lives): number {
  return Math.ceil((Math.max(leafValidityMs, xdsCertValidityMs) * 2) / 3) + leafValidityMs;
}

/** MR3008: it would end before the mesh could rotate away from it. One that has ended already is another matter (MR3002). */
export function tooShort({ name, notBefore, notAfter }: Ending, now: number, neededMs: number): Problem | undefined {
  if (!isEnding({ notBefore, notAfter }, now, neededMs)) return undefined;
  return {
    code: "MR3008",
    message: `root ${name} ends at ${at(notAfter)}, sooner than the ${life(neededMs)} in which this mesh renews its leaves and xDS credentials and rotates again`,
    hint: `Give a root that lasts longer. If it has to be this one: \`meshroot root create NAME --accept-short-life REASON\`, or the annotation ${ACCEPT_SHORT_LIFE_ANNOTATION} in its manifest.`,
  };
}

/** MR3009: the signer is about to end, and traffic and all xDS credentials with it. */
export function signerEndsSoon(
  { name, notBefore, notAfter }: Ending,
  now: number,
  neededMs: number,
): Problem | undefined {
  if (!isEnding({ notBefore, notAfter }, now, neededMs)) return undefined;
  return {
    code: "MR3009",
    message: `the signing root ${name} ends at ${at(notAfter)}: leaves and xDS credentials end with it, and then requests fail`,
    hint: "Rotate now: `meshroot root create NAME`, then make it active once proxies trust it.",
  };
}

/** One that has not begun yet signs nothing; it is asked again once it does. */
function isEnding({ notBefore, notAfter }: Omit<Ending, "name">, now: number, neededMs: number): boolean {
  return notBefore <= now && now < notAfter && notAfter < now + neededMs;
}

function at(ms: number): string {
  return `${new Date(ms).toISOString().slice(0, 19)}Z`;
}

function life(ms: number): string {
  const day = 86_400_000;
  return ms >= 2 * day ? `${Math.floor(ms / day)} days` : formatDuration(Math.ceil(ms / 1000) * 1000);
}
