/**
 * The half of the loop that decides. It compares what the roles ask for with what is in force, and writes the next safe change down.
 * Of all replicas of a mesh one does this at a time; what it wrote, each of them follows by itself (follower.ts).
 */

import type { Ledger } from "../core/evidence/ledger-state.ts";
import type { RootListing } from "../core/roots/mesh-root.ts";
import { rootOf, type TrustInForce } from "../core/roots/trust.ts";
import type { GateSettings } from "../core/rotation/gates.ts";
import type { Hold } from "../core/rotation/holds.ts";
import { type GateClock, type Plan, planRotation, wakeAt } from "../core/rotation/rotation-plan.ts";
import type { Clock } from "../ports/clock.ts";
import type { Log } from "../ports/log.ts";
import type { AuthorityKeeper } from "./authority-keeper.ts";
import { availabilityHolds } from "./availability.ts";
import { clockSpan } from "./checked-clock.ts";
import type { Durability } from "./durability.ts";
import type { TrustObject } from "./follower.ts";
import { type KnownRoots, roleChanges } from "./known-roots.ts";
import { reportChange, reportEnd, reportHolds } from "./rotation-log.ts";

export type LeaderDeps = {
  readonly clock: Clock;
  readonly log: Log;
  readonly settings: GateSettings;
  readonly authorities: AuthorityKeeper;
  readonly roots: KnownRoots;
  readonly disk: Durability;
};

export class Leader {
  readonly #deps: LeaderDeps;
  #holds: readonly Hold[] = [];
  #gates: GateClock = {};
  #decided: TrustInForce | undefined;
  #endReported: number | undefined;

  constructor(deps: LeaderDeps) {
    this.#deps = deps;
  }

  get holds(): readonly Hold[] {
    return this.#holds;
  }

  /**
   * The trust that is being written down, and will be in force next: who comes back meanwhile did not count for it (E10). It stands
   * after a save that failed, too, since that may be on disk.
   */
  get decided(): TrustInForce | undefined {
    return this.#decided;
  }

  setRoots(listing: RootListing): void {
    const { log, roots } = this.#deps;
    for (const { root, from, to } of roleChanges(roots.listing, listing))
      log.info({ component: "rotation", root, from, to }, `root ${root}: role ${from} -> ${to}`);
    roots.listing = listing;
  }

  /**
   * One plan, and one change at most. Returns what it has written, which is durable then; undefined: nothing. Rejects with what the
   * store throws; then nobody knows whether it was written, and it stands in `decided`.
   */
  async decide(
    trust: TrustInForce,
    ledger: Ledger,
    recoveringSince: number | undefined,
  ): Promise<TrustObject | undefined> {
    const { clock, disk, log, roots, settings } = this.#deps;
    const now = clock.now();
    const plan = this.#plan(trust, ledger, recoveringSince, now);
    this.#gates = plan.gates;
    this.#report(trust, plan, now);
    const remembered = roots.remember();
    if (plan.change === undefined) {
      const isStale = remembered || this.#decided !== undefined || disk.isTrustUnsaved || this.#hasDestroyed(trust);
      const revision = isStale ? await disk.save(trust, roots.specs) : undefined;
      this.#decided = undefined;
      return revision === undefined ? undefined : { trust, revision };
    }
    this.#decided = plan.trust;
    const revision = await disk.save(plan.trust, roots.specs);
    this.#decided = undefined;
    reportChange(log, plan.change, plan.trust.generation, settings.settleMs);
    return { trust: plan.trust, revision };
  }

  /** When time alone may change the plan, milliseconds since the epoch. */
  wakeAt(trust: TrustInForce, now: number): number | undefined {
    return wakeAt({ trust, holds: this.#holds, gates: this.#gates }, now);
  }

  #plan(trust: TrustInForce, ledger: Ledger, recoveringSince: number | undefined, now: number): Plan {
    const { clock, roots, settings } = this.#deps;
    return planRotation({
      trust,
      desired: roots.desired(trust, now),
      problem: roots.problem(trust),
      ledger,
      now,
      earliest: clockSpan(clock).earliest,
      settings,
      recoveringSince,
      gates: this.#gates,
      override: roots.override,
    });
  }

  #report(trust: TrustInForce, plan: Plan, now: number): void {
    const { log, roots } = this.#deps;
    const { snapshot } = this.#deps.authorities;
    const holds = [...availabilityHolds(snapshot, trust, roots.listing.roots, now), ...plan.holds];
    reportHolds(log, this.#holds, holds);
    this.#holds = holds;
    const ending = snapshot.endsSoon(rootOf(trust, trust.signer), now);
    this.#endReported = reportEnd(log, ending, this.#endReported, now);
  }

  /** Keys of deleted roots are destroyed by now, and their roots no longer on record. */
  #hasDestroyed(trust: TrustInForce): boolean {
    const { log, roots } = this.#deps;
    const destroyed = roots.destroyDeleted(trust);
    for (const name of destroyed)
      log.info({ component: "rotation", root: name }, `root ${name} was deleted: its key is destroyed`);
    return destroyed.length > 0;
  }
}
