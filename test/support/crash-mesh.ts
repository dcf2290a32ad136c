/** A mesh of light proxies whose server is killed between its writes, and the rotations that it has to survive. */

import assert from "node:assert/strict";
import { join } from "node:path";
import type { TestContext } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { requestBootstrap, serverStatus } from "../../src/cli/admin-client.ts";
import { freePorts } from "../../src/cli/demo/free-ports.ts";
import type { MeshStatus } from "../../src/controller/status.ts";
import { DEFAULT_NAMESPACE, type Role } from "../../src/core/mesh-root.ts";
import { rootFiles } from "../../src/stores/files/root-files.ts";
import { allAnsweredBy, diskChecks, proxyChecks, readDisk } from "./crash-checks.ts";
import { type CrashingServer, startCrashingServer } from "./crashing-server.ts";
import { type LightProxy, startLightProxy, type Variant } from "./light-proxy.ts";
import { MESH_NAMES } from "./raw-proxy.ts";
import { root } from "./roots.ts";
import { FIRST, tlsOf } from "./server.ts";

const VARIANTS: readonly Variant[] = ["sotw", "delta", "ads", "deltaAds"];
const PATIENCE_MS = 60_000;
const POLL_MS = 10;
/** Changes that wait until every proxy has answered after a restart (E14), by the words of their log lines. */
const GATED = /^(the signer moves|trust shrinks|the xDS server's own certificate moves|xDS clients under)/;

export type CrashMesh = {
  readonly server: CrashingServer;
  readonly proxies: readonly LightProxy[];
  crashes(): number;
  meetings(): number;
  /** Steps 1 to 6 to a new root, then new credentials for everybody. */
  walkForward(): Promise<void>;
  /** To step 4 of a rotation to a new root, and back again. */
  walkBack(): Promise<void>;
  /** Stops everything and checks the logs of all processes. */
  end(): Promise<void>;
};

export async function startCrashMesh(
  t: TestContext,
  { dir, depth }: { dir: string; depth: number },
): Promise<CrashMesh> {
  const dataDir = join(dir, "data");
  const ports = await freePorts(3);
  const [xdsPort = 0] = ports;
  const [xds, http, health] = ports.map(String) as [string, string, string];
  const flags = {
    ...{ dataDir, xdsPort: xds, httpPort: http, healthPort: health, logLevel: "debug" },
    ...{ settle: "0s", recoveryWindow: "100h", rootKeyAlgorithm: "ec-p256" },
  };
  const proxies: LightProxy[] = [];
  const disk = diskChecks(dataDir);
  const wire = proxyChecks(proxies);
  const files = rootFiles(join(dataDir, "roots"), DEFAULT_NAMESPACE);
  const server = startCrashingServer(t, { dir, flags, depth, clockSpeed: 10, afterCrash: () => disk.check(proxies) });
  let refuse: (error: unknown) => void = () => undefined;
  const wrong = new Promise<never>((_resolve, reject) => (refuse = reject));
  wrong.catch(() => undefined);

  const until = async (what: string, condition: () => Promise<boolean>): Promise<void> => {
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
  const step = async (
    name: string,
    edit: () => Promise<void>,
    condition: (status: MeshStatus) => boolean | Promise<boolean>,
  ) => {
    server.phase(name);
    await edit();
    await until(name, async () => {
      const status = await serverStatus(dataDir);
      return status !== undefined && (await condition(status));
    });
    // What the proxies accept is on record a moment later, and the next step must not hide its crashes.
    await disk.check(proxies);
  };
  const setRole = async (name: string, role: Role) => {
    const found = (await files.list()).roots.find((one) => one.name === name);
    assert.ok(found !== undefined, name);
    await files.setRole(found, role);
  };
  const at = (trusted: readonly string[], signer: string) => (status: MeshStatus) =>
    status.signer === signer &&
    status.trusted.join() === trusted.join() &&
    status.proxies.length === proxies.length &&
    status.proxies.every(
      (one) => one.sync === "SYNCED" && one.signedBy.join() === signer && one.trusts.join() === trusted.join(),
    );
  const remove = async (name: string, walk: string, trusted: string) => {
    const found = (await files.list()).roots.find((one) => one.name === name);
    assert.ok(found?.provider.kind === "tresor");
    const { secretRef } = found.provider;
    disk.mayGo(secretRef.name);
    await step(
      `${walk} 6: removed`,
      () => files.remove(found),
      async (status) => {
        const { trust, secrets } = await readDisk(dataDir);
        return at([trusted], trusted)(status) && !secrets.has(secretRef.name) && trust?.authorities[name] === undefined;
      },
    );
  };
  const credential = async (serviceAccount: string, uuid?: string) => {
    let answer: Awaited<ReturnType<typeof requestBootstrap>>;
    await until(`a credential for ${serviceAccount}`, async () => {
      const more = uuid === undefined ? {} : { uuid };
      answer = await requestBootstrap(dataDir, { serviceAccount, namespace: "shop", kind: "sidecar", ...more });
      return answer !== undefined;
    });
    assert.ok(answer !== undefined);
    return answer;
  };
  let current = FIRST;
  let made = 0;
  const grow = async (walk: string, old: string, next: string) => {
    await step(
      `${walk} 2: passive`,
      () => files.create(root(next, "passive", { createdAt: Date.now() })),
      at([old, next], old),
    );
    await step(
      `${walk} 3: active`,
      () => setRole(next, "active"),
      async (status) =>
        at([old, next], old)(status) && status.roots.find(({ name }) => name === next)?.role === "active",
    );
    await step(`${walk} 4: signer`, () => setRole(old, "passive"), at([old, next], next));
  };

  for (const variant of VARIANTS) {
    const answer = await credential(`sa-${variant.toLowerCase()}`);
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
    crashes: () => server.lives.filter(({ place }) => place !== undefined).length,
    meetings: () => wire.meetings,
    async walkForward() {
      const [old, next] = [current, `root-${++made}`];
      await grow("forward", old, next);
      await step("forward 5: distrust", () => setRole(old, "inactive"), at([next], next));
      await remove(old, "forward", next);
      await step(
        "forward 7: credentials",
        async () => {
          for (const [index, proxy] of proxies.entries()) {
            const tls = tlsOf(await credential(`sa-${VARIANTS[index]?.toLowerCase()}`, proxy.uuid));
            proxy.reconnect({ tls });
          }
        },
        async (status) => {
          const { trust } = await readDisk(dataDir);
          return (
            at([next], next)(status) && trust?.trust.xds.length === 1 && trust.trust.xdsServer === trust.trust.signer
          );
        },
      );
      current = next;
    },
    async walkBack() {
      const [old, next] = [current, `root-${++made}`];
      await grow("back", old, next);
      await step(
        "back 4a: both active",
        () => setRole(old, "active"),
        async (status) =>
          at([old, next], next)(status) && status.roots.find(({ name }) => name === old)?.role === "active",
      );
      await step("back 4b: signer", () => setRole(next, "passive"), at([old, next], old));
      await step("back 5: distrust", () => setRole(next, "inactive"), at([old], old));
      await remove(next, "back", old);
    },
    async end() {
      await disk.check(proxies);
      await server.stop();
      for (const proxy of proxies) proxy.stop();
      for (const { log, startedAt } of server.lives) {
        const first = allAnsweredBy(proxies, startedAt);
        for (const line of log.filter(({ message }) => GATED.test(message)))
          assert.ok(timeOf(line) >= first, `${line.message}: only after every proxy had answered (E14)`);
        const bad = log.filter(({ level, message }) => level === "error" || /FORCED/.test(message));
        assert.deepEqual(bad, []);
      }
    },
  };
}

function timeOf(line: Readonly<Record<string, unknown>>): number {
  return typeof line.time === "number" ? line.time : Date.parse(String(line.time));
}
