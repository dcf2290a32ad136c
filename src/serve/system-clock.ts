import type { Clock } from "../ports/clock.ts";

export const systemClock: Clock = {
  now: () => Date.now(),
  after: (ms, callback) => {
    const timer = setTimeout(callback, ms);
    return () => clearTimeout(timer);
  },
};

/** Checked against the process's own clock, which nobody sets. */
export const checkedSystemClock: Clock = { ...systemClock, monotonic: () => performance.now() };
