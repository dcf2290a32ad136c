/** The standalone server in this process, on free ports and a throw-away data directory, with its log at hand. */

import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { TestContext } from "node:test";
import { requestBootstrap } from "../../src/access/admin-client.ts";
import { type Config, loadConfig } from "../../src/config.ts";
import type { MeshRoot } from "../../src/core/roots/mesh-root.ts";
import { createLog } from "../../src/ops/log.ts";
import type { Clock } from "../../src/ports/clock.ts";
import type { BeforeStep, WriteStep } from "../../src/runtime/atomic-write.ts";
import type { BootstrapAnswer } from "../../src/serve/admin-api.ts";
import { type RunningServer, type ServeOptions, serve } from "../../src/serve/serve.ts";
import { type RootFiles, rootFiles } from "../../src/stores/files/root-files.ts";
import { root } from "./roots.ts";
import { shiftedClock } from "./shifted-clock.ts";
import { type ClientTls, type XdsTestClient, xdsClient } from "./xds-client.ts";

export const FIRST = "osm-mesh-root-certificate";
const NAMESPACE = "osm-system";

export type LogLine = Readonly<Record<string, unknown>> & { readonly level: string; readonly message: string };

export type TestServer = {
  readonly config: Config;
  readonly roots: RootFiles;
  /** Replaced by `start`. */
  readonly running: RunningServer;
  /** Puts the server's clock forward (ms), with the timers that wait for it, or back. TLS itself takes no part. */
  shiftClock(ms: number): void;
  /** How many timers of the server wait for its clock. */
  readonly timers: number;
  /** From the next start on, the server checks its clock as it does outside of tests, so that to shift it is a leap. */
  checkClock(): void;
  /** The server's disk from now on: what `fault` returns for a step that changes it, that step throws. Undefined: it is well. */
  failDisk(fault: ((step: WriteStep, path: string) => Error | undefined) | undefined): void;
  /** Since the first start. */
  readonly log: readonly LogLine[];
  start(): Promise<RunningServer>;
  /** A new xDS credential for `sa.ns`, asked for as the command line does it. */
  credential(identity: string): Promise<BootstrapAnswer>;
  /** The same for a proxy that there is. */
  credentialFor(uuid: string, identity: string): Promise<BootstrapAnswer>;
  /** Connected lazily, to the xDS port unless said otherwise; closed by the test. */
  client(tls: BootstrapAnswer | ClientTls, port?: number): XdsTestClient;
  /** A root that the old one will be rotated to, beginning as passive. */
  createRoot(name: string, more?: { readonly trustDomain?: string }): Promise<void>;
  /** Resolves when the server has planned again, once with all that happened before. */
  replanned(): Promise<void>;
  setRole(name: string, role: "active" | "passive" | "inactive"): Promise<void>;
  removeRoot(name: string): Promise<void>;
  /** The first log line whose message matches; waits for it. */
  logged(message: RegExp): Promise<LogLine>;
  http(path: string): Promise<{ readonly status: number; readonly text: string; readonly type: string | null }>;
};

/** Flags as on the command line, without the dashes and in camel case. */
export type ServerFlags = Readonly<Record<string, string | boolean>>;

/** Settings that make a server quick to test; nothing else differs from the defaults. */
const QUICK = {
  bind: "127.0.0.1",
  xdsPort: "0",
  httpPort: "0",
  healthPort: "0",
  settle: "0s",
  drainWindow: "0s",
  rootKeyAlgorithm: "ec-p256",
};

/**
 * Not started yet: for tests that prepare the data directory, or expect the start to fail. `beyond`: what no flag allows, so
 * that what takes hours comes within the patience of a test.
 */
export async function prepareServer(
  t: TestContext,
  flags: ServerFlags = {},
  beyond: Partial<Config> = {},
  more: Pick<ServeOptions, "providers"> = {},
): Promise<TestServer> {
  const parent = await mkdtemp(join(tmpdir(), "meshroot-test-"));
  const dataDir = typeof flags.dataDir === "string" ? flags.dataDir : join(parent, "data");
  const config = { ...loadConfig({ ...QUICK, dataDir, ...flags }, {}), ...beyond };
  const lines: LogLine[] = [];
  const write = (text: string) => void lines.push(JSON.parse(text) as LogLine);
  const log = createLog({ level: "debug", format: "json", destination: { write } });
  const roots = rootFiles(join(dataDir, "roots"), NAMESPACE);
  const shifted = shiftedClock();
  let clock: Clock = shifted;
  let diskFault: ((step: WriteStep, path: string) => Error | undefined) | undefined;
  const beforeStep: BeforeStep = (step, path) => {
    const error = diskFault?.(step, path);
    if (error !== undefined) throw error;
  };
  let running: RunningServer | undefined;
  const clients: XdsTestClient[] = [];
  // One hook, because their order matters: node:test runs hooks in the order in which they were registered.
  t.after(async () => {
    for (const client of clients) client.close();
    await running?.stop();
    await rm(parent, { recursive: true, force: true });
  });

  const existing = async (name: string) => {
    const found = (await roots.list()).roots.find((one) => one.name === name);
    if (found === undefined) throw new Error(`no root ${name}`);
    return found;
  };
  const credential = async (identity: string, uuid?: string) => {
    const [serviceAccount = "", namespace = ""] = identity.split(".");
    const answer = await requestBootstrap(dataDir, { serviceAccount, namespace, kind: "sidecar", uuid });
    if (answer === undefined) throw new Error("no server answers");
    return answer;
  };
  const started = (): RunningServer => {
    if (running === undefined) throw new Error("start() the server first");
    return running;
  };

  return {
    config,
    roots,
    log: lines,
    get running() {
      return started();
    },
    shiftClock(ms) {
      if (clock === shifted) shifted.advance(ms);
      else shifted.leap(ms);
    },
    failDisk(fault) {
      diskFault = fault;
    },
    get timers() {
      return shifted.timers;
    },
    checkClock() {
      clock = { ...shifted, monotonic: () => performance.now() };
    },
    async start() {
      running = await serve(config, log, { version: "1.2.3-test", clock, beforeStep, ...more });
      return running;
    },
    credential: (identity) => credential(identity),
    credentialFor: (uuid, identity) => credential(identity, uuid),
    client(tls, port = started().xdsPort) {
      const client = xdsClient(port, "certPem" in tls ? tlsOf(tls) : tls);
      clients.push(client);
      return client;
    },
    async createRoot(name, { trustDomain = "cluster.local" } = {}) {
      await roots.create({ ...rootNamed(name), trustDomain });
    },
    async replanned() {
      // An inactive root changes nothing, but its CA is made at the beginning of a plan. The second one's plan began after
      // the first one's had ended.
      for (const name of [`probe-${lines.length}`, `probe-${lines.length}-2`]) {
        await roots.create({ ...rootNamed(name), role: "inactive" });
        await until("the server has seen a new root", () =>
          started()
            .status()
            .roots.some((one) => one.name === name),
        );
      }
    },
    setRole: async (name, role) => roots.setRole(await existing(name), role),
    removeRoot: async (name) => roots.remove(await existing(name)),
    async logged(message) {
      const find = () => lines.find((line) => message.test(line.message));
      await until(`a log line ${message}`, () => find() !== undefined);
      return find() as LogLine;
    },
    async http(path) {
      const response = await fetch(`http://127.0.0.1:${started().httpPort}${path}`, { redirect: "manual" });
      return { status: response.status, text: await response.text(), type: response.headers.get("content-type") };
    },
  };
}

export async function startServer(t: TestContext, flags: ServerFlags = {}): Promise<TestServer> {
  const server = await prepareServer(t, flags);
  await server.start();
  return server;
}

function rootNamed(name: string): MeshRoot {
  return root(name, "passive", { createdAt: Date.now() });
}

export function tlsOf({ caPem, certPem, keyPem, serverName }: BootstrapAnswer): ClientTls {
  return { ca: caPem, certificate: certPem, key: keyPem, serverName };
}

/** Asks again until `condition` holds; far longer than any machine needs, because only a failing test waits it out. */
export async function until(what: string, condition: () => unknown, timeoutMs = 30_000): Promise<void> {
  const deadline = Date.now() + timeoutMs;
  while (!(await condition())) {
    if (Date.now() > deadline) throw new Error(`never happened: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}
