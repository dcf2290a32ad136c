/** When requests are due, and whose turn it is. Pure: the time comes in. */

/**
 * A steady rate, which does not slow down when answers do. Called with a clock that does not go back, from `startedMs` on, it
 * returns how many requests are due since the last call. What a stalled process could not send is made up for, up to one
 * second's worth.
 */
export function startPace(requestsPerSecond: number, startedMs: number): (nowMs: number) => number {
  let seen = 0;
  return (nowMs) => {
    const due = Math.floor(((nowMs - startedMs) * requestsPerSecond) / 1000) + 1;
    const sinceLast = Math.max(0, due - seen);
    seen += sinceLast;
    return Math.min(sinceLast, Math.ceil(requestsPerSecond));
  };
}

/** Every one to every other. All have been client and server once before one is again, and no pair comes twice. */
export function pairsInTurn(names: readonly string[]): { readonly from: string; readonly to: string }[] {
  return names.flatMap((_, distance) =>
    names.flatMap((from, index) => {
      const to = names[(index + distance) % names.length];
      return to === undefined || distance === 0 ? [] : [{ from, to }];
    }),
  );
}
