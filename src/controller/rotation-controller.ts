/**
 * The one loop: something happened -> the ledger knows -> plan -> persist -> publish. All decisions are made in core. The leader
 * writes them down, the follower takes them over; this class gives both the time and their turns.
 */

import type { Problem } from "../core/errors.ts";
import { record } from "../core/evidence/ledger.ts";
import type { LedgerEvent } from "../core/evidence/ledger-events.ts";
import { syncState } from "../core/evidence/ledger-queries.ts";
import type { Ledger } from "../core/evidence/ledger-state.ts";
import type { RootListing } from "../core/roots/mesh-root.ts";
import { rootOf, type TrustedRoot, type TrustInForce } from "../core/roots/trust.ts";
import type { Hold } from "../core/rotation/holds.ts";
import { endWords } from "./assumed-words.ts";
import { type Begun, begin, type ControllerDeps } from "./begin.ts";
import { clockSpan } from "./checked-clock.ts";
import { Durability } from "./durability.ts";
import { Follower, type What } from "./follower.ts";
import type { KnownRoots } from "./known-roots.ts";
import { Leader } from "./leader.ts";
import { Listeners } from "./listeners.ts";
import type { NamesInUse } from "./names-in-use.ts";
import { Retirement } from "./retirement.ts";
import type { ServiceNames } from "./root-proofs.ts";
import { UnknownNames } from "./unknown-names.ts";

/** How often time alone is looked at (leaf renewal, absences); gates with a known time wake earlier. */
const TICK_MS = 1_000;
/** A multiple of what looking at one costs. Below 20 proxies nothing waits. */
const PLAN_PAUSE_MS_PER_PROXY = 0.05;

export class RotationController {
  readonly ledger: Ledger;
  readonly #deps: ControllerDeps;
  readonly #disk: Durability;
  readonly #follower: Follower;
  readonly #leader: Leader;
  readonly #leaving = new Listeners<string>();
  readonly #retirement: Retirement;
  readonly #roots: KnownRoots;
  readonly #names: NamesInUse;
  readonly #unknown: UnknownNames;
  #recoveringSince: number | undefined;
  #running = false;
  #planning: Promise<void> = Promise.resolve();
  #again = false;
  #stopped = false;
  #cancelWake: () => void = () => undefined;
  readonly #unsubscribe: () => void;

  private constructor(deps: ControllerDeps, { ledger, trust, revision, roots, names, isRestart }: Begun) {
    this.#deps = deps;
    this.ledger = ledger;
    this.#roots = roots;
    this.#names = names;
    this.#disk = new Durability(deps, ledger, revision);
    this.#follower = new Follower({ trust, revision });
    this.#leader = new Leader({ ...deps, roots, disk: this.#disk });
    this.#unknown = new UnknownNames(deps.log);
    this.#retirement = new Retirement(deps, ledger);
    this.#recoveringSince = isRestart ? deps.clock.now() : undefined;
    this.#unsubscribe = deps.authorities.subscribe(() => this.replan());
  }

  /** Throws what `begin` throws. */
  static async start(deps: ControllerDeps, listing: RootListing): Promise<RotationController> {
    const controller = new RotationController(deps, await begin(deps, listing));
    controller.replan();
    return controller;
  }

  /** The trust in force: durable, and so free to be published. */
  get trust(): TrustInForce {
    return this.#follower.trust;
  }

  /** As `Leader.decided`. */
  get decided(): TrustInForce | undefined {
    return this.#leader.decided;
  }

  get holds(): readonly Hold[] {
    return [...this.#disk.holds, ...this.#leader.holds];
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
    return this.#deps.authorities.snapshot.trusted;
  }

  /** Roots whose authority could not be had, and why. */
  get authorityProblems(): readonly (Problem & { readonly root: string })[] {
    return this.#deps.authorities.snapshot.problems;
  }

  /** Why no leaf can be issued, for a readiness probe; undefined where all is well. */
  get signingProblem(): Problem | undefined {
    return this.#deps.authorities.snapshot.signingProblem(
      rootOf(this.trust, this.trust.signer),
      this.#deps.clock.now(),
    );
  }

  /** MR3009, while the signer is near its end. */
  get signerEndsSoon(): Problem | undefined {
    return this.#deps.authorities.snapshot.endsSoon(rootOf(this.trust, this.trust.signer), this.#deps.clock.now());
  }

  /** The identities that the mesh knows. */
  get names(): ServiceNames {
    const { clock, services, settings } = this.#deps;
    return this.#names.of(this.ledger, services?.(), clock.now(), settings.absentPolicy);
  }

  /** When this process read the ledger back: the recovery window counts from then (E14). Undefined on the first start. */
  get recoveringSince(): number | undefined {
    return this.#recoveringSince;
  }

  get settleMs(): number {
    return this.#deps.settings.settleMs;
  }

  /** Called after every change of the trust in force, and after every plan. Returns the way to end it. */
  subscribe(listener: (what: What) => void): () => void {
    return this.#follower.subscribe(listener);
  }

  /** Called when the row of a proxy has left the ledger: nobody needs what else is kept of it. */
  whenRetired(listener: (proxy: string) => void): void {
    this.#leaving.add(listener);
  }

  setRoots(listing: RootListing): void {
    this.#leader.setRoots(listing);
    this.replan();
  }

  /** Records an event and returns its sequence number. The caller need not wait unless it is a send: see `durable`. */
  observe(event: LedgerEvent): number {
    const seq = record(this.ledger, event);
    if (event.type === "asked") this.#lookAtNames(event.proxy, event.stream);
    if (event.type === "retire" && !this.ledger.proxies.has(event.proxy)) {
      this.#unknown.forget(event.proxy);
      this.#leaving.tell(event.proxy);
    }
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
      this.#planning = this.#run().then(
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

  /** When it resolves, nothing is written any more. */
  async stop(): Promise<void> {
    this.#stopped = true;
    this.#cancelWake();
    this.#unsubscribe();
    await this.#planning;
    await this.#disk.rows.settled();
  }

  async #run(): Promise<void> {
    try {
      let changed = true;
      while (changed && !this.#stopped) {
        this.#again = false;
        await this.#disk.tryAgain();
        if (this.#stopped) return;
        this.#roots.follow(this.trust, this.names);
        this.#record();
        changed = await this.#advance();
      }
    } finally {
      this.#running = false;
      this.#wake();
      if (!this.#stopped) this.#follower.tell("plan");
      if (this.#again) this.replan();
    }
  }

  /** What time and answers have changed in the ledger. */
  #record(): void {
    const { clock, log } = this.#deps;
    const now = clock.now();
    if (this.#recoveringSince !== undefined) this.#recoveringSince = Math.min(this.#recoveringSince, now);
    record(this.ledger, { type: "tick", at: now, earliest: clockSpan(clock).earliest });
    this.#noteSynced();
    endWords(this.ledger, this.trust, (event) => this.observe(event), log);
    this.#retirement.look((event) => this.observe(event));
  }

  /** True when another plan may find another change. */
  async #advance(): Promise<boolean> {
    // A CA that answers in time is planned with; its answer brings the next plan.
    if (this.#deps.authorities.snapshot.isAboutToKnow(this.trust)) return false;
    const { trust } = this;
    const written = await this.#leader.decide(trust, this.ledger, this.#recoveringSince);
    if (written !== undefined) this.#follower.adopt(written);
    return this.trust !== trust;
  }

  #noteSynced(): void {
    const { log, wanted } = this.#deps;
    for (const [proxy, row] of this.ledger.proxies) {
      if (row.session.sentSinceSynced.size === 0 && row.error === undefined) continue;
      const state = syncState(row, (name, consumer) => wanted(this.trust, row, name, consumer));
      if (state !== "SYNCED") continue;
      if (row.error !== undefined)
        log.info({ component: "rotation", proxy }, `proxy ${proxy} has accepted its secrets again`);
      this.observe({ type: "synced", proxy });
    }
  }

  #lookAtNames(proxy: string, stream: string): void {
    const row = this.ledger.proxies.get(proxy);
    if (row === undefined) return;
    this.#unknown.look(row, stream, (name) => this.#deps.wanted(this.trust, row, name, "envoy") !== undefined);
  }

  #wake(): void {
    this.#cancelWake();
    if (this.#stopped) return;
    const now = this.#deps.clock.now();
    const at = Math.min(this.#leader.wakeAt(this.trust, now) ?? now + TICK_MS, now + TICK_MS);
    this.#cancelWake = this.#deps.clock.after(Math.max(1, at - now), () => this.replan());
  }
}
