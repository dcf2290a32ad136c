/** A server's clock that a test can put forward. Real Envoys don't see it: by less than a certificate's two minutes of back-dating. */

import type { Clock } from "../../src/ports/clock.ts";
import { systemClock } from "../../src/serve/system-clock.ts";

export type ShiftedClock = Clock & {
  /** Puts the time forward (ms), and what waits for it with it; back, it leaps. */
  advance(ms: number): void;
  /** Sets it, forward or back, as somebody sets a machine's clock: whatever waits goes on to wait as long. */
  leap(ms: number): void;
  /** How many timers wait. */
  readonly timers: number;
};

type Waiting = { readonly at: number; readonly callback: () => void; cancel: () => void };

export function shiftedClock(): ShiftedClock {
  let shiftMs = 0;
  const waiting = new Set<Waiting>();
  const now = () => systemClock.now() + shiftMs;
  const arm = (one: Waiting, ms: number) => {
    one.cancel = systemClock.after(ms, () => {
      waiting.delete(one);
      one.callback();
    });
  };
  return {
    now,
    after: (ms, callback) => {
      const one = { at: now() + ms, callback, cancel: () => undefined };
      waiting.add(one);
      arm(one, ms);
      return () => {
        one.cancel();
        waiting.delete(one);
      };
    },
    get timers() {
      return waiting.size;
    },
    leap: (ms) => {
      shiftMs += ms;
    },
    advance: (ms) => {
      shiftMs += ms;
      if (ms <= 0) return;
      for (const one of waiting) {
        one.cancel();
        arm(one, Math.max(0, one.at - now()));
      }
    },
  };
}
