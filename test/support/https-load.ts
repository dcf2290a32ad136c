/** Requests over HTTPS, each on a connection of its own, one after the other until stopped. */

import { request } from "node:https";
import { text } from "node:stream/consumers";
import { setTimeout as sleep } from "node:timers/promises";
import type { TLSSocket } from "node:tls";

export type HttpsAnswer = {
  readonly body: string;
  /** Of the certificate that was shown: lower-case hex without leading zeros. */
  readonly serial: string;
};

export type HttpsLoad = {
  /** The newest answer with status 200. */
  last(): HttpsAnswer | undefined;
  /** So far. */
  readonly failures: readonly string[];
  /** Waits for this many more requests. */
  more(count: number): Promise<void>;
  /** Waits for the one that is under way. May be called again. */
  stop(): Promise<{ readonly requests: number; readonly failures: readonly string[] }>;
};

const PAUSE_MS = 5;

/** `trusted`: certificates that the server may show, PEM. */
export function startHttpsLoad(options: {
  readonly port: number;
  readonly serverName: string;
  readonly trusted: readonly string[];
}): HttpsLoad {
  const failures: string[] = [];
  let requests = 0;
  let last: HttpsAnswer | undefined;
  let isStopped = false;
  const run = async () => {
    while (!isStopped) {
      try {
        last = await get(options);
      } catch (error) {
        failures.push((error as Error).message);
      }
      requests++;
      await sleep(PAUSE_MS);
    }
  };
  const running = run();
  return {
    last: () => last,
    failures,
    more: async (count) => {
      for (const until = requests + count; requests < until; ) await sleep(PAUSE_MS);
    },
    stop: async () => {
      isStopped = true;
      await running;
      return { requests, failures };
    },
  };
}

function get({ port, serverName, trusted }: Parameters<typeof startHttpsLoad>[0]): Promise<HttpsAnswer> {
  return new Promise((resolve, reject) => {
    const outgoing = request(
      { host: "127.0.0.1", port, servername: serverName, ca: [...trusted], agent: false },
      (incoming) => {
        const { serialNumber } = (incoming.socket as TLSSocket).getPeerCertificate();
        const serial = serialNumber.toLowerCase().replace(/^0+/, "");
        text(incoming).then((body) => {
          if (incoming.statusCode === 200) resolve({ body, serial });
          else reject(new Error(`HTTP ${incoming.statusCode}: ${body}`));
        }, reject);
      },
    );
    outgoing.on("error", reject);
    outgoing.end();
  });
}
