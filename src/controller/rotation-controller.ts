/**
 * The one loop: something happened -> the ledger knows -> plan -> persist -> publish. All decisions are made in core; this
 * class gives them the time, makes them durable, and tells the streams.
 */

import { MeshrootError, type Problem, raise } from "../core/errors.ts";
import type { GateSettings } from "../core/gates.ts";
import type { Hold, HoldReason } from "../core/holds.ts";
import { type Ledger, type LedgerEvent, record } from "../core/ledger.ts";
import { syncState } from "../core/ledger-queries.ts";
import type { MeshRoot, ProviderSpec, RootListing } from "../core/mesh-root.ts";
import { checkSet } from "../core/mesh-root-rules.ts";
import { type GateClock, type Plan, planRotation, wakeAt } from "../core/rotation-plan.ts";
import { desiredTrust, initialTrust, type RootId, rootOf, type TrustedRoot, type TrustInForce } from "../core/trust.ts";
import type { Authorities } from "./authorities.ts";
import { availabilityHolds, trustableRoots, unusableRoot } from "./availability.ts";
import { loadLedger, loadTrust, RowWriter, saveTrust } from "./durable-state.ts";
import type { Clock, Log, StateStore } from "./ports.ts";

export type ControllerDeps = {
  readonly clock: Clock;
  readonly state: StateStore;
  readonly authorities: Authorities;
  readonly settings: GateSettings & { readonly namespace: string };
  readonly log: Log;
};

/** How often time alone is looked at (leaf renewal, absences); gates with a known time wake earlier. */
const TICK_MS = 1_000;

export class RotationController {
  readonly ledger: Ledger;
  readonly #deps: ControllerDeps;
  readonly #rows: RowWriter;
  readonly #recoveringSince: number | undefined;
  readonly #listeners = new Set<(what: "trust" | "plan") => void>();
  #trust: TrustInForce;
  #specs: Map<string, ProviderSpec>;
  #roots: RootListing;
  #holds: readonly Hold[] = [];
  /** Why the roles can't be followed, by the last plan. */
  #problem: Problem | undefined;
  #gates: GateClock = {};
  #wanted: (proxy: string, name: string, consumer: "envoy" | "agent") => string | undefined = () => undefined;
  #running = false;
  #again = false;
  #stopped = false;
  #cancelWake: () => void = () => undefined;

  private constructor(
    deps: ControllerDeps,
    ledger: Ledger,
    trust: TrustInForce,
    specs: Map<string, ProviderSpec>,
    roots: RootListing,
    restarted: boolean,
  ) {
    this.#deps = deps;
    this.ledger = ledger;
    this.#rows = new RowWriter(deps.state, ledger);
    this.#trust = trust;
    this.#specs = specs;
    this.#roots = roots;
    this.#recoveringSince = restarted ? deps.clock.now() : undefined;
  }

  /**
   * Reads back what is durable, or puts the first trust in force. Throws MR1007 when a new mesh has no active root, and
   * what its provider throws when that root's authority can't be had, and MR3002 or MR3003 when it can't sign; a mesh that has run before starts whatever became
   * of its roots, and says what is wrong.
   */
  static async start(deps: ControllerDeps, roots: RootListing): Promise<RotationController> {
    const stored = await loadTrust(deps.state);
    const ledger = await loadLedger(deps.state, deps.clock.now());
    const specs = new Map(Object.entries(stored?.authorities ?? {}));
    await deps.authorities.load(roots.roots, stored && { specs, trust: stored.trust });
    if (stored !== undefined) return new RotationController(deps, ledger, stored.trust, specs, roots, true).#begin();
    const trust = initialTrust(desiredTrust(roots.roots, deps.authorities.trusted));
    const problem = firstUnreadable(roots) ?? checkSet(roots.roots, deps.settings.namespace);
    if (problem !== undefined || trust === undefined) {
      throw problem === undefined
        ? new MeshrootError("MR1007", "no active root can sign", "Give one MeshRootCertificate the role active.")
        : MeshrootError.from(problem);
    }
    raise(deps.authorities.signingProblem(rootOf(trust, trust.signer), deps.clock.now()));
    const controller = new RotationController(deps, ledger, trust, specs, roots, false);
    controller.#rememberSpecs();
    await saveTrust(deps.state, trust, controller.#specs);
    return controller.#begin();
  }

  /** The trust in force: durable, and so free to be published. */
  get trust(): TrustInForce {
    return this.#trust;
  }

  get holds(): readonly Hold[] {
    return this.#holds;
  }

  get roots(): RootListing {
    return this.#roots;
  }

  /** Roots whose authority is loaded, by name of their MRC. */
  get loadedRoots(): ReadonlyMap<string, TrustedRoot> {
    return this.#deps.authorities.trusted;
  }

  /** Why no leaf can be issued, for a readiness probe; undefined where all is well. */
  get signingProblem(): Problem | undefined {
    const signer = rootOf(this.#trust, this.#trust.signer);
    return this.#deps.authorities.signingProblem(signer, this.#deps.clock.now());
  }

  /** Until when a restart keeps the gates shut at the latest; undefined on the first start. */
  get recoveringSince(): number | undefined {
    return this.#recoveringSince;
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

  setRoots(roots: RootListing): void {
    this.#roots = roots;
    this.replan();
  }

  /** Records an event and returns its sequence number. The caller need not wait unless it is a send: see `durable`. */
  observe(event: LedgerEvent): number {
    const seq = record(this.ledger, event);
    if (event.type !== "tick" && event.type !== "asked" && event.type !== "sent") {
      this.#rows
        .write(event.proxy)
        .catch((error) =>
          this.#deps.log.error({ component: "store", err: error }, "a ledger row could not be written"),
        );
    }
    this.replan();
    return seq;
  }

  /** Resolves when the proxy's row, as it is now, is on disk. A send may be written only then (E7). */
  durable(proxy: string): Promise<void> {
    return this.#rows.write(proxy);
  }

  replan(): void {
    if (this.#running || this.#stopped) {
      this.#again = true;
      return;
    }
    this.#running = true;
    // One turn later, so that the events of this turn are planned for together.
    setImmediate(() => {
      this.#run().catch((error) =>
        this.#deps.log.error({ component: "rotation", err: error }, "planning failed; the trust in force stays"),
      );
    });
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    this.#cancelWake();
    await this.#rows.settled();
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
        const known = { specs: this.#specs, trust: this.#trust };
        await this.#deps.authorities.load([...this.#roots.roots, ...this.#deletedSigner()], known);
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
    const { clock, log, settings, state } = this.#deps;
    const now = clock.now();
    record(this.ledger, { type: "tick", at: now });
    this.#noteSynced();
    const plan = this.#plan(now);
    const holds = [...availabilityHolds(this.#deps.authorities, this.#trust, this.#roots.roots, now), ...plan.holds];
    this.#gates = plan.gates;
    this.#reportHolds(holds);
    this.#holds = holds;
    const remembered = this.#rememberSpecs();
    if (plan.change === undefined) {
      if (remembered) await saveTrust(state, this.#trust, this.#specs);
      await this.#destroyDeleted(now);
      return false;
    }
    const { kind, root, forced } = plan.change;
    await saveTrust(state, plan.trust, this.#specs);
    this.#trust = plan.trust;
    const fields = {
      component: "rotation",
      change: kind,
      root,
      generation: plan.trust.generation,
      settleMs: settings.settleMs,
    };
    if (forced === undefined) log.info(fields, CHANGE_WORDS[kind](root));
    else log.warn({ ...fields, forced }, `${CHANGE_WORDS[kind](root)}: FORCED past the gates: ${forced}`);
    for (const listener of this.#listeners) listener("trust");
    return true;
  }

  #plan(now: number): Plan {
    const { authorities, settings } = this.#deps;
    const { roots } = this.#roots;
    const desired = desiredTrust(roots, trustableRoots(authorities, this.#trust));
    const able = desired.signers.filter((root) => authorities.signingProblem(root, now) === undefined);
    // An incumbent that can't sign stays where no other active root can: moving to none is no way out.
    const signers = able.length > 0 ? able : desired.signers.filter((root) => root.id === this.#trust.signer);
    this.#problem =
      this.#unreadableRoot() ??
      checkSet(roots, settings.namespace) ??
      authorities.changedUnderneath(roots, this.#specs) ??
      unusableRoot(authorities, this.#trust, roots);
    return planRotation({
      trust: this.#trust,
      desired: { ...desired, signers },
      problem: this.#problem,
      ledger: this.ledger,
      now,
      settings,
      recoveringSince: this.#recoveringSince,
      gates: this.#gates,
      override: roots.find((root) => root.role !== "inactive" && root.forceUnsafe !== undefined)?.forceUnsafe,
    });
  }

  /** A manifest that can't be read must not look like a deletion: its root is missing, and nobody said so. */
  #unreadableRoot(): Problem | undefined {
    const { roots } = this.#roots;
    const present = new Set(roots.map((root) => root.name));
    const isMissing = [...this.#specs.keys()].some((name) => !present.has(name));
    return isMissing || roots.length === 0 ? firstUnreadable(this.#roots) : undefined;
  }

  /** Its manifest is gone while it still signs: its key is kept, and found again after a restart. */
  #deletedSigner(): MeshRoot[] {
    const { name, form } = rootOf(this.#trust, this.#trust.signer);
    const provider = this.#specs.get(name);
    if (provider === undefined || this.#roots.roots.some((root) => root.name === name)) return [];
    const { namespace } = this.#deps.settings;
    const { trustDomain, spiffe: spiffeEnabled } = form;
    return [{ name, namespace, role: "inactive", trustDomain, spiffeEnabled, provider, createdAt: 0 }];
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

  #reportHolds(holds: readonly Hold[]): void {
    const known = new Set(this.#holds.map((hold) => hold.gate + hold.reason + hold.message));
    for (const hold of holds) {
      if (known.has(hold.gate + hold.reason + hold.message)) continue;
      const { waitingFor, ...fields } = hold;
      const log = LOUD.has(hold.reason) ? this.#deps.log.warn : this.#deps.log.info;
      log.call(
        this.#deps.log,
        { component: "rotation", ...fields, proxies: waitingFor.length },
        `held: ${hold.wants}: ${hold.message}`,
      );
    }
  }

  #rememberSpecs(): boolean {
    let changed = false;
    for (const root of this.#roots.roots) {
      if (this.#specs.has(root.name) || !this.#deps.authorities.trusted.has(root.name)) continue;
      this.#specs.set(root.name, root.provider);
      changed = true;
    }
    return changed;
  }

  /** Deleting an MRC destroys its CA's key, unless that root still signs (C5). */
  async #destroyDeleted(now: number): Promise<void> {
    // An emptied folder or a broken manifest is no order to destroy keys.
    if (this.#problem !== undefined) return;
    const { authorities, log, state } = this.#deps;
    const inUse: RootId = this.#trust.signer;
    const destroyed = await authorities.destroyDeleted(
      this.#roots.roots,
      this.#specs,
      this.#trust.roots[inUse]?.name,
      now,
    );
    for (const name of destroyed) {
      this.#specs.delete(name);
      log.info({ component: "rotation", root: name }, `root ${name} was deleted: its key is destroyed`);
    }
    if (destroyed.length > 0) await saveTrust(state, this.#trust, this.#specs);
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

function firstUnreadable({ problems: [first] }: RootListing): Problem | undefined {
  return first && { ...first.problem, message: `${first.source}: ${first.problem.message}` };
}

/** Holds that somebody has to do something about. */
const LOUD: ReadonlySet<HoldReason> = new Set(["RolesNotAllowed", "RootNotAvailable", "SignerMissing", "Refused"]);

const CHANGE_WORDS = {
  trust: (root: string) => `trust grows: the mesh now validates with ${root} too`,
  signer: (root: string) => `the signer moves: leaves are now issued under ${root}`,
  distrust: (root: string) => `trust shrinks: ${root} leaves the mesh's bundle`,
  xdsServer: (root: string) => `the xDS server's own certificate moves under ${root}`,
  xdsDistrust: (root: string) => `xDS clients under ${root} are no longer accepted`,
} as const;
