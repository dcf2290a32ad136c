/** What the controller writes down, tried until it is written, and what is known of the disk meanwhile. */

import { MeshrootError, type Problem } from "../core/errors.ts";
import type { Ledger } from "../core/evidence/ledger-state.ts";
import type { ProviderSpec } from "../core/roots/mesh-root.ts";
import type { TrustInForce } from "../core/roots/trust.ts";
import type { Hold } from "../core/rotation/holds.ts";
import type { Clock } from "../ports/clock.ts";
import type { Log } from "../ports/log.ts";
import type { StateStore } from "../ports/store.ts";
import { RowWriter, saveTrust } from "./durable-state.ts";
import { StoreHealth, watchedStore } from "./store-health.ts";

/** How often a disk that nothing is written to is tried. */
const PROBE_MS = 10_000;

export class Durability {
  readonly rows: RowWriter;
  /** The last save failed, so that nobody knows what is on disk. */
  isTrustUnsaved = false;
  readonly #state: StateStore;
  readonly #health: StoreHealth;
  readonly #clock: Clock;
  readonly #log: Log;
  #probedAt: number;
  #planFault = "";
  /** Of what is stored. Undefined: not known, as after a write that failed. */
  #revision: number | undefined;

  constructor(deps: { state: StateStore; clock: Clock; log: Log }, ledger: Ledger, revision: number) {
    this.#revision = revision;
    this.#health = new StoreHealth(deps.log);
    this.#state = watchedStore(deps.state, this.#health);
    this.rows = new RowWriter(this.#state, ledger);
    this.#clock = deps.clock;
    this.#log = deps.log;
    this.#probedAt = deps.clock.now();
  }

  get problem(): Problem | undefined {
    return this.#health.problem;
  }

  get holds(): Hold[] {
    return this.#health.holds;
  }

  get failures(): number {
    return this.#health.failures;
  }

  /** Returns the revision that this is from now on. */
  async save(trust: TrustInForce, authorities: ReadonlyMap<string, ProviderSpec>): Promise<number> {
    this.isTrustUnsaved = true;
    // What a write that failed has left is this process's own, or as it was: nobody else has led meanwhile.
    this.#revision ??= (await this.#state.trust.read())?.revision;
    try {
      this.#revision = await saveTrust(this.#state, trust, authorities, this.#revision);
    } catch (error) {
      // What somebody else wrote is not to be written over by the next try.
      if (!(error instanceof MeshrootError && error.code === "MR2021")) this.#revision = undefined;
      throw error;
    }
    this.isTrustUnsaved = false;
    return this.#revision;
  }

  /** Rows that could not be written; and the disk, also where nothing has to be written: else a full one is noticed when it is needed. */
  async tryAgain(): Promise<void> {
    await this.rows.retry();
    const now = this.#clock.now();
    if (this.problem === undefined && Math.abs(now - this.#probedAt) < PROBE_MS) return;
    this.#probedAt = now;
    await this.#state.evidence.probe?.().catch(() => undefined);
  }

  /** How a plan ended. What the disk refused is no defect; anything else is, and is said once with its stack. */
  planned(error: unknown): void {
    if (error instanceof MeshrootError && error.code.startsWith("MR2")) {
      this.#health.fail("plan", error);
      return;
    }
    const text = error === undefined ? "" : String(error);
    if (error === undefined) this.#health.succeeded("plan");
    else if (text !== this.#planFault)
      this.#log.error({ component: "rotation", err: error }, "planning failed; the trust in force stays");
    this.#planFault = text;
  }
}
