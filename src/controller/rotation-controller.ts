/**
 * The one loop: something happened -> the ledger knows -> plan -> persist -> publish. All decisions are made in core; this
 * class gives them the time, makes them durable, and tells the streams.
 */

import { MeshrootError, type Problem, raise } from "../core/errors.ts";
import { type LedgerEvent, record } from "../core/evidence/ledger.ts";
import { syncState } from "../core/evidence/ledger-queries.ts";
import type { Ledger } from "../core/evidence/ledger-state.ts";
import type { ServiceIdentity } from "../core/identity.ts";
import type { RootListing } from "../core/roots/mesh-root.ts";
import { checkSet } from "../core/roots/mesh-root-rules.ts";
import { desiredTrust, initialTrust, rootOf, type TrustedRoot, type TrustInForce } from "../core/roots/trust.ts";
import type { GateSettings } from "../core/rotation/gates.ts";
import type { Hold } from "../core/rotation/holds.ts";
import { type GateClock, type Plan, planRotation, wakeAt } from "../core/rotation/rotation-plan.ts";
import type { Clock } from "../ports/clock.ts";
import type { Log } from "../ports/log.ts";
import type { StateStore } from "../ports/store.ts";
import { endWords } from "./assumed-words.ts";
import type { Authorities } from "./authorities.ts";
import { availabilityHolds } from "./availability.ts";
import { clockSpan } from "./checked-clock.ts";
import { Durability } from "./durability.ts";
import { loadLedger, loadTrust, saveTrust } from "./durable-state.ts";
import { firstUnreadable, KnownRoots, roleChanges } from "./known-roots.ts";
import { NamesInUse } from "./names-in-use.ts";
import type { ServiceNames } from "./root-proofs.ts";
import { reportChange, reportEnd, reportHolds } from "./rotation-log.ts";
import { UnknownNames } from "./unknown-names.ts";

export type ControllerDeps = {
  readonly clock: Clock;
  readonly state: StateStore;
  readonly authorities: Authorities;
  readonly settings: GateSettings & { readonly namespace: string };
  readonly log: Log;
  /** Who stands behind services, as far as that is known: names that a root has to carry. */
  readonly services?: () => ReadonlyMap<string, readonly ServiceIdentity[]> | undefined;
};

/** How often time alone is looked at (leaf renewal, absences); gates with a known time wake earlier. */
const TICK_MS = 1_000;
/** A multiple of what looking at one costs. Below 20 proxies nothing waits. */
const PLAN_PAUSE_MS_PER_PROXY = 0.05;

export class RotationController {
  readonly ledger: Ledger;
  readonly #deps: ControllerDeps;
  readonly #disk: Durability;
  #recoveringSince: number | undefined;
  readonly #listeners = new Set<(what: "trust" | "plan") => void>();
  #trust: TrustInForce;
  #decided: TrustInForce | undefined;
  readonly #roots: KnownRoots;
  readonly #unknown: UnknownNames;
  readonly #names: NamesInUse;
  #holds: readonly Hold[] = [];
  #gates: GateClock = {};
  #wanted: (proxy: string, name: string, consumer: "envoy" | "agent") => string | undefined = () => undefined;
  #running = false;
  #again = false;
  #endReported: number | undefined;
  #stopped = false;
  #cancelWake: () => void = () => undefined;

  private constructor(
    deps: ControllerDeps,
    ledger: Ledger,
    trust: TrustInForce,
    roots: KnownRoots,
    names: NamesInUse,
    restarted: boolean,
  ) {
    this.#names = names;
    this.#deps = deps;
    this.ledger = ledger;
    this.#disk = new Durability(deps, ledger);
    this.#trust = trust;
    this.#roots = roots;
    this.#unknown = new UnknownNames(deps.log);
    this.#recoveringSince = restarted ? deps.clock.now() : undefined;
  }

  /**
   * Reads back what is durable, or puts the first trust in force. A new mesh can't start without a root that can sign: throws
   * MR1007 when none is active, MR3002 or MR3003 when it is not valid now, MR3006 to MR3008 or MR1013 when it could not carry the
   * mesh, and what its provider throws. A mesh that has run
   * before starts whatever became of its roots, and says what is wrong.
   */
  static async start(deps: ControllerDeps, listing: RootListing): Promise<RotationController> {
    const { authorities, clock, settings, state } = deps;
    const stored = await loadTrust(state);
    const ledger = await loadLedger(state, clock.now());
    const specs = new Map(Object.entries(stored?.authorities ?? {}));
    const roots = new KnownRoots({ authorities, namespace: settings.namespace, listing, specs });
    const names = new NamesInUse();
    const known = names.of(ledger, deps.services?.(), clock.now(), settings.absentPolicy);
    if (stored !== undefined) {
      await roots.load(stored.trust, known);
      return new RotationController(deps, ledger, stored.trust, roots, names, true).#begin();
    }
    await authorities.load(listing.roots, undefined, known);
    raise(firstUnreadable(listing) ?? checkSet(listing.roots, settings.namespace));
    const trust = initialTrust(desiredTrust(listing.roots, authorities.trusted));
    if (trust === undefined) {
      throw new MeshrootError("MR1007", "no active root can sign", "Give one MeshRootCertificate the role active.");
    }
    raise(authorities.signingProblem(rootOf(trust, trust.signer), clock.now()));
    roots.remember();
    await saveTrust(state, trust, roots.specs);
    return new RotationController(deps, ledger, trust, roots, names, false).#begin();
  }

  /** The trust in force: durable, and so free to be published. */
  get trust(): TrustInForce {
    return this.#trust;
  }

  /** The trust that is being made durable, and will be in force next: who comes back meanwhile did not count for it. */
  get decided(): TrustInForce | undefined {
    return this.#decided;
  }

  get holds(): readonly Hold[] {
    return [...this.#disk.holds, ...this.#holds];
  }

  /** Why nothing can be written down now, and so nothing new be sent; undefined where all is well. */
  get storeProblem(): Problem | undefined {
    return this.#disk.problem;
  }

  get storeFailures(): number {
    return this.#disk.failures;
  }

  get roots(): RootListing {
    return this.#roots.listing;
  }

  /** Roots whose authority is loaded, by name of their MRC. */
  get loadedRoots(): ReadonlyMap<string, TrustedRoot> {
    return this.#deps.authorities.trusted;
  }

  /** Roots whose authority could not be had, and why. */
  get authorityProblems(): readonly (Problem & { readonly root: string })[] {
    return [...this.#deps.authorities.problems.values()];
  }

  /** Why no leaf can be issued, for a readiness probe; undefined where all is well. */
  get signingProblem(): Problem | undefined {
    const signer = rootOf(this.#trust, this.#trust.signer);
    return this.#deps.authorities.signingProblem(signer, this.#deps.clock.now());
  }

  /** MR3009, while the signer is near its end. */
  get signerEndsSoon(): Problem | undefined {
    const signer = rootOf(this.#trust, this.#trust.signer);
    return this.#deps.authorities.endsSoon(signer, this.#deps.clock.now());
  }

  /** The identities that the mesh knows. */
  get names(): ServiceNames {
    const { clock, services, settings } = this.#deps;
    return this.#names.of(this.ledger, services?.(), clock.now(), settings.absentPolicy);
  }

  /** Until when a restart keeps the gates shut at the latest; undefined on the first start. */
  get recoveringSince(): number | undefined {
    return this.#recoveringSince;
  }

  get settleMs(): number {
    return this.#deps.settings.settleMs;
  }

  /** Tells the controller which version each name should be at (E12). */
  setWanted(wanted: (proxy: string, name: string, consumer: "envoy" | "agent") => string | undefined): void {
    this.#wanted = wanted;
  }

  /** Called after every change of the trust in force, and after every plan. Returns the way to end it. */
  subscribe(listener: (what: "trust" | "plan") => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  setRoots(listing: RootListing): void {
    for (const { root, from, to } of roleChanges(this.#roots.listing, listing))
      this.#deps.log.info({ component: "rotation", root, from, to }, `root ${root}: role ${from} -> ${to}`);
    this.#roots.listing = listing;
    this.replan();
  }

  /** Records an event and returns its sequence number. The caller need not wait unless it is a send: see `durable`. */
  observe(event: LedgerEvent): number {
    const seq = record(this.ledger, event);
    if (event.type === "asked") this.#lookAtNames(event.proxy, event.stream);
    if (event.type !== "tick" && event.type !== "asked" && event.type !== "sent") {
      // Said by the store's health, and tried again with the next plan.
      this.#disk.rows.write(event.proxy).catch(() => undefined);
    }
    this.replan();
    return seq;
  }

  /** Resolves when the proxy's row, as it is now, is on disk. A send may be written only then (E7). */
  durable(proxy: string): Promise<void> {
    return this.#disk.rows.write(proxy);
  }

  replan(): void {
    if (this.#running || this.#stopped) {
      this.#again = true;
      return;
    }
    this.#running = true;
    const run = () => {
      this.#run().then(
        () => this.#disk.planned(undefined),
        (error: unknown) => this.#disk.planned(error),
      );
    };
    // One turn later, so that the events of this turn are planned for together. A plan looks at every proxy and they answer one
    // by one, so with many of them it waits for more answers: else a push would cost the square of their number.
    const pauseMs = Math.floor(this.ledger.proxies.size * PLAN_PAUSE_MS_PER_PROXY);
    if (pauseMs === 0) setImmediate(run);
    else this.#deps.clock.after(pauseMs, run);
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    this.#cancelWake();
    await this.#disk.rows.settled();
  }

  #begin(): this {
    this.replan();
    return this;
  }

  async #run(): Promise<void> {
    try {
      let changed = true;
      while (changed && !this.#stopped) {
        this.#again = false;
        await this.#disk.tryAgain();
        await this.#roots.load(this.#trust, this.names);
        changed = await this.#advance();
      }
    } finally {
      this.#running = false;
      this.#wake();
      for (const listener of this.#listeners) listener("plan");
      if (this.#again) this.replan();
    }
  }

  /** One plan, and one change at most. True when another plan may find another change. */
  async #advance(): Promise<boolean> {
    const { clock, log, settings } = this.#deps;
    const now = clock.now();
    if (this.#recoveringSince !== undefined) this.#recoveringSince = Math.min(this.#recoveringSince, now);
    record(this.ledger, { type: "tick", at: now, earliest: clockSpan(clock).earliest });
    this.#noteSynced();
    endWords(this.ledger, this.#trust, (event) => this.observe(event), log);
    const plan = this.#plan(now);
    const holds = [...availabilityHolds(this.#deps.authorities, this.#trust, this.roots.roots, now), ...plan.holds];
    this.#gates = plan.gates;
    reportHolds(log, this.#holds, holds);
    this.#endReported = reportEnd(log, this.signerEndsSoon, this.#endReported, now);
    this.#holds = holds;
    const remembered = this.#roots.remember();
    if (plan.change === undefined) {
      if (remembered || this.#decided !== undefined || this.#disk.isTrustUnsaved)
        await this.#disk.save(this.#trust, this.#roots.specs);
      this.#decided = undefined;
      await this.#destroyDeleted(now);
      return false;
    }
    // A save that fails may have reached the disk nevertheless: what it decided stands beside the trust in force until one succeeds.
    this.#decided = plan.trust;
    await this.#disk.save(plan.trust, this.#roots.specs);
    this.#trust = plan.trust;
    this.#decided = undefined;
    reportChange(log, plan.change, plan.trust.generation, settings.settleMs);
    for (const listener of this.#listeners) listener("trust");
    return true;
  }

  #plan(now: number): Plan {
    return planRotation({
      trust: this.#trust,
      desired: this.#roots.desired(this.#trust, now),
      problem: this.#roots.problem(this.#trust),
      ledger: this.ledger,
      now,
      earliest: clockSpan(this.#deps.clock).earliest,
      settings: this.#deps.settings,
      recoveringSince: this.#recoveringSince,
      gates: this.#gates,
      override: this.#roots.override,
    });
  }

  #noteSynced(): void {
    for (const [proxy, row] of this.ledger.proxies) {
      if (row.sentSinceSynced.size === 0 && row.error === undefined) continue;
      const state = syncState(row, (name, consumer) => this.#wanted(proxy, name, consumer));
      if (state !== "SYNCED") continue;
      if (row.error !== undefined)
        this.#deps.log.info({ component: "rotation", proxy }, `proxy ${proxy} has accepted its secrets again`);
      this.observe({ type: "synced", proxy });
    }
  }

  #lookAtNames(proxy: string, stream: string): void {
    const row = this.ledger.proxies.get(proxy);
    if (row === undefined) return;
    this.#unknown.look(row, stream, (name) => this.#wanted(proxy, name, "envoy") !== undefined);
  }

  async #destroyDeleted(now: number): Promise<void> {
    const destroyed = await this.#roots.destroyDeleted(this.#trust, now);
    for (const name of destroyed) {
      this.#deps.log.info({ component: "rotation", root: name }, `root ${name} was deleted: its key is destroyed`);
    }
    if (destroyed.length > 0) await this.#disk.save(this.#trust, this.#roots.specs);
  }

  #wake(): void {
    this.#cancelWake();
    if (this.#stopped) return;
    const now = this.#deps.clock.now();
    const plan = { trust: this.#trust, holds: this.#holds, gates: this.#gates };
    const at = Math.min(wakeAt(plan, now) ?? now + TICK_MS, now + TICK_MS);
    this.#cancelWake = this.#deps.clock.after(Math.max(1, at - now), () => this.replan());
  }
}
