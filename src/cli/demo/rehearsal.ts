/** The load of a demo mesh, before and during its rotation. */

import { setTimeout as sleep } from "node:timers/promises";
import { type Cause, causeOf, findRate, type Load } from "./load.ts";
import type { DemoMesh } from "./mesh.ts";
import { countRefusals } from "./refusals.ts";
import { startTraffic, type TrafficFailure, type TrafficResult } from "./traffic.ts";

/** E11: the demo's connect timeout and its settle time are the same. */
export const CONNECT_TIMEOUT_MS = 1_000;
const REQUEST_TIMEOUT_MS = 5_000;

/** Throws MR6003, MR6004. */
export async function rehearse(
  mesh: DemoMesh,
  wanted: number,
  signal: AbortSignal,
  onRate: (requestsPerSecond: number) => void,
): Promise<{ readonly carried: number; readonly control: Load }> {
  return await findRate(wanted, async (requestsPerSecond, ms) => {
    onRate(requestsPerSecond);
    const traffic = startMeshTraffic(mesh, requestsPerSecond);
    // Stopped by `signal`, too: nothing goes on in the background.
    await sleep(ms, undefined, { signal }).finally(traffic.stop);
    return loadOf(traffic.result(), requestsPerSecond);
  });
}

export type Verdict = {
  readonly load: Load;
  readonly cause: Cause;
  /** Connections that the Envoys say to have refused meanwhile; undefined when one could not be asked. */
  readonly refusals: number | undefined;
  /** How often the pair was asked that was asked least. */
  readonly leastPerPair: number;
  readonly firstFailures: readonly TrafficFailure[];
};

export type RotationLoad = {
  result(): TrafficResult;
  /** Ends the load. */
  stop(): Promise<Verdict>;
};

export async function startRotationLoad(mesh: DemoMesh, requestsPerSecond: number): Promise<RotationLoad> {
  const refusalsNow = () => countRefusals([...mesh.proxies.values()].map(({ admin }) => admin));
  const before = await refusalsNow();
  const traffic = startMeshTraffic(mesh, requestsPerSecond);
  return {
    result: traffic.result,
    stop: async () => {
      const result = await traffic.stop();
      const load = loadOf(result, requestsPerSecond);
      const after = await refusalsNow();
      const refusals = before === undefined || after === undefined ? undefined : after - before;
      const leastPerPair = Math.min(...result.targets.map(({ requests }) => requests));
      return { load, cause: causeOf(load, refusals), refusals, leastPerPair, firstFailures: result.firstFailures };
    },
  };
}

function startMeshTraffic(mesh: DemoMesh, requestsPerSecond: number) {
  const patience = { timeoutMs: REQUEST_TIMEOUT_MS, lateMs: CONNECT_TIMEOUT_MS };
  return startTraffic({ targets: mesh.targets(), requestsPerSecond, ...patience });
}

function loadOf(result: TrafficResult, requestsPerSecond: number): Load {
  const { requests, failures, lateFailures, p99Ms, stallMs, firstFailures } = result;
  const [first] = firstFailures;
  return {
    requestsPerSecond,
    requests,
    failures,
    lateFailures,
    p99Ms,
    stallMs: Math.round(stallMs),
    ...(first === undefined ? {} : { firstFailure: `${first.from} -> ${first.to}: ${first.text}` }),
  };
}
