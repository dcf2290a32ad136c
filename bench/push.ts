/**
 * What a push to every proxy costs, and connecting them: server CPU, time to the last ACK, memory, event-loop delay. The
 * proxies are a process of their own, each with an own mTLS connection; where there is `taskset`, the server has one core and
 * they have another. Prints figures and ratios, of the sizes and between the servers; asserts nothing.
 *
 *   npx -c 'node bench/push.ts'                     the generic layer, then the whole product: 100, 1,000 and 5,000 proxies
 *   npx -c 'node bench/push.ts --proxies 100,500 --server product --rounds 9'
 *   npx -c 'node bench/push.ts --server peer,generic'    go-control-plane beside the generic layer; needs Go
 */

import { execFile, fork } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { parseArgs, promisify } from "node:util";
import { issuedLeaves } from "../test/support/issued-leaves.ts";
import { median } from "../test/support/median.ts";
import type { Done, ProxyOrders } from "./push-proxies.ts";
import { generic, peer, product, type ServerToMeasure, type StartTarget, type Target } from "./push-servers.ts";

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
      delayP99Ms: middle(({ cost }) => cost.loopDelay?.p99 ?? 0),
      delayMaxMs: middle(({ cost }) => cost.loopDelay?.max ?? 0),
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

type Timed = {
  readonly ms: number;
  readonly cpuUs: number;
  readonly windowMs: number;
  readonly cost: Awaited<ReturnType<ServerToMeasure["measure"]>>;
};

async function timed(server: ServerToMeasure, act: () => Promise<Done>): Promise<Timed> {
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
async function issued(server: ServerToMeasure): Promise<number> {
  return server.httpPort === 0 ? 0 : issuedLeaves(server);
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

function report(title: string, sizes: readonly number[], all: readonly Figures[], baseline?: readonly Figures[]): void {
  const columns = [...sizes.map((size) => `${size} proxies`), sizes.length > 1 ? "last/first" : ""];
  console.log(`${title.padEnd(34)}${columns.map((column) => column.padStart(16)).join("")}`);
  const ratio = (value: number, to: number) => (value > 0 && to > 0 ? `${(value / to).toFixed(2)} x` : "");
  for (const [what, of, unit] of ROWS) {
    const values = all.map(of);
    if (values.every((value) => value === 0) && unit !== "") continue;
    const cells = values.map((value) => `${value.toFixed(value < 10 && unit !== "" ? 1 : 0)} ${unit}`);
    if (sizes.length > 1) cells.push(ratio(values.at(-1) ?? 0, values[0] ?? 0));
    console.log(`  ${what.padEnd(32)}${cells.map((cell) => cell.padStart(16)).join("")}`);
    const ratios = baseline?.map((one, index) => ratio(values[index] ?? 0, of(one))) ?? [];
    if (ratios.some((one) => one !== ""))
      console.log(`    ${"of the first server's".padEnd(30)}${ratios.map((one) => one.padStart(16)).join("")}`);
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
  peer: ["go-control-plane, one shared secret", peer],
  generic: ["meshroot/xds, one shared secret", generic],
  product: ["meshroot serve, leaf and bundle", product],
};
let baseline: readonly Figures[] | undefined;
for (const name of values.server.split(",")) {
  const chosen = servers[name];
  if (chosen === undefined)
    throw new Error(`--server is a list, with commas, of ${Object.keys(servers).join(", ")}; not ${name}`);
  const figures: Figures[] = [];
  for (const size of sizes) figures.push(await measure(chosen[1], size, Number(values.rounds)));
  report(chosen[0], sizes, figures, baseline);
  baseline ??= figures;
}
