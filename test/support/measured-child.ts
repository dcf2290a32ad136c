/** A server in a process of its own that tells what it costs; see measured-server.ts. */

import { monitorEventLoopDelay } from "node:perf_hooks";
import { setTimeout as sleep } from "node:timers/promises";
import { loadConfig } from "../../src/config.ts";
import { createLog } from "../../src/ops/log.ts";
import { encodeValidationContext, SECRET_TYPE_URL } from "../../src/secrets/secret-codec.ts";
import { serve } from "../../src/serve/serve.ts";
import { resourceMap, XdsServer } from "../../src/xds/index.ts";
import { decodeAny } from "../../src/xds/wire.ts";

/** The generic layer (`meshroot/xds`) with one secret for everybody. */
type Generic = { readonly start: "generic"; readonly caPem: string; readonly certPem: string; readonly keyPem: string };

export type Orders =
  /** The whole product, with flags as `loadConfig` takes them. */
  | { readonly start: "product"; readonly flags: Readonly<Record<string, string>> }
  | Generic
  /** Of the generic layer: another content of the one secret. */
  | { readonly push: string }
  | "measure";

export type Cost = {
  /** User and system time of the process since it began, microseconds. */
  readonly cpuUs: number;
  readonly rssBytes: number;
  /** Resident outside V8's heap: code, OpenSSL, HTTP/2, buffers. */
  readonly nativeBytes: number;
  /** After a garbage collection, where the process was started with --expose-gc. */
  readonly heapBytes: number;
  /** Since the last measurement, milliseconds. */
  readonly loopDelay: { readonly p99: number; readonly max: number };
};

const delays = monitorEventLoopDelay({ resolution: 10 });
delays.enable();
let push: (version: string) => void = () => undefined;

process.on("message", (orders: Orders) => void obey(orders).then((answer) => process.send?.(answer)));
process.on("disconnect", () => process.exit(0));

async function obey(orders: Orders): Promise<unknown> {
  if (orders === "measure") return measure();
  if ("push" in orders) {
    push(orders.push);
    return {};
  }
  return orders.start === "product" ? product(orders.flags) : generic(orders);
}

async function product(flags: Readonly<Record<string, string>>): Promise<unknown> {
  const config = loadConfig({ ...flags }, {});
  const log = createLog({ level: config.logLevel, format: "json" });
  const { xdsPort, httpPort } = await serve(config, log, { version: "test" });
  return { xdsPort, httpPort };
}

async function generic(orders: Generic): Promise<unknown> {
  const { caPem, certPem, keyPem } = orders;
  const secrets = resourceMap({ typeUrl: SECRET_TYPE_URL });
  const name = "ROOTCA";
  push = (version) => {
    const bundle = encodeValidationContext({ name, comment: version, trustedCaPem: caPem + certPem });
    secrets.set(new Map([[name, { version, value: decodeAny(bundle).value }]]));
  };
  push("v0");
  const server = new XdsServer<string>({
    credentials: { certificatePem: certPem, privateKeyPem: keyPem, clientCaPem: caPem },
    identify: (certificate) => certificate.subject,
    sources: [secrets],
    streamsPerSecond: 1e6,
  });
  return { xdsPort: await server.listen("127.0.0.1", 0), httpPort: 0 };
}

async function measure(): Promise<Cost> {
  const collect = (globalThis as { gc?: () => void }).gc;
  // What finalizers and sockets let go of is garbage one turn later.
  for (let round = 0; collect !== undefined && round < 4; round++) {
    collect();
    await sleep(20);
  }
  const { user, system } = process.cpuUsage();
  const { rss, heapUsed, heapTotal } = process.memoryUsage();
  const loopDelay = { p99: delays.percentile(99) / 1e6, max: delays.max / 1e6 };
  delays.reset();
  return { cpuUs: user + system, rssBytes: rss, nativeBytes: rss - heapTotal, heapBytes: heapUsed, loopDelay };
}
