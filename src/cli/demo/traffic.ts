/** Load for the demo and the tests: every request is a connection of its own, so every one is a new TLS handshake. */

import { once } from "node:events";
import { createServer, request } from "node:http";
import type { AddressInfo } from "node:net";
import { latencyHistogram } from "./latency-histogram.ts";
import { startPace } from "./pace.ts";

export type TrafficTarget = { readonly from: string; readonly to: string; readonly url: string };

export type TrafficFailure = {
  /** Milliseconds since the epoch, when the request failed. */
  readonly at: number;
  readonly from: string;
  readonly to: string;
  readonly text: string;
};

export type TrafficResult = {
  /** Requests that ended, well or not. */
  readonly requests: number;
  readonly failures: number;
  /** Those failures among them that took `lateMs` or longer: nobody answered in time, where a refusal comes at once. */
  readonly lateFailures: number;
  /** The first 20. */
  readonly firstFailures: readonly TrafficFailure[];
  /** Latency of the requests that went well, in milliseconds; 0 while there are none. */
  readonly p50Ms: number;
  readonly p99Ms: number;
  /** The longest time that this process was kept from sending, in milliseconds: its own event loop was late by that much. */
  readonly stallMs: number;
  readonly targets: readonly { readonly from: string; readonly to: string; requests: number; failures: number }[];
};

export type TrafficOptions = {
  /** Asked in turn. */
  readonly targets: readonly TrafficTarget[];
  /** To all targets together. */
  readonly requestsPerSecond: number;
  /** A request with no complete answer by then has failed. */
  readonly timeoutMs: number;
  /** By default no failure counts as late. */
  readonly lateMs?: number;
  readonly onFailure?: (failure: TrafficFailure) => void;
};

export type Traffic = {
  /** What happened until now. */
  result(): TrafficResult;
  /** Sends nothing more, waits for the requests that are under way, and counts them. */
  stop(): Promise<TrafficResult>;
};

const KEPT_FAILURES = 20;
const TICK_MS = 5;

/**
 * Sends GETs at the pace of `startPace`, which does not slow down when answers do (an open loop). Anything but a complete 200
 * within `timeoutMs`, from the echo app of the target, is a failure.
 */
export function startTraffic(options: TrafficOptions): Traffic {
  const { targets, requestsPerSecond, timeoutMs, lateMs = Number.POSITIVE_INFINITY } = options;
  const latencies = latencyHistogram();
  const firstFailures: TrafficFailure[] = [];
  const counts = targets.map(({ from, to }) => ({ from, to, requests: 0, failures: 0 }));
  const underWay = new Set<Promise<void>>();
  let lateFailures = 0;
  let stallMs = 0;

  const sendOne = async (index: number): Promise<void> => {
    const target = targets[index];
    const count = counts[index];
    if (target === undefined || count === undefined) return;
    const startedMs = performance.now();
    const error = await get(target, timeoutMs);
    const tookMs = performance.now() - startedMs;
    count.requests++;
    if (error === undefined) {
      latencies.record(tookMs);
      return;
    }
    count.failures++;
    if (tookMs >= lateMs) lateFailures++;
    const failure = { at: Date.now(), from: target.from, to: target.to, text: error };
    if (firstFailures.length < KEPT_FAILURES) firstFailures.push(failure);
    options.onFailure?.(failure);
  };

  let lastMs = performance.now();
  const due = startPace(requestsPerSecond, lastMs);
  let turn = 0;
  const timer = setInterval(() => {
    const nowMs = performance.now();
    stallMs = Math.max(stallMs, nowMs - lastMs - TICK_MS);
    lastMs = nowMs;
    for (let left = due(nowMs); left > 0; left--) {
      const one = sendOne(turn++ % targets.length).finally(() => underWay.delete(one));
      underWay.add(one);
    }
  }, TICK_MS);

  const result = (): TrafficResult => ({
    requests: counts.reduce((sum, count) => sum + count.requests, 0),
    failures: counts.reduce((sum, count) => sum + count.failures, 0),
    lateFailures,
    firstFailures: [...firstFailures],
    p50Ms: latencies.percentile(0.5),
    p99Ms: latencies.percentile(0.99),
    stallMs,
    targets: counts.map((count) => ({ ...count })),
  });
  return {
    result,
    stop: async () => {
      clearInterval(timer);
      await Promise.all(underWay);
      return result();
    },
  };
}

/** Undefined when all went well, else what went wrong. */
function get({ to, url }: TrafficTarget, timeoutMs: number): Promise<string | undefined> {
  return new Promise((resolve) => {
    const judge = (status: number | undefined, body: string) => {
      if (status !== 200) return `HTTP ${status}`;
      return body.startsWith(`${to} `) ? undefined : `not answered by ${to}: ${body.slice(0, 100)}`;
    };
    const fail = (error: NodeJS.ErrnoException) =>
      resolve(error.code === undefined ? error.message : `${error.code}: ${error.message}`);
    const outgoing = request(url, { agent: false, headers: { connection: "close" } });
    const deadline = setTimeout(() => outgoing.destroy(new Error(`no answer within ${timeoutMs} ms`)), timeoutMs);
    outgoing.on("error", fail);
    outgoing.on("close", () => clearTimeout(deadline));
    outgoing.on("response", (incoming) => {
      incoming.on("error", fail);
      let body = "";
      incoming.setEncoding("utf8").on("data", (text: string) => {
        body += text;
      });
      incoming.on("end", () => resolve(judge(incoming.statusCode, body)));
    });
    outgoing.end();
  });
}

export type EchoApp = { readonly port: number; requests(): number; stop(): Promise<void> };

/** The application behind a proxy: answers every request with `NAME METHOD PATH`. On 127.0.0.1, by default on a free port. */
export async function startEchoApp(name: string, port = 0): Promise<EchoApp> {
  let requests = 0;
  const server = createServer((incoming, outgoing) => {
    requests++;
    outgoing.end(`${name} ${incoming.method} ${incoming.url}\n`);
  });
  server.listen(port, "127.0.0.1");
  await once(server, "listening");
  return {
    port: (server.address() as AddressInfo).port,
    requests: () => requests,
    stop: async () => {
      const closed = once(server, "close");
      server.close();
      server.closeAllConnections();
      await closed;
    },
  };
}
