/** Time, as everything here is given it. */

import type { ClockSpan } from "../core/clock-check.ts";

/** Wall clock in milliseconds since the epoch, and timers. Tests pass their own. */
export type Clock = {
  now(): number;
  /** Calls back once after `ms` milliseconds; the returned function cancels. */
  after(ms: number, callback: () => void): () => void;
  /** Milliseconds of a clock that nobody sets, to check the wall clock by. */
  monotonic?(): number;
  /** What the time may be, where the clock is checked (checked-clock.ts). */
  span?(): ClockSpan;
};
