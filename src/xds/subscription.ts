/**
 * What one stream has asked for, been sent and answered, for one resource type: a pure value, moved on by `step`.
 *
 * It knows the protocol (the R-rules of xds-protocol.md) and which bytes may go out (evidence.md E3); it knows nothing of
 * what a resource means. Invariants: at most one response is unanswered (R22), no name is twice in it (R10), and its nonce
 * was never used before on any stream of this process (R11).
 */

import { answered, settle } from "./subscription-requests.ts";
import { sendNext } from "./subscription-sends.ts";
import type { Input, OfferView, Output, Subscription } from "./subscription-state.ts";

/**
 * `now` in milliseconds since the epoch. The caller acts on the outputs in their order. Only `changed` asks `view` and sends:
 * after a request the caller records what was said, then steps with `changed`, so that an offer knows of every verdict.
 */
export function step(
  state: Subscription,
  input: Input,
  view: OfferView,
  now: number,
): { state: Subscription; outputs: Output[] } {
  const outputs: Output[] = [];
  let next = state;
  if (input.type === "request") next = answered(next, input, outputs);
  if (input.type === "overdue" && next.inFlight !== undefined)
    next = settle(next, next.inFlight, "superseded", undefined, outputs);
  if (input.type === "changed") next = sendNext(next, view, now, outputs);
  return { state: next, outputs };
}
