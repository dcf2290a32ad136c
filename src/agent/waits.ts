/** How long an agent waits for what, in milliseconds. */
export type AgentWaits = {
  /** A stream that brings nothing stands once it has lasted so long: a server that refuses does it sooner. */
  readonly standsAfterMs: number;
  /** Between two looks at what Envoy shows, at the longest; the first ones come quicker. */
  readonly pollMs: number;
  /** Envoy reloads within milliseconds; who reads the log need not hear of those. */
  readonly silentMs: number;
  /** A set that was swapped in right behind another can be read half and half once; the second event mends it. */
  readonly refusedAfterMs: number;
};

export const WAITS: AgentWaits = { standsAfterMs: 1_000, pollMs: 1_000, silentMs: 3_000, refusedAfterMs: 2_000 };

/** Pauses between attempts: the first is `minMs`, each is twice the one before, up to `maxMs`. */
export type Backoff = { readonly minMs: number; readonly maxMs: number };

export const BACKOFF: Backoff = { minMs: 500, maxMs: 30_000 };

/** `random` in [0, 1): a pause is shortened by up to a half, so that those who failed together do not come back together. */
export function pauseMs({ minMs, maxMs }: Backoff, failures: number, random: number): number {
  return Math.min(maxMs, minMs * 2 ** failures) * (1 - random / 2);
}
