/** A clock whose timers can all be ended: what a stopped server waits for must not keep its process alive for minutes. */

import type { Clock } from "../ports/clock.ts";

export type EndingClock = Clock & {
  /** From now on nothing is called any more. */
  end(): void;
};

export function endingClock(clock: Clock): EndingClock {
  const pending = new Set<() => void>();
  let isEnded = false;
  return {
    ...clock,
    after(ms, callback) {
      if (isEnded) return () => undefined;
      const cancel = clock.after(ms, () => {
        pending.delete(cancel);
        callback();
      });
      pending.add(cancel);
      return () => {
        pending.delete(cancel);
        cancel();
      };
    },
    end() {
      isEnded = true;
      for (const cancel of pending) cancel();
      pending.clear();
    },
  };
}
