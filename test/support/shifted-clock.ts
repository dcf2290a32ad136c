/** A server's clock that a test can put forward. Real Envoys don't see it: by less than a certificate's two minutes of back-dating. */

import type { Clock } from "../../src/controller/ports.ts";
import { systemClock } from "../../src/serve/system-clock.ts";

export type ShiftedClock = Clock & { advance(ms: number): void };

export function shiftedClock(): ShiftedClock {
  let shiftMs = 0;
  return {
    now: () => systemClock.now() + shiftMs,
    after: systemClock.after,
    advance: (ms) => {
      shiftMs += ms;
    },
  };
}
