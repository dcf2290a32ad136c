/** A whole mesh for end-to-end tests: server, Envoys, load, an operator who edits MRC files, and patience. */

import assert from "node:assert/strict";
import { X509Certificate } from "node:crypto";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { TestContext } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { serverStatus } from "../../src/access/admin-client.ts";
import { DemoMesh, type MeshOptions, type MeshProxy } from "../../src/cli/demo/mesh.ts";
import { startTraffic, type Traffic, type TrafficFailure } from "../../src/cli/demo/traffic.ts";
import type { MeshStatus, ProxyStatus } from "../../src/controller/status.ts";
import type { SanForm } from "../../src/core/identity.ts";
import { DEFAULT_NAMESPACE, DEFAULT_TRUST_DOMAIN, type Role } from "../../src/core/roots/mesh-root.ts";
import { listsWholeBundle } from "../../src/envoy/admin.ts";
import type { EnvoyBinary } from "../../src/envoy/binary.ts";
import type { XdsVariant } from "../../src/envoy/secret-sources.ts";
import { createLog } from "../../src/ops/log.ts";
import { type RootFiles, rootFiles } from "../../src/stores/files/root-files.ts";
import { secretFiles } from "../../src/stores/files/secret-files.ts";
import { bootstrapFrom, type ServerSettings, serveHere, type TestServer } from "./e2e-server.ts";
import { loadedRoots } from "./loaded-roots.ts";

/** Names of the first root's MRC and of the one that the tests rotate to. */
export const A = "osm-mesh-root-certificate";
export const B = "root-b";
export const MESH_NAMESPACE = "shop";

/** Far more than any step needs, and less than a CI job's patience. */
const PATIENCE_MS = 60_000;
const POLL_MS = 50;
/** Of a pair, and of all pairs together: the load must not be what breaks the mesh on a machine that has other work to do. */
const REQUESTS_PER_SECOND = 5;
const MOST_REQUESTS_PER_SECOND = 40;
/** Of each pair. */
const LEAST_REQUESTS = 3;
/** A loaded machine is slow, not broken; refused handshakes fail at once. */
const REQUEST_TIMEOUT_MS = 10_000;

export type MeshSetup = {
  readonly envoy: EnvoyBinary;
  readonly names: readonly string[];
  /** Used in turn; default all four. */
  readonly variants?: readonly XdsVariant[];
  /** Started at once; default all of `names`. */
  readonly start?: readonly string[];
  readonly settings?: ServerSettings;
  /** Of each pair of proxies; default 5, and at most 40 of all together. */
  readonly requestsPerSecond?: number;
  /** Of every cluster; default 1000. */
  readonly connectTimeoutMs?: number;
  readonly edit?: MeshOptions["edit"];
  /** An agent beside every Envoy; default none. */
  readonly agents?: boolean;
  /** Default `serveHere`. */
  readonly serve?: (dataDir: string, settings: ServerSettings) => Promise<TestServer>;
};

export type Load = { readonly requests: number; readonly failures: number; readonly list: readonly TrafficFailure[] };

export type E2eMesh = {
  readonly dir: string;
  readonly dataDir: string;
  readonly mesh: DemoMesh;
  readonly server: TestServer;
  readonly roots: Operator;
  /** Through the admin socket. Throws when no server runs. */
  status(): Promise<MeshStatus>;
  statusOf(name: string): Promise<ProxyStatus>;
  /** Asks again until `condition` holds; after a minute fails with `what`, the status and the failed requests. */
  until(what: string, condition: (status: MeshStatus) => boolean | Promise<boolean>): Promise<void>;
  /** Waits for every started proxy to be ready and SYNCED. */
  untilReady(): Promise<void>;
  /** Starts load between all started proxies that have none yet. They have to be ready: an Envoy has its secrets before it listens. */
  startLoad(): void;
  load(): Load;
  /** Ends the load and asserts that there was some, for every pair, that no request failed, and that no generation went back. */
  endLoad(): Promise<Load>;
  /** Waits until every mesh context of every proxy has loaded exactly these roots, and a leaf under `leafRoot`. */
  untilLoaded(trusted: readonly string[], leafRoot: string): Promise<void>;
  /** Root certificates of all MRCs seen so far. */
  knownRoots(): Promise<ReadonlyMap<string, X509Certificate>>;
  /** All that the agents have logged until now. */
  agentLogText(): string;
  uuid(name: string): string;
};

export type Operator = {
  /** A new MRC; its CA is made by Tresor. Default: passive, the first root's trust domain, no SPIFFE. */
  create(name: string, role?: Role, form?: SanForm): Promise<void>;
  setRole(name: string, role: Role, forceUnsafe?: string): Promise<void>;
  remove(name: string): Promise<void>;
};

/** Everything ends with the test. */
export async function startMesh(t: TestContext, setup: MeshSetup): Promise<E2eMesh> {
  const { envoy, names, variants = ["sotw", "delta", "ads", "delta-ads"], settings = {} } = setup;
  const dir = await mkdtemp(join(tmpdir(), "meshroot-e2e-"));
  const dataDir = join(dir, "data");
  const loads: Traffic[] = [];
  const generations: number[] = [];
  const cleanups: (() => Promise<unknown>)[] = [() => rm(dir, { recursive: true, force: true })];
  t.after(async () => {
    for (const cleanup of cleanups.reverse()) await cleanup();
  });
  await mkdir(dataDir);
  await writeFile(join(dataDir, "services.yaml"), DemoMesh.services(MESH_NAMESPACE, names));
  const server = await (setup.serve ?? serveHere)(dataDir, settings);
  cleanups.push(() => server.stop());
  const agentLines: string[] = [];
  const write = (line: string) => void agentLines.push(line);
  const agentLog = createLog({ level: "debug", format: "json", destination: { write } });
  const mesh = await DemoMesh.plan(
    {
      dir,
      envoy: envoy.path,
      namespace: MESH_NAMESPACE,
      xdsPort: server.xdsPort,
      connectTimeoutMs: setup.connectTimeoutMs ?? 1_000,
      variants,
      edit: setup.edit,
      ...(setup.agents === true ? { agentLog } : {}),
      bootstrap: (request) => bootstrapFrom(dataDir, request),
    },
    names,
  );
  cleanups.push(() => mesh.stop());
  cleanups.push(() => Promise.all(loads.map((load) => load.stop())));

  const files = rootFiles(join(dataDir, "roots"), DEFAULT_NAMESPACE);
  const status = async () => {
    const found = await serverStatus(dataDir);
    if (found === undefined) throw new Error("no server runs");
    generations.push(found.generation);
    return found;
  };
  const known = new Map<string, X509Certificate>();
  const knownRoots = async () => {
    const secrets = secretFiles(join(dataDir, "secrets"));
    for (const { name, provider } of (await files.list()).roots) {
      if (known.has(name) || provider.kind !== "tresor") continue;
      const pem = (await secrets.read(provider.secretRef))?.data["ca.crt"];
      if (pem !== undefined) known.set(name, new X509Certificate(pem));
    }
    return known;
  };
  const failures: TrafficFailure[] = [];
  const load = (): Load => {
    const results = loads.map((one) => one.result());
    const total = (what: "requests" | "failures") => results.reduce((sum, result) => sum + result[what], 0);
    return { requests: total("requests"), failures: total("failures"), list: failures };
  };
  const until: E2eMesh["until"] = async (what, condition) => {
    const deadline = Date.now() + PATIENCE_MS;
    let last: unknown;
    for (;;) {
      try {
        const now = await status();
        last = now;
        if (await condition(now)) return;
      } catch (error) {
        // A server that is being restarted, an Envoy that is not up yet.
        last = error;
      }
      if (Date.now() > deadline) {
        const words = last instanceof Error ? String(last.stack) : JSON.stringify(last, null, 1);
        throw new Error(`never happened: ${what}\n${words}\n${JSON.stringify(load())}`);
      }
      await sleep(POLL_MS);
    }
  };
  const loaded = new Set<string>();
  const it: E2eMesh = {
    dir,
    dataDir,
    mesh,
    server,
    roots: operator(files),
    status,
    until,
    load,
    knownRoots,
    agentLogText: () => agentLines.join(""),
    uuid: (name) => proxyOf(mesh, name).uuid,
    statusOf: async (name) => {
      const found = (await status()).proxies.find(({ proxy }) => proxy === proxyOf(mesh, name).uuid);
      if (found === undefined) throw new Error(`the server does not know ${name}`);
      return found;
    },
    untilReady: () =>
      until("every proxy is ready and SYNCED", async ({ proxies }) => {
        const synced = new Set(proxies.flatMap(({ proxy, sync }) => (sync === "SYNCED" ? [proxy] : [])));
        const started = [...mesh.proxies.values()];
        if (!started.every(({ uuid }) => synced.has(uuid))) return false;
        return (await Promise.all(started.map(({ admin }) => admin.ready()))).every(Boolean);
      }),
    startLoad: () => {
      const targets = mesh.targets().filter(({ url, from, to }) => {
        const isNew = !loaded.has(`${from} ${url}`) && mesh.proxies.has(from) && mesh.proxies.has(to);
        loaded.add(`${from} ${url}`);
        return isNew;
      });
      const onFailure = (failure: TrafficFailure) => void failures.push(failure);
      const bounded = Math.min(REQUESTS_PER_SECOND * targets.length, MOST_REQUESTS_PER_SECOND);
      const { requestsPerSecond: ofPair } = setup;
      const requestsPerSecond = ofPair === undefined ? bounded : ofPair * targets.length;
      const options = { requestsPerSecond, timeoutMs: REQUEST_TIMEOUT_MS, onFailure };
      if (targets.length > 0) loads.push(startTraffic({ targets, ...options }));
    },
    endLoad: async () => {
      // Pairs take turns, so that those of the last ones to join may not have had theirs.
      const asked = () =>
        loads.flatMap((one) => one.result().targets).every(({ requests }) => requests >= LEAST_REQUESTS);
      await until("every pair has had its turns", asked);
      const results = await Promise.all(loads.map((one) => one.stop()));
      for (const { from, to, requests } of results.flatMap(({ targets }) => targets))
        assert.ok(requests > 0, `no request from ${from} to ${to}`);
      const total = load();
      assert.ok(total.requests > 0, "there was no traffic");
      assert.deepEqual(generations, generations.toSorted(byNumber), "generations only rise, over restarts too (E1)");
      const why = total.failures === 0 ? "" : await tlsTroubles(mesh, total.list);
      assert.deepEqual(total.list, [], `${total.failures} of ${total.requests} requests failed\n${why}`);
      return total;
    },
    untilLoaded: (trusted, leafRoot) =>
      until(`/certs of every proxy shows ${trusted.join(" and ")} and leaves of ${leafRoot}`, async () => {
        const roots = await knownRoots();
        const all = await Promise.all(
          [...mesh.proxies.values()].map((proxy) => hasLoaded(proxy, trusted, leafRoot, roots)),
        );
        return all.every(Boolean);
      }),
  };
  await Promise.all((setup.start ?? names).map((name) => mesh.start(name)));
  await it.untilReady();
  return it;
}

async function hasLoaded(
  proxy: MeshProxy,
  trusted: readonly string[],
  leafRoot: string,
  roots: ReadonlyMap<string, X509Certificate>,
): Promise<boolean> {
  const [contexts, version] = await Promise.all([loadedRoots(proxy.admin, roots), proxy.admin.version()]);
  const wanted = [...trusted].sort().join();
  const matches = (found: readonly string[]) =>
    // An older Envoy lists the first root of a bundle alone, which is proof of one root and of no more.
    listsWholeBundle(version) ? [...found].sort().join() === wanted : trusted.includes(found[0] ?? "");
  return contexts.length > 1 && contexts.every((one) => matches(one.trusted) && one.leafRoot === leafRoot);
}

/** What the Envoys at both ends of the failed requests have counted: a refused handshake differs from a slow machine. */
async function tlsTroubles(mesh: DemoMesh, failures: readonly TrafficFailure[]): Promise<string> {
  const names = new Set(failures.flatMap(({ from, to }) => [from, to]));
  const troubles = [
    ..."fail_verify connection_error secrets_not_ready connect_timeout connect_fail no_healthy none_healthy".split(" "),
    // Where all of those are 0: how far it came, from the number of connections at each end.
    ..."cx_overflow idle_timeout ssl.handshake downstream_cx_total upstream_cx_total cx_destroy_remote$".split(" "),
  ].join("|");
  const lines = [...names].map(async (name) => {
    const stats = await proxyOf(mesh, name).admin.stats(troubles);
    return [...stats].flatMap(([stat, value]) => (value === 0 ? [] : [`${name}: ${stat}: ${value}`])).join("\n");
  });
  return (await Promise.all(lines)).join("\n");
}

function byNumber(a: number, b: number): number {
  return a - b;
}

export function proxyOf(mesh: DemoMesh, name: string): MeshProxy {
  const proxy = mesh.proxies.get(name);
  if (proxy === undefined) throw new Error(`${name} was never started`);
  return proxy;
}

function operator(files: RootFiles): Operator {
  const byName = async (name: string) => {
    const root = (await files.list()).roots.find((candidate) => candidate.name === name);
    if (root === undefined) throw new Error(`no MRC ${name}`);
    return root;
  };
  return {
    create: (name, role = "passive", form = { trustDomain: DEFAULT_TRUST_DOMAIN, spiffe: false }) =>
      files.create({
        name,
        namespace: DEFAULT_NAMESPACE,
        role,
        trustDomain: form.trustDomain,
        spiffeEnabled: form.spiffe,
        provider: { kind: "tresor", secretRef: { name: `ca-${name}`, namespace: DEFAULT_NAMESPACE } },
        createdAt: Date.now(),
      }),
    setRole: async (name, role, forceUnsafe) =>
      files.setRole(await byName(name), role, forceUnsafe === undefined ? {} : { forceUnsafe }),
    remove: async (name) => files.remove(await byName(name)),
  };
}
