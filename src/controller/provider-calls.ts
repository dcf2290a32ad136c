/**
 * Calls to one certificate authority, which may be slow, hang or fail: each has a deadline, so many are under way at a time and others wait for
 * their turn, and after several failures in a row there is a pause, in which one call at a time finds out whether it is over.
 */

import { pauseAfter } from "../core/back-off.ts";
import { type ErrorCode, MeshrootError, type Problem } from "../core/errors.ts";
import type { Clock } from "../ports/clock.ts";

const DEADLINE_MS = 10_000;
const MOST_IN_FLIGHT = 16;
/** As many as are asked for when a mesh comes back all at once (leaf-cache.ts). */
const MANY_WAITING = 100;
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

/** A call that waits for one of the others to end. */
type Waiting = { readonly begin: () => void; readonly refuse: (why: Problem) => void };

export class ProviderCalls {
  readonly #deps: ProviderCallsDeps;
  #inFlight = 0;
  readonly #waiting = new Set<Waiting>();
  #failures = 0;
  #last: Problem | undefined;
  /** While it pauses: ends the pause. */
  #endPause: (() => void) | undefined;

  constructor(deps: ProviderCallsDeps) {
    this.#deps = deps;
  }

  /** Why this authority counts as failing; undefined: it does not. */
  get problem(): Problem | undefined {
    return this.#isBroken ? this.#last : undefined;
  }

  /** Whether it is a good time for a call. */
  get isReady(): boolean {
    return this.#isBroken ? !this.#isAtPeace : this.#waiting.size < MANY_WAITING;
  }

  get #isBroken(): boolean {
    return this.#failures >= BREAKS_AFTER;
  }

  /** It pauses, or one call finds out whether it may go on. */
  get #isAtPeace(): boolean {
    return this.#endPause !== undefined || this.#inFlight > 0;
  }

  /**
   * In its turn: so many are under way at a time. Rejects with MR3011 when the deadline has passed, or when its turn has not come by
   * then, with the last failure at once during the pause after several, and else with what `work` throws. The signal ends with the
   * deadline.
   */
  async run<Value>(work: (signal: AbortSignal) => Promise<Value>, deadlineMs = DEADLINE_MS): Promise<Value> {
    if (this.#isBroken && this.#isAtPeace) throw MeshrootError.from(this.#last ?? tooLate(this.#deps.who, deadlineMs));
    if (this.#inFlight < MOST_IN_FLIGHT) this.#inFlight += 1;
    else await this.#turn();
    return this.#begin(work, deadlineMs);
  }

  /** Resolves when a call has ended and left its place to this one. */
  #turn(): Promise<void> {
    return new Promise((resolve, reject) => {
      const cancel = this.#deps.clock.after(DEADLINE_MS, () => mine.refuse(tooMany(this.#deps.who)));
      const leave = () => {
        cancel();
        this.#waiting.delete(mine);
      };
      const mine: Waiting = {
        begin() {
          leave();
          resolve();
        },
        refuse(why) {
          leave();
          reject(MeshrootError.from(why));
        },
      };
      this.#waiting.add(mine);
    });
  }

  #begin<Value>(work: (signal: AbortSignal) => Promise<Value>, deadlineMs: number): Promise<Value> {
    const abort = new AbortController();
    return new Promise((resolve, reject) => {
      const cancel = this.#deps.clock.after(deadlineMs, () => {
        const late = MeshrootError.from(tooLate(this.#deps.who, deadlineMs));
        abort.abort(late);
        this.#failed(late);
        reject(late);
      });
      // Not before it has really ended: what hangs, hangs in a limited number.
      const free = () => {
        cancel();
        const [next] = this.#waiting;
        if (next === undefined) this.#inFlight -= 1;
        else next.begin();
      };
      work(abort.signal).then(
        (value) => {
          if (!abort.signal.aborted) this.#succeeded();
          free();
          resolve(value);
        },
        (error: unknown) => {
          if (!abort.signal.aborted) this.#failed(error);
          free();
          reject(error);
        },
      );
    });
  }

  #succeeded(): void {
    this.#failures = 0;
    this.#last = undefined;
    this.#endPause?.();
  }

  #failed(error: unknown): void {
    if (error instanceof MeshrootError && OF_THE_REQUEST.has(error.code)) return;
    // Those that were under way when the pause began say nothing new.
    if (this.#endPause !== undefined) return;
    this.#failures += 1;
    const problem = problemOf(error, this.#deps.who);
    this.#last = problem;
    if (!this.#isBroken) return;
    const pauseMs = pauseAfter(this.#failures - BREAKS_AFTER + 1, PAUSE, this.#deps.random());
    const cancel = this.#deps.clock.after(pauseMs, () => this.#endPause?.());
    this.#endPause = () => {
      cancel();
      this.#endPause = undefined;
    };
    for (const waiting of [...this.#waiting]) waiting.refuse(problem);
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

function tooLate(who: string, deadlineMs: number): Problem {
  return {
    code: "MR3011",
    message: `${who}: its certificate authority has not answered within ${deadlineMs / 1000} s`,
    hint: "Check that it runs and can be reached from here; it is tried again. Rotations between other roots go on.",
  };
}

function tooMany(who: string): Problem {
  return {
    code: "MR3011",
    message: `${who}: its certificate authority is busy with ${MOST_IN_FLIGHT} calls of ours, and others wait`,
    hint: "It is tried again.",
  };
}
