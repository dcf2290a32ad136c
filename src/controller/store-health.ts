/**
 * Whether what is decided can be written down. A disk that is full, broken or read-only stops every send and every change (E7), so it
 * is a hold, one line when it begins and one when it ends, and never a reason to stop trying.
 */

import { MeshrootError, type Problem } from "../core/errors.ts";
import type { Hold } from "../core/rotation/holds.ts";
import type { Log } from "../ports/log.ts";
import type { StateStore } from "../ports/store.ts";

/** What was tried: each has to succeed itself before its failure is over. */
type Attempt = "trust" | "rows" | "probe" | "plan";

export class StoreHealth {
  readonly #log: Log;
  readonly #failed = new Map<Attempt, Problem>();
  failures = 0;

  constructor(log: Log) {
    this.#log = log;
  }

  get problem(): Problem | undefined {
    return this.#failed.values().next().value;
  }

  get holds(): Hold[] {
    const { problem } = this;
    if (problem === undefined) return [];
    const { code, message, hint } = problem;
    const consequence = "nothing new is sent and nothing changes, proxies go on with what they have";
    return [
      {
        gate: "state",
        wants: "write down what is decided",
        root: "",
        reason: "StateNotWritable",
        message: `${code} ${message}; ${consequence}. ${hint}`,
        waitingFor: [],
      },
    ];
  }

  async watch<Value>(attempt: Attempt, doing: () => Promise<Value>): Promise<Value> {
    try {
      const value = await doing();
      this.succeeded(attempt);
      return value;
    } catch (error) {
      this.failures += 1;
      this.fail(attempt, error);
      throw error;
    }
  }

  succeeded(attempt: Attempt): void {
    if (!this.#failed.delete(attempt) || this.#failed.size > 0) return;
    this.#log.warn({ component: "store" }, "the state can be written again: what waited for it goes on");
  }

  fail(attempt: Attempt, error: unknown): void {
    const isFirst = this.#failed.size === 0;
    const known = error instanceof MeshrootError;
    const { code, hint } = known
      ? error
      : { code: "MR2002" as const, hint: "Look at the disk under the data directory." };
    const message = known ? error.message.slice(code.length + 1) : (error as Error).message;
    this.#failed.set(attempt, { code, message, hint });
    if (!isFirst) return;
    const fields = { component: "store", code, hint, ...(known ? {} : { err: error }) };
    this.#log.error(fields, `${code} ${message}; nothing new is sent and nothing changes until it can be written`);
  }
}

/** The same store, with its successes and failures on record. */
export function watchedStore(state: StateStore, health: StoreHealth): StateStore {
  const { trust, evidence } = state;
  const { probe } = evidence;
  return {
    trust: {
      read: trust.read,
      write: (value, expected) => health.watch("trust", () => trust.write(value, expected)),
    },
    evidence: {
      read: evidence.read,
      write: (rows) => health.watch("rows", () => evidence.write(rows)),
      ...(probe === undefined ? {} : { probe: () => health.watch("probe", probe) }),
    },
  };
}
