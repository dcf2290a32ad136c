/** The servers that bench/push.ts measures, each in a process of its own. */

import { execFile, spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { once } from "node:events";
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { homedir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { promisify } from "node:util";
import { DEFAULT_NAMESPACE, DEFAULT_TRUST_DOMAIN } from "../src/core/roots/mesh-root.ts";
import { rootFiles } from "../src/stores/files/root-files.ts";
import { bootstrapFrom } from "../test/support/e2e-server.ts";
import type { Cost } from "../test/support/measured-child.ts";
import { startMeasured } from "../test/support/measured-server.ts";
import { MESH_NAMES } from "../test/support/raw-proxy.ts";
import { root } from "../test/support/roots.ts";
import { makeTestLeaf, makeTestRoot } from "../test/support/test-certificates.ts";
import type { Credential } from "./push-proxies.ts";

export type ServerToMeasure = {
  readonly pid: number;
  readonly xdsPort: number;
  /** Of its metrics; 0: it has none. */
  readonly httpPort: number;
  /** `loopDelay` where there is an event loop. */
  measure(): Promise<Pick<Cost, "cpuUs" | "rssBytes"> & Partial<Pick<Cost, "loopDelay">>>;
  stop(): Promise<void>;
};

export type Target = {
  readonly server: ServerToMeasure;
  readonly credentials: readonly Credential[];
  readonly caPem: string;
  readonly serverName: string;
  /** The first is the bundle that is pushed. */
  readonly names: readonly string[];
  /** Gives every proxy another bundle. Returns when that was asked for. */
  push(round: number): Promise<void>;
};

/** `dir`: for its files; removed afterwards by the caller. */
export type StartTarget = (dir: string, count: number) => Promise<Target>;

/** `meshroot/xds` with one secret for everybody. */
export const generic: StartTarget = async (_dir, count) => {
  const { own, caPem, ...rest } = await certificates(count);
  const server = await startMeasured({ start: "generic", caPem, certPem: own.certPem, keyPem: own.keyPem });
  return { server, caPem, ...rest, push: (round) => server.push(`v${round + 1}`) };
};

/** The same of go-control-plane; needs Go. */
export const peer: StartTarget = async (dir, count) => {
  const { own, caPem, ...rest } = await certificates(count);
  const files = { cert: own.certPem, key: own.keyPem, ca: caPem };
  const flags = Object.entries(files).map(([name, pem]) => [`-${name}`, join(dir, `${name}.pem`), pem] as const);
  for (const [, path, pem] of flags) await writeFile(path, pem);
  // One thread, as it gets one core.
  const env = { ...process.env, GOMAXPROCS: "1" };
  const child = spawn(
    await buildPeer(),
    flags.flatMap(([flag, path]) => [flag, path] as const),
    { env, stdio: ["pipe", "pipe", "inherit"] },
  );
  process.once("exit", () => child.kill("SIGKILL"));
  const ended = once(child, "exit");
  const lines = createInterface(child.stdout)[Symbol.asyncIterator]();
  const answer = async <Answer>(): Promise<Answer> => JSON.parse((await lines.next()).value ?? "{}") as Answer;
  const ask = <Answer>(orders: unknown): Promise<Answer> => {
    child.stdin.write(`${JSON.stringify(orders)}\n`);
    return answer();
  };
  const { xdsPort } = await answer<{ xdsPort: number }>();
  const server = {
    pid: child.pid ?? 0,
    xdsPort,
    httpPort: 0,
    measure: () => ask<{ cpuUs: number; rssBytes: number }>({ measure: true }),
    stop: async () => {
      child.kill("SIGKILL");
      await ended;
    },
  };
  return { server, caPem, ...rest, push: (round) => ask({ push: `v${round + 1}` }) };
};

async function certificates(count: number) {
  const ca = await makeTestRoot("root");
  const serverName = "xds.example";
  const own = await makeTestLeaf(ca, { dns: [serverName] });
  const credentials: Credential[] = [];
  for (let index = 0; index < count; index++) {
    const { certPem, keyPem } = await makeTestLeaf(ca, { uris: [`spiffe://example/sa-${index}`] });
    credentials.push({ id: `proxy-${index}`, certPem, keyPem });
  }
  return { own, caPem: ca.certPem, serverName, credentials, names: ["ROOTCA"] };
}

/** Into the user's cache, by what it is built from. */
async function buildPeer(): Promise<string> {
  const source = join(import.meta.dirname, "peer");
  const hash = createHash("sha256");
  for (const name of ["main.go", "go.mod", "go.sum"]) hash.update(await readFile(join(source, name)));
  const cache = join(process.env.XDG_CACHE_HOME || join(homedir(), ".cache"), "meshroot", "bench-peer");
  await mkdir(cache, { recursive: true });
  const binary = join(cache, hash.digest("hex").slice(0, 16));
  await promisify(execFile)("go", ["build", "-o", binary, "."], { cwd: source });
  return binary;
}

/** `meshroot serve`: a leaf and a bundle for each proxy, all of it on record. */
export const product: StartTarget = async (dir, count) => {
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
