/** How much load the demo may put on this machine, and what a failed request tells. Pure but for `measure`, which comes in. */

import { MeshrootError } from "../../core/errors.ts";

/** What one rate of requests did for a while. Fields as in `TrafficResult`. */
export type Load = {
  /** As they were sent, all proxies together. */
  readonly requestsPerSecond: number;
  readonly requests: number;
  readonly failures: number;
  /** Failures after Envoy's connect timeout or later. */
  readonly lateFailures: number;
  readonly p99Ms: number;
  readonly stallMs: number;
  /** Says between whom and why. */
  readonly firstFailure?: string;
};

/** `ms`: how long to send. */
export type Measure = (requestsPerSecond: number, ms: number) => Promise<Load>;

/** All proxies together: it does not grow with their number, so what grows is the time until a pair's turn comes again. */
export const REQUESTS_PER_SECOND = 90;
/** Latency and stalls. Requests are lost from Envoy's connect timeout on, which is 1000 ms here. */
const SLOW_MS = 400;
/** Of what was carried, for the rotation has work of its own to do. */
const SAFE_SHARE = 0.5;
const SMALL_LOAD = 25;
const LEVEL_MS = 1_000;
const CONTROL_MS = 4_000;
/** A machine that is busy for a moment is not overloaded. */
const TRIES = 3;

/** The rates of the warm-up, rising: the last leaves room above `wanted`, the first is what any machine should carry. */
export function levels(wanted: number): number[] {
  const rates = [wanted / SAFE_SHARE];
  for (let rate = wanted / SAFE_SHARE; rate > SMALL_LOAD; ) {
    rate /= 2;
    rates.unshift(rate);
  }
  return rates;
}

/**
 * Raises the rate until the machine no longer carries it, or twice `wanted` is reached, and shows with a longer run, the control,
 * that half of what was carried is carried with ease. The rotation is to run at the rate of the control: `wanted` at most. Throws
 * MR6003 when not even a small load is carried, and MR6004 as soon as a request fails that no load explains.
 */
export async function findRate(wanted: number, measure: Measure): Promise<{ carried: number; control: Load }> {
  const run: Measure = async (rate, ms) => explained(await measure(rate, ms));
  const rates = levels(wanted);
  let carried = 0;
  let last: Load | undefined;
  for (const rate of rates) {
    last = await bestOfTries(rate, run);
    if (!isCarried(last)) break;
    carried = rate;
  }
  const smallest = (rates[0] ?? wanted) * SAFE_SHARE;
  for (let rate = carried * SAFE_SHARE; rate >= smallest; rate /= 2) {
    last = await run(rate, CONTROL_MS);
    if (isCarried(last)) return { carried, control: last };
  }
  throw new MeshrootError(
    "MR6003",
    `this machine does not carry the demo: before the rotation, ${figures(last)}`,
    "Nothing was rotated. Take fewer --proxies or a lower --rate, or end what else keeps this machine busy.",
  );
}

async function bestOfTries(rate: number, run: Measure): Promise<Load> {
  let load = await run(rate, LEVEL_MS);
  for (let tries = 1; tries < TRIES && !isCarried(load); tries++) load = await run(rate, LEVEL_MS);
  return load;
}

/** Requests that fail at once are no sign of an overloaded machine. */
function explained(load: Load): Load {
  if (load.failures === load.lateFailures) return load;
  throw new MeshrootError(
    "MR6004",
    `requests fail before the rotation has begun: ${figures(load)}; first ${load.firstFailure}`,
    "They failed at once, which is not what an overloaded machine does. See the Envoys' logs: run it with --keep.",
  );
}

function isCarried(load: Load): boolean {
  return load.requests > 0 && load.failures === 0 && !isSlow(load);
}

function isSlow({ p99Ms, stallMs }: Load): boolean {
  return Math.max(p99Ms, stallMs) > SLOW_MS;
}

function figures(load: Load | undefined): string {
  if (load === undefined) return "nothing was measured";
  const rate = `at ${Number(load.requestsPerSecond.toFixed(1))} requests a second`;
  const slow = `p99 ${load.p99Ms.toFixed(1)} ms, event loop late by up to ${load.stallMs.toFixed(0)} ms`;
  return `${rate} ${load.failures} of ${load.requests} failed, ${slow}`;
}

export type Cause = "none" | "rotation" | "overload" | "unclear";

/**
 * What the failures of a rotation come from, as far as the demo can tell. `refusals`: connections that the Envoys say to have
 * refused meanwhile; undefined when one of them could not be asked. No answer excuses a failure.
 */
export function causeOf(load: Load, refusals: number | undefined): Cause {
  if (load.failures === 0) return "none";
  if (refusals === undefined) return "unclear";
  if (refusals > 0) return "rotation";
  return load.lateFailures === load.failures && isSlow(load) ? "overload" : "unclear";
}
