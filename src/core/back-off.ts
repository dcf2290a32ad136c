/** Pauses between attempts: they grow, and chance keeps those apart who failed together. In ms; `random` in [0, 1). */

/** A pause doubles with each failure, from the base to the most. */
export type BackOff = { readonly baseMs: number; readonly mostMs: number };

/** The longest pause after so many failures in a row, one or more. */
export function ceilingAfter(failures: number, { baseMs, mostMs }: BackOff): number {
  return Math.min(mostMs, baseMs * 2 ** (failures - 1));
}

/** Full jitter, for many who ask one and the same: anything up to the ceiling, and at least a tenth of the base. */
export function pauseAfter(failures: number, backOff: BackOff, random: number): number {
  return Math.max(backOff.baseMs / 10, Math.floor(ceilingAfter(failures, backOff) * random));
}

/** Half jitter, for one who is waited for: never less than half of the ceiling. */
export function steadyPauseAfter(failures: number, backOff: BackOff, random: number): number {
  return ceilingAfter(failures, backOff) * (1 - random / 2);
}
