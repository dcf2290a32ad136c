/** kill -9 in the middle of a rotation: what is durable (E7), what a restart waits for (E14), what it never undoes (E1). */

import assert from "node:assert/strict";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { freePorts } from "../../src/cli/demo/free-ports.ts";
import type { MeshStatus } from "../../src/controller/status.ts";
import { DEFAULT_NAMESPACE } from "../../src/core/roots/mesh-root.ts";
import { ENVOY_VERSIONS, type EnvoyBinary } from "../../src/envoy/binary.ts";
import { secretFiles } from "../../src/stores/files/secret-files.ts";
import { startCrashEnvoys } from "../support/crash-envoys.ts";
import { A, B, type E2eMesh, proxyOf, startMesh } from "../support/e2e-mesh.ts";
import { type ChildServer, type ServerSettings, spawnServer } from "../support/e2e-server.ts";
import { envoyOrSkip } from "../support/envoy.ts";

/** The secret of the first root's CA (src/serve/first-root.ts). */
const FIRST_CA = "osm-ca-bundle";

test("killed between the growth of trust and the signer's move, and after the move: no request fails", async (t) => {
  const envoy = await envoyOrSkip(t);
  if (envoy === undefined) return;
  const { it, crash } = await startKillable(t, envoy);
  const slow = proxyOf(it.mesh, "cart");
  it.startLoad();
  await it.untilLoaded([A], A);

  slow.relay.holdToServer(true);
  await it.roots.create(B);
  await it.until("trust has grown", ({ trusted }) => trusted.includes(B));
  await it.roots.setRole(B, "active");
  await it.roots.setRole(A, "passive");
  await it.until("the signer waits", ({ holds }) => holds.some(({ gate }) => gate === "signer"));
  const before = await it.status();
  await crash();
  await it.until("the restarted server waits for the proxy that it has not heard", ({ holds }) =>
    holds.some(
      ({ reason, waitingFor }) => reason === "Recovering" && waitingFor.map(({ proxy }) => proxy).join() === slow.uuid,
    ),
  );
  const after = await it.status();
  assert.equal(after.generation, before.generation);
  assert.deepEqual(after.trusted, [A, B]);
  assert.equal(after.signer, A);
  slow.relay.holdToServer(false);
  // Bytes held for a connection that died with the server would wait for its end.
  slow.relay.cut();

  await it.until("the signer has moved", ({ signer }) => signer === B);
  // At once, while proxies are getting their new leaves.
  const moved = await it.status();
  await crash();
  await it.until("the server is back, with the signer that it had", (status) => status.signer === B);
  notBefore(moved, await it.status());
  await it.untilLoaded([A, B], B);

  await it.roots.setRole(A, "inactive");
  await it.until("the old root has left", ({ trusted }) => trusted.join() === B);
  await crash();
  await it.untilLoaded([B], B);
  const { requests } = await it.endLoad();
  t.diagnostic(`${requests} requests over 3 crashes, 0 failed`);
});

/**
 * One place for each kind of write and each step, dealt out to the two versions. The trust is saved in two files, the
 * backup first; `state/ sync-directory` comes right after the backup's rename.
 */
const PLACES: Readonly<Record<(typeof ENVOY_VERSIONS)[number], readonly string[]>> = {
  [ENVOY_VERSIONS[0]]: [
    "CA secret link in step 2",
    "trust.json rename in step 2",
    "ledger append in step 4",
    "trust.json.bak rename in step 4",
    "ledger sync in step 5",
    "trust.json rename in step 5",
    "CA secret remove in step 6",
  ],
  [ENVOY_VERSIONS[1]]: [
    "osm-system/ sync-directory in step 2",
    "ledger sync in step 2",
    "trust.json rename in step 4",
    "ledger sync in step 4",
    "state/ sync-directory in step 5",
    "ledger append in step 5",
    "trust.json rename in step 6",
  ],
};

for (const version of ENVOY_VERSIONS) {
  test(`killed at every step of the table, at writes and at random moments, Envoy ${version}: no request fails`, async (t) => {
    const envoy = await envoyOrSkip(t, version);
    if (envoy === undefined) return;
    const only = PLACES[version];
    const mesh = await startCrashEnvoys(t, { envoy, names: ["cart", "pay", "stock", "mail"], only });
    const { it, server, disk } = mesh;
    it.startLoad();
    await it.untilLoaded([A], A);
    const steps: [edit: () => Promise<void>, trusted: readonly string[], signer: string][] = [
      [async () => undefined, [A], A],
      [() => it.roots.create(B), [A, B], A],
      [() => it.roots.setRole(B, "active"), [A, B], A],
      [() => it.roots.setRole(A, "passive"), [A, B], B],
      [() => it.roots.setRole(A, "inactive"), [B], B],
      [() => it.roots.remove(A), [B], B],
    ];
    for (const [index, [edit, trusted, signer]] of steps.entries()) {
      const step = `step ${index + 1}`;
      server.phase(step);
      if (index === 5) disk.mayGo(FIRST_CA);
      await edit();
      await mesh.killAtRandom(index % 2 === 1);
      await it.until(`${step} is in force`, (status) => status.signer === signer && sameNames(status.trusted, trusted));
      await it.untilReady();
      await it.untilLoaded(trusted, signer);
      if (index === 5) await it.until("the key is destroyed", async () => !(await hasSecret(it.dataDir, FIRST_CA)));
      const { requests, failures } = it.load();
      t.diagnostic(`${step}: ${server.lives.length - 1} crashes until now, ${requests} requests, ${failures} failed`);
      assert.equal(failures, 0);
    }
    await mesh.untilKilledEverywhere();
    await it.endLoad();
  });
}

test("killed on the way back from step 4: no request fails", async (t) => {
  const envoy = await envoyOrSkip(t);
  if (envoy === undefined) return;
  const only = [
    "trust.json rename in back to step 3",
    "ledger sync in back to step 3",
    "CA secret remove in back to step 1",
  ];
  const mesh = await startCrashEnvoys(t, { envoy, names: ["cart", "pay", "stock", "mail"], only });
  const { it, server, disk } = mesh;
  it.startLoad();
  await it.roots.create(B, "active");
  await it.until("trust has grown", ({ trusted }) => trusted.includes(B));
  await it.roots.setRole(A, "passive");
  await it.until("the signer has moved", ({ signer }) => signer === B);
  server.phase("back to step 3");
  await it.roots.setRole(A, "active");
  await it.roots.setRole(B, "passive");
  await mesh.killAtRandom(true);
  await it.until("the signer has moved back", ({ signer }) => signer === A);
  await it.untilLoaded([A, B], A);
  server.phase("back to step 1");
  await it.roots.setRole(B, "inactive");
  await it.until("the new root has left", ({ trusted }) => trusted.join() === A);
  disk.mayGo(`ca-${B}`);
  await it.roots.remove(B);
  await it.until("its key is destroyed", async () => !(await hasSecret(it.dataDir, `ca-${B}`)));
  await mesh.untilKilledEverywhere();
  await it.untilReady();
  await it.untilLoaded([A], A);
  const { requests } = await it.endLoad();
  t.diagnostic(`${requests} requests over ${server.lives.length - 1} crashes, 0 failed`);
});

function sameNames(found: readonly string[], wanted: readonly string[]): boolean {
  return found.toSorted().join() === wanted.toSorted().join();
}

async function hasSecret(dataDir: string, name: string): Promise<boolean> {
  const found = await secretFiles(join(dataDir, "secrets")).read({ name, namespace: DEFAULT_NAMESPACE });
  return found !== undefined;
}

function notBefore(before: MeshStatus, after: MeshStatus): void {
  assert.ok(after.generation >= before.generation, `generation ${after.generation} after ${before.generation}`);
  for (const root of before.trusted) assert.ok(after.trusted.includes(root), `${root} is still trusted`);
}

async function startKillable(t: TestContext, envoy: EnvoyBinary) {
  const [xdsPort = 0, httpPort = 0, healthPort = 0] = await freePorts(3);
  const ports = { xdsPort: `${xdsPort}`, httpPort: `${httpPort}`, healthPort: `${healthPort}` };
  let child: ChildServer | undefined;
  let settings: ServerSettings = {};
  const it: E2eMesh = await startMesh(t, {
    envoy,
    names: ["cart", "pay", "stock", "mail"],
    settings: ports,
    serve: async (dataDir, wanted) => {
      settings = wanted;
      child = await spawnServer(dataDir, wanted);
      return { xdsPort, httpPort, logText: () => child?.logText() ?? "", stop: async () => child?.kill() };
    },
  });
  const crash = async () => {
    await child?.kill();
    child = await spawnServer(it.dataDir, settings);
  };
  return { it, crash };
}
