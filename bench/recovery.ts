/**
 * How a mesh comes back after kill -9 of its server: until when every proxy is connected and SYNCED again, and how many
 * certificates that costs. Prints figures and ratios; asserts nothing.
 *
 *   npx -c 'node bench/recovery.ts'                  100 light proxies over real TLS
 *   npx -c 'node bench/recovery.ts --proxies 300'
 *   npx -c 'node bench/recovery.ts --envoys 10'      real Envoys instead
 */

import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { parseArgs } from "node:util";
import { serverStatus } from "../src/access/admin-client.ts";
import { freePorts } from "../src/cli/demo/free-ports.ts";
import { DemoMesh } from "../src/cli/demo/mesh.ts";
import { findEnvoy } from "../src/envoy/binary.ts";
import { bootstrapFrom, type ChildServer, type ServerSettings, spawnServer } from "../test/support/e2e-server.ts";
import { issuedLeaves } from "../test/support/issued-leaves.ts";
import { type LightProxy, startLightProxy, type Variant } from "../test/support/light-proxy.ts";
import { median } from "../test/support/median.ts";
import { MESH_NAMES } from "../test/support/raw-proxy.ts";
import { tlsOf } from "../test/support/server.ts";

const NAMESPACE = "shop";
const POLL_MS = 20;
const CRASHES = 3;

type Clients = { stop(): unknown };
/** Starts `count` proxies with `bootstrapFrom`. */
type Start = (dir: string, dataDir: string, xdsPort: number, count: number) => Promise<Clients>;
type Recovery = {
  readonly serving: number;
  readonly connected: number;
  readonly synced: number;
  readonly issued: number;
};

/** Envoy's for xDS: at random up to 500 ms, doubled after each failure in a row, 30 s at most. */
function envoyBackoffMs(attempt: number): number {
  return Math.random() * Math.min(30_000, 500 * 2 ** attempt);
}

function lightProxies(variants: readonly Variant[]): Start {
  return async (_dir, dataDir, port, count) => {
    const proxies: LightProxy[] = [];
    for (let index = 0; index < count; index++) {
      const answer = await bootstrapFrom(dataDir, {
        serviceAccount: `sa-${index}`,
        namespace: NAMESPACE,
        kind: "sidecar",
      });
      const variant = variants[index % variants.length] ?? "ads";
      const { uuid } = answer.proxy;
      const connection = { port, tls: tlsOf(answer), backoffMs: envoyBackoffMs };
      proxies.push(startLightProxy({ uuid, variant, names: MESH_NAMES, ...connection }));
    }
    return { stop: () => proxies.map((proxy) => proxy.stop()) };
  };
}

const realEnvoys: Start = async (dir, dataDir, xdsPort, count) => {
  const names = Array.from({ length: count }, (_, index) => `sa-${index}`);
  await writeFile(join(dataDir, "services.yaml"), DemoMesh.services(NAMESPACE, names));
  const { path: envoy } = await findEnvoy({ install: false });
  const mesh = await DemoMesh.plan(
    {
      ...{ dir, envoy, namespace: NAMESPACE, xdsPort, connectTimeoutMs: 1_000 },
      variants: ["sotw", "delta", "ads", "delta-ads"],
      bootstrap: (request) => bootstrapFrom(dataDir, request),
    },
    names,
  );
  for (const name of names) await mesh.start(name);
  return mesh;
};

async function measure(title: string, count: number, start: Start): Promise<void> {
  const dir = await mkdtemp(join(tmpdir(), "meshroot-bench-"));
  const dataDir = join(dir, "data");
  const [xdsPort = 0, httpPort = 0, healthPort = 0] = await freePorts(3);
  const settings: ServerSettings = {
    ...{ xdsPort: `${xdsPort}`, httpPort: `${httpPort}`, healthPort: `${healthPort}` },
    logLevel: "warn",
  };
  let server: ChildServer | undefined;
  let clients: Clients | undefined;
  try {
    const began = performance.now();
    server = await spawnServer(dataDir, settings);
    const ownStart = performance.now() - began;
    clients = await start(dir, dataDir, xdsPort, count);
    await allSynced(dataDir, count);
    const first = await issuedLeaves({ httpPort });
    const recoveries: Recovery[] = [];
    for (let crash = 0; crash < CRASHES; crash++) {
      await server.kill();
      const killed = performance.now();
      const starting = spawnServer(dataDir, settings);
      const times = await recovery(dataDir, count, killed);
      server = await starting;
      recoveries.push({ ...times, issued: await issuedLeaves({ httpPort }) });
    }
    report(title, count, ownStart, first, recoveries);
  } finally {
    await clients?.stop();
    await server?.kill();
    await rm(dir, { recursive: true, force: true });
  }
}

async function recovery(dataDir: string, count: number, killed: number) {
  let [serving, connected]: (number | undefined)[] = [];
  for (;;) {
    const status = await serverStatus(dataDir).catch(() => undefined);
    const now = performance.now() - killed;
    if (status !== undefined) {
      serving ??= now;
      const back = status.proxies.filter((one) => one.connected);
      if (back.length === count) connected ??= now;
      if (connected !== undefined && back.filter(({ sync }) => sync === "SYNCED").length === count)
        return { serving, connected, synced: now };
    }
    await sleep(POLL_MS);
  }
}

async function allSynced(dataDir: string, count: number): Promise<void> {
  await recovery(dataDir, count, performance.now());
}

function report(title: string, count: number, ownStart: number, first: number, recoveries: readonly Recovery[]): void {
  const middle = (what: keyof Recovery) => median(recoveries.map((one) => one[what]));
  const seconds = (ms: number) => `${(ms / 1000).toFixed(1)} s`;
  const ratio = (ms: number) => `${(ms / middle("serving")).toFixed(1)} x`;
  console.log(`${title}: ${count} proxies, the middle one of ${recoveries.length} crashes`);
  console.log(`  server serves again   ${seconds(middle("serving"))}  (its first start took ${seconds(ownStart)})`);
  console.log(`  all connected again   ${seconds(middle("connected"))}  ${ratio(middle("connected"))} of that`);
  console.log(`  all SYNCED again      ${seconds(middle("synced"))}  ${ratio(middle("synced"))} of that`);
  console.log(
    `  certificates issued   ${middle("issued")}  ${(middle("issued") / first).toFixed(2)} of the first start's ${first}`,
  );
}

const { values } = parseArgs({ options: { proxies: { type: "string" }, envoys: { type: "string" } } });
if (values.envoys !== undefined) {
  await measure("real Envoys, every protocol", Number(values.envoys), realEnvoys);
} else {
  const count = Number(values.proxies ?? 100);
  await measure("every protocol", count, lightProxies(["sotw", "delta", "ads", "deltaAds"]));
  await measure("SotW over ADS alone", count, lightProxies(["ads"]));
}
