/**
 * C1-C6: at every step of a rotation a proxy joins with a bootstrap of that moment, one with a bootstrap of before the rotation
 * that its agent has kept fresh, and one with a bootstrap of before that nobody touched: accepted for as long as its root is.
 */

import assert from "node:assert/strict";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { type RunningAgent, startAgent } from "../../src/agent/agent.ts";
import { envoyAdmin } from "../../src/envoy/admin.ts";
import { ENVOY_VERSIONS } from "../../src/envoy/binary.ts";
import { A, B, type E2eMesh, MESH_NAMESPACE, startMesh } from "../support/e2e-mesh.ts";
import { envoyOrSkip, runEnvoy } from "../support/envoy.ts";

const FIRST = ["cart", "pay"];
const STEPS = ["2", "3", "4", "5", "6"];
const names = (how: string) => STEPS.map((step) => `${how}${step}`);
const quiet = () => undefined;
const LOG = { debug: quiet, info: quiet, warn: quiet, error: quiet };

for (const version of ENVOY_VERSIONS) {
  test(`E10 C5: joining at every step with fresh, kept and stale bootstraps, Envoy ${version}`, async (t) => {
    const envoy = await envoyOrSkip(t, version);
    if (envoy === undefined) return;
    const late = [...names("fresh"), ...names("kept"), ...names("stale")];
    const it = await startMesh(t, {
      envoy,
      names: [...FIRST, ...late],
      start: FIRST,
      agents: true,
      requestsPerSecond: 1,
    });
    const { roots, until, untilLoaded, mesh } = it;
    for (const name of names("stale")) await mesh.prepared(name);
    const agents = new Map<string, RunningAgent>();
    t.after(() => Promise.all([...agents.values()].map((agent) => agent.stop())));
    for (const name of names("kept")) {
      const { home: dir } = await mesh.prepared(name);
      const xdsAddress = `127.0.0.1:${it.server.xdsPort}`;
      agents.set(
        name,
        await startAgent({ dir, log: LOG, xdsAddress, adminAddress: () => undefined, envoyState: () => "stopped" }),
      );
    }
    it.startLoad();

    const joinAll = async (step: string) => {
      await agents.get(`kept${step}`)?.stop();
      for (const how of ["fresh", "kept"]) await start(it, `${how}${step}`);
    };
    await roots.create(B);
    await joinAll("2");
    await start(it, "stale2");
    await untilLoaded([A, B], A);

    await roots.setRole(B, "active");
    await joinAll("3");
    await start(it, "stale3");
    await untilLoaded([A, B], A);

    await roots.setRole(A, "passive");
    await until("the signer has moved", ({ signer }) => signer === B);
    await joinAll("4");
    await start(it, "stale4");
    await untilLoaded([A, B], B);

    await roots.setRole(A, "inactive");
    await untilLoaded([B], B);
    await until("the old root is on no port", ({ roots: all }) => {
      const parts = Object.values(all.find(({ name }) => name === A)?.componentStatuses ?? {});
      return parts.every((state) => state === "unused");
    });
    await joinAll("5");
    await isRefused(t, it, envoy.path, "stale5");

    await roots.remove(A);
    await until("the old MRC is gone", ({ roots: all }) => all.every(({ name }) => name !== A));
    await joinAll("6");
    await isRefused(t, it, envoy.path, "stale6");
    await untilLoaded([B], B);

    const { requests } = await it.endLoad();
    t.diagnostic(`${requests} requests between ${mesh.proxies.size} proxies, 0 failed`);
  });
}

/** It gets nothing, and the server's log says who it is, which root it does not trust, and what to do. */
async function isRefused(t: TestContext, it: E2eMesh, binary: string, name: string): Promise<void> {
  const { home, uuid } = await it.mesh.prepared(name);
  const envoy = await runEnvoy(t, { binary, name, bootstrapPath: join(home, "bootstrap.yaml") });
  const line = new RegExp(
    `refused: .*does not trust.*\\(${B}, .*by its SNI it is ${name}\\.${MESH_NAMESPACE} \\(${uuid}\\)`,
  );
  await it.until(`the log names ${name}`, () =>
    it.server
      .logText()
      .split("\n")
      .some((entry) => line.test(entry) && entry.includes("meshroot proxy bootstrap")),
  );
  assert.equal(await envoyAdmin(envoy.adminAddress).ready(), false);
  await envoy.stop();
}

async function start(it: E2eMesh, name: string): Promise<void> {
  await it.mesh.start(name);
  await it.until(`${name} is ready`, () => it.mesh.proxies.get(name)?.admin.ready() ?? false);
  it.startLoad();
}
