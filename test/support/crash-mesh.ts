/** A mesh of light proxies whose server is killed between its writes, and the rotations that it has to survive. */

import assert from "node:assert/strict";
import { join } from "node:path";
import type { TestContext } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { requestBootstrap, serverStatus } from "../../src/access/admin-client.ts";
import { freePorts } from "../../src/cli/demo/free-ports.ts";
import type { MeshStatus } from "../../src/controller/status.ts";
import { DEFAULT_NAMESPACE, type Role } from "../../src/core/roots/mesh-root.ts";
import { rootFiles } from "../../src/stores/files/root-files.ts";
import { allAnsweredBy, diskChecks, proxyChecks, readDisk } from "./crash-checks.ts";
import { type CrashingServer, startCrashingServer } from "./crashing-server.ts";
import { type LightProxy, startLightProxy, type Variant } from "./light-proxy.ts";
import { MESH_NAMES } from "./raw-proxy.ts";
import { root } from "./roots.ts";
import { FIRST, type LogLine, tlsOf } from "./server.ts";

const VARIANTS: readonly Variant[] = ["sotw", "delta", "ads", "deltaAds"];
/** How much faster than the wall the servers' clock runs. */
export const CLOCK_SPEED = 10;
const PATIENCE_MS = 60_000;
const POLL_MS = 10;
/** Changes that wait until every proxy has answered after a restart (E14), by the words of their log lines. */
const GATED = /^(the signer moves|trust shrinks|the xDS server's own certificate moves|xDS clients under)/;

type Condition = (status: MeshStatus) => boolean | Promise<boolean>;

export type CrashMesh = {
  readonly server: CrashingServer;
  readonly proxies: readonly LightProxy[];
  crashes(): number;
  meetings(): number;
  /** Writes the manifest of a passive root. */
  create(name: string): Promise<void>;
  setRole(name: string, role: Role): Promise<void>;
  /** Asks the running server again and again; a minute without a restart is too long. */
  until(what: string, condition: Condition): Promise<void>;
  /** All proxies are SYNCED with leaves of `signer` and bundles of exactly `trusted`. */
  at(trusted: readonly string[], signer: string): (status: MeshStatus) => boolean;
  /** Removes the manifest, after which the CA's key may go; returns the name of its secret. */
  remove(name: string): Promise<string>;
  /** Names the phase, edits, and waits for `condition`; then the disk is checked. */
  step(phase: string, edit: () => Promise<unknown>, condition: Condition): Promise<void>;
  /** New xDS credentials for every proxy, used on new connections. */
  renew(): Promise<void>;
  readDisk(): ReturnType<typeof readDisk>;
  /** No gate was moved by any process before every proxy had answered it (E14). */
  assertAnsweredFirst(): void;
  /** Stops everything; no process may have logged an error. */
  end(): Promise<void>;
};

export type CrashMeshOptions = {
  /** Holds `data`, which is made, and what the test itself notes. */
  readonly dir: string;
  /** See `Orders` of crash-child.ts. */
  readonly depth?: number;
  readonly only?: readonly string[];
  /** As on the command line, by the server's clock; default: so long that only answers open a gate (E14). */
  readonly recoveryWindow?: string;
};

/** A proxy of each protocol, SYNCED under the first root. Everything ends with the test. */
export async function startCrashMesh(t: TestContext, options: CrashMeshOptions): Promise<CrashMesh> {
  const { dir, depth = 1, only, recoveryWindow = "100h" } = options;
  const dataDir = join(dir, "data");
  const ports = await freePorts(3);
  const [xdsPort = 0] = ports;
  const [xds, http, health] = ports.map(String) as [string, string, string];
  const flags = {
    ...{ dataDir, xdsPort: xds, httpPort: http, healthPort: health, logLevel: "debug" },
    ...{ settle: "0s", drainWindow: "0s", recoveryWindow, rootKeyAlgorithm: "ec-p256" },
  };
  const proxies: LightProxy[] = [];
  const disk = diskChecks(dataDir);
  const wire = proxyChecks(proxies);
  const files = rootFiles(join(dataDir, "roots"), DEFAULT_NAMESPACE);
  const server = startCrashingServer(t, {
    ...{ dir, flags, depth, clockSpeed: CLOCK_SPEED },
    ...(only === undefined ? {} : { only }),
    afterCrash: () => disk.check(proxies),
  });
  let refuse: (error: unknown) => void = () => undefined;
  const wrong = new Promise<never>((_resolve, reject) => (refuse = reject));
  wrong.catch(() => undefined);

  const eventually = async (what: string, condition: () => Promise<boolean>): Promise<void> => {
    let deadline = Date.now() + PATIENCE_MS;
    for (let lives = server.lives.length; ; ) {
      // No answer while the server is down.
      const found = condition().catch((error: unknown) =>
        error instanceof assert.AssertionError ? Promise.reject(error) : false,
      );
      if (await Promise.race([found, server.failed, wrong])) return;
      // Each crash is progress.
      if (server.lives.length > lives) deadline = Date.now() + PATIENCE_MS;
      lives = server.lives.length;
      if (Date.now() > deadline)
        throw new Error(
          `never happened: ${what}\n${JSON.stringify(await serverStatus(dataDir).catch(String), null, 1)}`,
        );
      await sleep(POLL_MS);
    }
  };
  const until: CrashMesh["until"] = (what, condition) =>
    eventually(what, async () => {
      const status = await serverStatus(dataDir);
      return status !== undefined && (await condition(status));
    });
  const step: CrashMesh["step"] = async (phase, edit, condition) => {
    server.phase(phase);
    await edit();
    await until(phase, condition);
    // What the proxies accept is on record a moment later, and the next step must not hide its crashes.
    await disk.check(proxies);
  };
  const find = async (name: string) => {
    const found = (await files.list()).roots.find((one) => one.name === name);
    assert.ok(found !== undefined, name);
    return found;
  };
  const at: CrashMesh["at"] = (trusted, signer) => (status) =>
    status.signer === signer &&
    status.trusted.join() === trusted.join() &&
    status.proxies.length === proxies.length &&
    status.proxies.every(
      (one) => one.sync === "SYNCED" && one.signedBy.join() === signer && one.trusts.join() === trusted.join(),
    );
  const credential = async (serviceAccount: string, uuid?: string) => {
    let answer: Awaited<ReturnType<typeof requestBootstrap>>;
    await eventually(`a credential for ${serviceAccount}`, async () => {
      const more = uuid === undefined ? {} : { uuid };
      answer = await requestBootstrap(dataDir, { serviceAccount, namespace: "shop", kind: "sidecar", ...more });
      return answer !== undefined;
    });
    assert.ok(answer !== undefined);
    return answer;
  };
  for (const variant of VARIANTS) {
    const answer = await credential(accountOf(variant));
    const { uuid } = answer.proxy;
    const onSecret = (proxy: LightProxy, held: Parameters<typeof wire.check>[1]) => {
      try {
        wire.check(proxy, held);
      } catch (error) {
        refuse(error);
      }
    };
    proxies.push(
      startLightProxy({
        uuid,
        variant,
        names: MESH_NAMES,
        port: xdsPort,
        tls: tlsOf(answer),
        backoffMs: () => 20,
        onSecret,
      }),
    );
  }
  t.after(() => {
    for (const proxy of proxies) proxy.stop();
  });
  await step("1: old root", async () => undefined, at([FIRST], FIRST));

  return {
    server,
    proxies,
    until,
    step,
    at,
    create: (name) => files.create(root(name, "passive", { createdAt: Date.now() })),
    setRole: async (name, role) => files.setRole(await find(name), role),
    async remove(name) {
      const found = await find(name);
      assert.ok(found.provider.kind === "tresor");
      disk.mayGo(found.provider.secretRef.name);
      await files.remove(found);
      return found.provider.secretRef.name;
    },
    async renew() {
      for (const proxy of proxies)
        proxy.reconnect({ tls: tlsOf(await credential(accountOf(proxy.variant), proxy.uuid)) });
    },
    readDisk: () => readDisk(dataDir),
    crashes: () => server.lives.filter(({ place }) => place !== undefined).length,
    meetings: () => wire.meetings,
    assertAnsweredFirst() {
      for (const { log, startedAt } of server.lives) {
        const first = allAnsweredBy(proxies, startedAt);
        for (const line of log.filter(({ message }) => GATED.test(message)))
          assert.ok(timeOf(line) >= first, `${line.message}: only after every proxy had answered (E14)`);
      }
    },
    async end() {
      await disk.check(proxies);
      await server.stop();
      for (const proxy of proxies) proxy.stop();
      const bad = server.lives.flatMap(({ log }) => log.filter(({ level }) => level === "error" || level === "fatal"));
      assert.deepEqual(bad, []);
    },
  };
}

function accountOf(variant: Variant): string {
  return `sa-${variant.toLowerCase()}`;
}

/** When a log line was written, milliseconds since the epoch, by the wall clock. */
export function timeOf(line: LogLine): number {
  return Date.parse(String(line.time));
}
