/** So many at once, then so many a second: certificates that are issued (evidence.md E15), streams that are opened (R76). */

export type TokenBucket = {
  /** Takes one token if there is one. `now` in milliseconds since the epoch. */
  take(now: number): boolean;
};

export function tokenBucket(limit: { readonly burst: number; readonly perSecond: number }): TokenBucket {
  let tokens = limit.burst;
  let filledAt = Number.NEGATIVE_INFINITY;
  return {
    take(now) {
      // A clock that was set back fills nothing, and loses nothing either.
      const passed = Math.max(0, now - filledAt);
      tokens = Math.min(limit.burst, tokens + (passed / 1000) * limit.perSecond);
      filledAt = now;
      if (tokens < 1) return false;
      tokens -= 1;
      return true;
    },
  };
}
