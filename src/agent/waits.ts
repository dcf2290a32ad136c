import type { BackOff } from "../core/back-off.ts";

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

/** Between two attempts to connect, and two starts of an Envoy that ends. */
export const BACK_OFF: BackOff = { baseMs: 500, mostMs: 30_000 };
