/**
 * What operators answer for where meshroot can prove nothing (`assume`; evidence.md E8, C5): of one proxy, for certain questions,
 * and for the roots of one rotation.
 */

import type { RootId, TrustInForce } from "../roots/trust.ts";
import { ASSUMED_FOR, type AssumedFor, type Assumption, type Evidence } from "./ledger-state.ts";

/** Does an operator's word stand for the proof that this proxy can't give of `root`? */
export function assumes({ assumed }: Evidence, what: AssumedFor, root: RootId): boolean {
  return assumed !== undefined && answersFor(assumed).includes(what) && assumed.roots?.includes(root) !== false;
}

/** An earlier version did not ask what for, and meant all. */
export function answersFor({ for: some }: Assumption): readonly AssumedFor[] {
  return some ?? ASSUMED_FOR;
}

/** Said twice in one rotation, it is one word about both; a word of an earlier set of roots is taken for no other. */
export function joined(before: Assumption | undefined, next: Assumption): Assumption {
  if (before === undefined || before.roots?.join() !== next.roots?.join()) return next;
  const both = [...answersFor(before), ...answersFor(next)];
  return { ...next, for: ASSUMED_FOR.filter((one) => both.includes(one)) };
}

/**
 * A word ends with the rotation that it was given in: when one of the roots that were in force then has left the xDS port, the last
 * place that a root leaves.
 */
export function isOver({ roots = [] }: Assumption, trust: TrustInForce): boolean {
  return roots.some((root) => !trust.xds.includes(root));
}
