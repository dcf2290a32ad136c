/** Load for the demo and the tests: every request is a connection of its own, so every one is a new TLS handshake. */

import { once } from "node:events";
import { createServer, request } from "node:http";
import type { AddressInfo } from "node:net";
import { latencyHistogram } from "./latency-histogram.ts";

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
  /** The first 20. */
  readonly firstFailures: readonly TrafficFailure[];
  /** Latency of the requests that went well, in milliseconds; 0 while there are none. */
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly targets: readonly { readonly from: string; readonly to: string; requests: number; failures: number }[];
};

export type TrafficOptions = {
  readonly targets: readonly TrafficTarget[];
  /** Requests per second for each target. */
  readonly ratePerTarget: number;
  /** A request with no complete answer by then has failed. */
  readonly timeoutMs: number;
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
 * Sends GETs at a steady rate that does not slow down when answers do (an open loop; a stall of this process is made up
 * for, up to one second). Anything but a complete 200 within `timeoutMs`, from the echo app of the target, is a failure.
 */
export function startTraffic(options: TrafficOptions): Traffic {
  const latencies = latencyHistogram();
  const firstFailures: TrafficFailure[] = [];
  const counts = options.targets.map(({ from, to }) => ({ from, to, requests: 0, failures: 0 }));
  const underWay = new Set<Promise<void>>();

  const sendOne = async (index: number): Promise<void> => {
    const target = options.targets[index];
    const count = counts[index];
    if (target === undefined || count === undefined) return;
    const startedMs = performance.now();
    const error = await get(target, options.timeoutMs);
    count.requests++;
    if (error === undefined) {
      latencies.record(performance.now() - startedMs);
      return;
    }
    count.failures++;
    const failure = { at: Date.now(), from: target.from, to: target.to, text: error };
    if (firstFailures.length < KEPT_FAILURES) firstFailures.push(failure);
    options.onFailure?.(failure);
  };

  const startedMs = performance.now();
  let sent = 0;
  const timer = setInterval(() => {
    const due = Math.floor(((performance.now() - startedMs) * options.ratePerTarget) / 1000) + 1;
    sent = Math.max(sent, due - Math.ceil(options.ratePerTarget));
    for (; sent < due; sent++) {
      for (const index of options.targets.keys()) {
        const one = sendOne(index).finally(() => underWay.delete(one));
        underWay.add(one);
      }
    }
  }, TICK_MS);

  const result = (): TrafficResult => ({
    requests: counts.reduce((sum, count) => sum + count.requests, 0),
    failures: counts.reduce((sum, count) => sum + count.failures, 0),
    firstFailures: [...firstFailures],
    p50Ms: latencies.percentile(0.5),
    p99Ms: latencies.percentile(0.99),
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
