/** When the agent connects again: a pure step from how the last connection ended. */

/** How one attempt to be connected ended. */
export type AttemptEnd =
  /** The server ended it with OK, or the folder holds new credentials: either asks for a new connection (C4). */
  | { readonly kind: "renew" }
  | { readonly kind: "failed"; readonly error: Error }
  /** What came could not be dealt with. It comes again with the next connection, and that does not hurry. */
  | { readonly kind: "undigested"; readonly error: Error };

export type AttemptOutcome = {
  readonly end: AttemptEnd;
  /** There was a connection, and the server did not refuse it. */
  readonly stood: boolean;
  /** The server had an answer to something that it sent. */
  readonly answered: boolean;
};

/** `undigested`: the last thing that came was never answered, on that connection or on one since. */
export type Pace = { readonly failures: number; readonly undigested: boolean };

export const FIRST_PACE: Pace = { failures: 0, undigested: false };

/** `pause`: of so many failures in a row; undefined: at once. */
export function paceAfter(
  pace: Pace,
  { end, stood, answered }: AttemptOutcome,
): { readonly pace: Pace; readonly pause: number | undefined } {
  const undigested = end.kind === "undigested" || (pace.undigested && !answered);
  const failures = stood && !undigested ? 0 : pace.failures;
  if (end.kind === "renew" && stood) return { pace: { failures, undigested }, pause: undefined };
  return { pace: { failures: failures + 1, undigested }, pause: failures };
}
