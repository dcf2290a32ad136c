/**
 * Calls to one certificate authority, which may be slow, hang or fail: each has a deadline, so many are under way at a time, and
 * after several failures in a row there is a pause, in which one call at a time finds out whether it is over.
 */

import { pauseAfter } from "../core/back-off.ts";
import { type ErrorCode, MeshrootError, type Problem } from "../core/errors.ts";
import type { Clock } from "../ports/clock.ts";

const DEADLINE_MS = 10_000;
const MOST_IN_FLIGHT = 16;
const BREAKS_AFTER = 5;
const PAUSE = { baseMs: 1_000, mostMs: 60_000 };

/** Faults of what was asked for, or of the clock: the authority itself is well. */
const OF_THE_REQUEST: ReadonlySet<ErrorCode> = new Set(["MR3002", "MR3003", "MR3004", "MR3007"]);

export type ProviderCallsDeps = {
  readonly clock: Clock;
  /** In [0, 1). */
  readonly random: () => number;
  /** Whose calls, for people: `root NAME`. */
  readonly who: string;
};

export class ProviderCalls {
  readonly #deps: ProviderCallsDeps;
  #inFlight = 0;
  #failures = 0;
  #last: Problem | undefined;
  #isPausing = false;

  constructor(deps: ProviderCallsDeps) {
    this.#deps = deps;
  }

  /** Why this authority counts as failing; undefined: it does not. */
  get problem(): Problem | undefined {
    return this.#failures >= BREAKS_AFTER ? this.#last : undefined;
  }

  /** Whether a call would be made now. */
  get isReady(): boolean {
    if (this.#failures >= BREAKS_AFTER) return !this.#isPausing && this.#inFlight === 0;
    return this.#inFlight < MOST_IN_FLIGHT;
  }

  /**
   * Rejects with MR3011 when the deadline has passed, at once where `isReady` is false, and else with what `work` throws. The signal
   * ends with the deadline.
   */
  run<Value>(work: (signal: AbortSignal) => Promise<Value>): Promise<Value> {
    if (!this.isReady) return Promise.reject(MeshrootError.from(this.problem ?? tooMany(this.#deps.who)));
    const abort = new AbortController();
    this.#inFlight += 1;
    return new Promise((resolve, reject) => {
      const cancel = this.#deps.clock.after(DEADLINE_MS, () => {
        const late = MeshrootError.from(tooLate(this.#deps.who));
        abort.abort(late);
        this.#failed(late);
        reject(late);
      });
      // Not before it has really ended: what hangs, hangs in a limited number.
      const free = () => {
        this.#inFlight -= 1;
        cancel();
      };
      work(abort.signal).then(
        (value) => {
          free();
          if (!abort.signal.aborted) this.#succeeded();
          resolve(value);
        },
        (error: unknown) => {
          free();
          if (!abort.signal.aborted) this.#failed(error);
          reject(error);
        },
      );
    });
  }

  #succeeded(): void {
    this.#failures = 0;
    this.#last = undefined;
  }

  #failed(error: unknown): void {
    if (error instanceof MeshrootError && OF_THE_REQUEST.has(error.code)) return;
    this.#failures += 1;
    this.#last = problemOf(error, this.#deps.who);
    if (this.#failures < BREAKS_AFTER) return;
    this.#isPausing = true;
    const pauseMs = pauseAfter(this.#failures - BREAKS_AFTER + 1, PAUSE, this.#deps.random());
    this.#deps.clock.after(pauseMs, () => {
      this.#isPausing = false;
    });
  }
}

/** What an authority threw, without the code in front of the message. */
export function problemOf(error: unknown, who: string): Problem {
  if (error instanceof MeshrootError) {
    const { code, hint, message } = error;
    return { code, message: message.slice(code.length + 1), hint };
  }
  const message = `${who}: its certificate authority failed: ${error instanceof Error ? error.message : String(error)}`;
  return { code: "MR3011", message, hint: "The log of the certificate authority may say more; it is tried again." };
}

function tooLate(who: string): Problem {
  return {
    code: "MR3011",
    message: `${who}: its certificate authority has not answered within ${DEADLINE_MS / 1000} s`,
    hint: "Check that it runs and can be reached from here; it is tried again. Rotations between other roots go on.",
  };
}

function tooMany(who: string): Problem {
  return {
    code: "MR3011",
    message: `${who}: its certificate authority is busy with ${MOST_IN_FLIGHT} calls of ours`,
    hint: "It is tried again.",
  };
}
