/**
 * What a push to every proxy costs, and connecting them: server CPU, time to the last ACK, memory, event-loop delay. The
 * proxies are a process of their own, each with an own mTLS connection; where there is `taskset`, the server has one core and
 * they have another. Prints figures and ratios between the sizes; asserts nothing.
 *
 *   npx -c 'node bench/push.ts'                     the generic layer, then the whole product: 100, 1,000 and 5,000 proxies
 *   npx -c 'node bench/push.ts --proxies 100,500 --server product --rounds 9'
 */

import { execFile, fork } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { parseArgs, promisify } from "node:util";
import { DEFAULT_NAMESPACE, DEFAULT_TRUST_DOMAIN } from "../src/core/mesh-root.ts";
import { rootFiles } from "../src/stores/files/root-files.ts";
import { bootstrapFrom } from "../test/support/e2e-server.ts";
import { issuedLeaves } from "../test/support/issued-leaves.ts";
import type { Cost } from "../test/support/measured-child.ts";
import { type MeasuredServer, startMeasured } from "../test/support/measured-server.ts";
import { MESH_NAMES } from "../test/support/raw-proxy.ts";
import { root } from "../test/support/roots.ts";
import { makeTestLeaf, makeTestRoot } from "../test/support/test-certificates.ts";
import type { Credential, Done, ProxyOrders } from "./push-proxies.ts";

type Target = {
  readonly server: MeasuredServer;
  readonly credentials: readonly Credential[];
  readonly caPem: string;
  readonly serverName: string;
  readonly names: readonly string[];
  /** Gives every proxy another bundle. Returns when that was asked for. */
  push(round: number): Promise<void>;
};
type StartTarget = (dir: string, count: number) => Promise<Target>;

/** Of one size, the middle one of all rounds. */
type Figures = {
  readonly connectMs: number;
  readonly connectCpuUs: number;
  readonly memoryBytes: number;
  readonly lastAckMs: number;
  /** Of one core, with everybody connected and nothing to do. */
  readonly idlePercent: number;
  /** Without what the same time would have cost idle. */
  readonly pushCpuUs: number;
  readonly delayP99Ms: number;
  readonly delayMaxMs: number;
  readonly reconnectMs: number;
  readonly reconnectCpuUs: number;
  readonly reissued: number;
};

/** Until what a server does after the last ACK is done, rows on disk and all. */
const QUIET_MS = 1_500;

const generic: StartTarget = async (_dir, count) => {
  const ca = await makeTestRoot("root");
  const own = await makeTestLeaf(ca, { dns: ["xds.example"] });
  const credentials: Credential[] = [];
  for (let index = 0; index < count; index++) {
    const { certPem, keyPem } = await makeTestLeaf(ca, { uris: [`spiffe://example/sa-${index}`] });
    credentials.push({ id: `proxy-${index}`, certPem, keyPem });
  }
  const orders = { start: "generic", caPem: ca.certPem, certPem: own.certPem, keyPem: own.keyPem } as const;
  const server = await startMeasured(orders);
  const push = (round: number) => server.push(`v${round + 1}`);
  return { server, credentials, caPem: ca.certPem, serverName: "xds.example", names: ["ROOTCA"], push };
};

const product: StartTarget = async (dir, count) => {
  const dataDir = join(dir, "data");
  const ports = { bind: "127.0.0.1", xdsPort: "0", httpPort: "0", healthPort: "0" };
  const flags = { ...ports, dataDir, settle: "0s", logLevel: "error", streamRate: "999999" };
  const server = await startMeasured({ start: "product", flags });
  const credentials: Credential[] = [];
  let last: Awaited<ReturnType<typeof bootstrapFrom>> | undefined;
  for (let index = 0; index < count; index++) {
    const request = { serviceAccount: `sa-${index}`, namespace: "bench", kind: "sidecar" } as const;
    last = await bootstrapFrom(dataDir, request);
    credentials.push({ id: last.proxy.uuid, certPem: last.certPem, keyPem: last.keyPem });
  }
  if (last === undefined) throw new Error("no proxies");
  const files = rootFiles(join(dataDir, "roots"), DEFAULT_NAMESPACE);
  const name = "bench-next";
  const push = async (round: number) => {
    const found = (await files.list()).roots.find((one) => one.name === name);
    const next = { ...root(name, "passive"), namespace: DEFAULT_NAMESPACE, trustDomain: DEFAULT_TRUST_DOMAIN };
    if (found === undefined) await files.create(next);
    else await files.setRole(found, round % 2 === 0 ? "passive" : "inactive");
  };
  const { caPem, serverName } = last;
  return { server, credentials, caPem, serverName, names: MESH_NAMES, push };
};

async function measure(start: StartTarget, count: number, rounds: number): Promise<Figures> {
  const dir = await mkdtemp(join(tmpdir(), "meshroot-bench-"));
  const proxies = fork(join(import.meta.dirname, "push-proxies.ts"), { stdio: "inherit" });
  const ask = async (orders: ProxyOrders): Promise<Done> => {
    proxies.send(orders);
    return (await once(proxies, "message"))[0] as Done;
  };
  let target: Target | undefined;
  try {
    target = await start(dir, count);
    const { server, credentials, caPem, serverName, names } = target;
    await pin(server.pid, 0);
    await pin(proxies.pid ?? 0, 1);
    const file = join(dir, "credentials.json");
    await writeFile(file, JSON.stringify(credentials));
    await ask({ load: file, port: server.xdsPort, caPem, serverName, names });

    const empty = await server.measure();
    const connect = await timed(server, () => ask("connect"));
    // What it costs to be there: sweeps, timers, the meter itself.
    const idle = await timed(server, async () => ({ at: Date.now() }));
    const idleRate = idle.cpuUs / idle.windowMs;
    const pushes: Timed[] = [];
    for (let round = 0; round < rounds; round++) {
      await ask("arm");
      const push = target.push;
      pushes.push(
        await timed(server, async () => {
          await push(round);
          return ask("pushed");
        }),
      );
    }
    const issuedBefore = await issued(server);
    const reconnect = await timed(server, () => ask("reconnect"));
    const middle = (of: (one: Timed) => number) => median(pushes.map(of));
    return {
      connectMs: connect.ms,
      connectCpuUs: connect.cpuUs / count,
      memoryBytes: (connect.cost.rssBytes - empty.rssBytes) / count,
      lastAckMs: middle(({ ms }) => ms),
      idlePercent: idleRate / 10,
      pushCpuUs: middle(({ cpuUs, windowMs }) => cpuUs - idleRate * windowMs) / count,
      delayP99Ms: middle(({ cost }) => cost.loopDelay.p99),
      delayMaxMs: middle(({ cost }) => cost.loopDelay.max),
      reconnectMs: reconnect.ms,
      reconnectCpuUs: reconnect.cpuUs / count,
      reissued: (await issued(server)) - issuedBefore,
    };
  } finally {
    proxies.kill("SIGKILL");
    await target?.server.stop();
    await rm(dir, { recursive: true, force: true });
  }
}

type Timed = { readonly ms: number; readonly cpuUs: number; readonly windowMs: number; readonly cost: Cost };

async function timed(server: MeasuredServer, act: () => Promise<Done>): Promise<Timed> {
  const before = await server.measure();
  const began = Date.now();
  const { at } = await act();
  await sleep(QUIET_MS);
  const cost = await server.measure();
  return { ms: at - began, cpuUs: cost.cpuUs - before.cpuUs, windowMs: Date.now() - began, cost };
}

/** Of the whole process, threads and all; where there is no `taskset`, nothing. */
async function pin(pid: number, core: number): Promise<void> {
  await promisify(execFile)("taskset", ["-apc", String(core), String(pid)]).catch(() => undefined);
}

/** The generic server issues none. */
async function issued(server: MeasuredServer): Promise<number> {
  return server.httpPort === 0 ? 0 : issuedLeaves(server);
}

function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? 0;
}

const ROWS: readonly (readonly [what: string, of: (figures: Figures) => number, unit: string])[] = [
  ["push: server CPU per proxy", ({ pushCpuUs }) => pushCpuUs, "us"],
  ["push: until the last ACK", ({ lastAckMs }) => lastAckMs, "ms"],
  ["push: event-loop delay, p99", ({ delayP99Ms }) => delayP99Ms, "ms"],
  ["push: event-loop delay, longest", ({ delayMaxMs }) => delayMaxMs, "ms"],
  ["idle: share of a core", ({ idlePercent }) => idlePercent, "%"],
  ["memory per proxy", ({ memoryBytes }) => memoryBytes / 1024, "KiB"],
  ["connect: server CPU per proxy", ({ connectCpuUs }) => connectCpuUs, "us"],
  ["connect: until all are served", ({ connectMs }) => connectMs, "ms"],
  ["reconnect: server CPU per proxy", ({ reconnectCpuUs }) => reconnectCpuUs, "us"],
  ["reconnect: until all are served", ({ reconnectMs }) => reconnectMs, "ms"],
  ["reconnect: leaves issued", ({ reissued }) => reissued, ""],
];

function report(title: string, sizes: readonly number[], all: readonly Figures[]): void {
  console.log(`${title.padEnd(34)}${sizes.map((size) => `${size} proxies`.padStart(16)).join("")}      last/first`);
  for (const [what, of, unit] of ROWS) {
    const values = all.map(of);
    const cells = values.map((value) => `${value.toFixed(value < 10 && unit !== "" ? 1 : 0)} ${unit}`.padStart(16));
    const ratio = (values.at(-1) ?? 0) / (values[0] ?? 0);
    console.log(
      `  ${what.padEnd(32)}${cells.join("")}${Number.isFinite(ratio) ? `${ratio.toFixed(1)} x`.padStart(16) : ""}`,
    );
  }
}

const { values } = parseArgs({
  options: {
    proxies: { type: "string", default: "100,1000,5000" },
    server: { type: "string", default: "generic,product" },
    rounds: { type: "string", default: "5" },
  },
});
const sizes = values.proxies.split(",").map(Number);
const servers: Readonly<Record<string, readonly [string, StartTarget]>> = {
  generic: ["meshroot/xds, one shared secret", generic],
  product: ["meshroot serve, leaf and bundle", product],
};
for (const name of values.server.split(",")) {
  const chosen = servers[name];
  if (chosen === undefined) throw new Error(`--server is generic, product or both with a comma, not ${name}`);
  const figures: Figures[] = [];
  for (const size of sizes) figures.push(await measure(chosen[1], size, Number(values.rounds)));
  report(chosen[0], sizes, figures);
}
