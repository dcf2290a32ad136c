/** A clock that moves when it is told to, with the timers that wait for it. */

import { setImmediate as turn } from "node:timers/promises";
import type { Clock } from "../../src/ports/clock.ts";

export type ManualClock = Clock & {
  /** Puts the time forward by `ms`, timer by timer, and lets what they began come to rest. */
  advance(ms: number): Promise<void>;
  /** Lets everything that needs no time come to rest. */
  rest(): Promise<void>;
};

/** As long as handshakes in memory and certificates take. */
const TURNS = 50;

export function manualClock(start: number): ManualClock {
  let now = start;
  const timers = new Set<{ readonly at: number; readonly callback: () => void }>();
  const rest = async () => {
    for (let count = 0; count < TURNS; count += 1) await turn();
  };
  return {
    now: () => now,
    after(ms, callback) {
      const timer = { at: now + ms, callback };
      timers.add(timer);
      return () => timers.delete(timer);
    },
    rest,
    async advance(ms) {
      const end = now + ms;
      for (;;) {
        const [next] = [...timers].filter(({ at }) => at <= end).sort((a, b) => a.at - b.at);
        if (next === undefined) break;
        timers.delete(next);
        now = Math.max(now, next.at);
        next.callback();
        await rest();
      }
      now = end;
      await rest();
    },
  };
}
