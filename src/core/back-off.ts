/** Pauses between attempts: they grow, and chance keeps those apart who failed together. */

export type BackOff = { readonly baseMs: number; readonly mostMs: number };

/** Full jitter: anything up to a ceiling that doubles with each failure. `random` in [0, 1); at least a tenth of the base, in ms. */
export function pauseAfter(failures: number, { baseMs, mostMs }: BackOff, random: number): number {
  const ceilingMs = Math.min(mostMs, baseMs * 2 ** Math.min(failures - 1, 30));
  return Math.max(baseMs / 10, Math.floor(ceilingMs * random));
}
