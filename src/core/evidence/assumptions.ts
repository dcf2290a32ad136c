/**
 * What operators answer for where meshroot can prove nothing (`assume`; evidence.md E8, C5): of one proxy, for certain questions,
 * and for the roots of one rotation.
 */

import type { RootId, TrustInForce } from "../roots/trust.ts";
import { ASSUMED_FOR, type AssumedFor, type Assumption, type Evidence } from "./ledger-state.ts";

/** Does an operator's word stand for the proof that this proxy can't give of `root`? */
export function assumes({ assumed }: Evidence, what: AssumedFor, root: RootId): boolean {
  if (assumed === undefined || !answersFor(assumed).includes(what)) return false;
  return rootsFor(assumed, what)?.includes(root) !== false;
}

/**
 * The roots that a word is about. A root that has left the mesh's bundle stays on the xDS port for a while; back in the bundle, it
 * may bring another trust domain.
 */
function rootsFor({ mesh, roots }: Assumption, what: AssumedFor): readonly RootId[] | undefined {
  return what === "mesh-trust" ? (mesh ?? roots) : roots;
}

/** All of the roots that it is about, for one question or another, in their order. */
export function rootsOf(word: Assumption): readonly RootId[] | undefined {
  const some = answersFor(word).flatMap((what) => rootsFor(word, what) ?? []);
  return word.roots?.filter((root) => some.includes(root));
}

/** An earlier version did not ask what for, and meant all. */
export function answersFor({ for: some }: Assumption): readonly AssumedFor[] {
  return some ?? ASSUMED_FOR;
}

/** Said twice in one rotation, it is one word about both; a word of an earlier set of roots is taken for no other. */
export function joined(before: Assumption | undefined, next: Assumption): Assumption {
  if (before === undefined || before.roots?.join() !== next.roots?.join()) return next;
  const both = [...answersFor(before), ...answersFor(next)];
  const { mesh } = answersFor(next).includes("mesh-trust") ? next : before;
  return { ...next, mesh, for: ASSUMED_FOR.filter((one) => both.includes(one)) };
}

/**
 * A word ends with the rotation that it was given in: when one of the roots that were in force then has left the xDS port, the last
 * place that a root leaves.
 */
export function isOver({ roots = [] }: Assumption, trust: TrustInForce): boolean {
  return roots.some((root) => !trust.xds.includes(root));
}
