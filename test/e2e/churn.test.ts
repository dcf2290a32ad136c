/** Proxies that join and are killed all the time, each with an identity of its own: they delay a rotation, and starve no gate. */

import assert from "node:assert/strict";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { ENVOY_VERSIONS } from "../../src/envoy/binary.ts";
import { writeCredentials } from "../../src/envoy/credentials-dir.ts";
import { A, B, type E2eMesh, MESH_NAMESPACE, startMesh } from "../support/e2e-mesh.ts";
import { bootstrapFrom, serveHere } from "../support/e2e-server.ts";
import { envoyOrSkip } from "../support/envoy.ts";

/** What a killed proxy was given can be presented for so long (E9, E13): the bound of the delay. */
const LEAF_MS = 15_000;
const STABLE = ["cart", "pay", "stock"];
const CHURNING = ["one", "two"];

for (const version of ENVOY_VERSIONS) {
  test(`E13 a whole rotation while proxies join and are killed all the time, on Envoy ${version}`, async (t) => {
    const envoy = await envoyOrSkip(t, version);
    if (envoy === undefined) return;
    const it = await startMesh(t, {
      envoy,
      names: [...STABLE, ...CHURNING],
      start: STABLE,
      serve: (dataDir, settings) => serveHere(dataDir, settings, { config: { leafValidityMs: LEAF_MS } }),
    });
    it.startLoad();
    const churn = startChurn(t, it);
    await it.until("four proxies have come and gone", () => churn.killed() >= 4);
    const seconds = await rotate(it);
    const identities = (await it.status()).proxies.length;
    const killed = await churn.stop();
    await it.untilLoaded([B], B);
    const { requests } = await it.endLoad();
    t.diagnostic(`${requests} requests, 0 failed; ${killed} proxies came and went; ${seconds.join(", ")}`);
    // Some are killed before they have said a word.
    assert.ok(identities >= STABLE.length + killed / 2 - CHURNING.length, `${identities} proxies were seen`);
  });
}

/** All six steps; how long each gate took. `until` bounds each by a minute. */
async function rotate(it: E2eMesh): Promise<string[]> {
  const { roots, until } = it;
  const startedAt = Date.now();
  await roots.create(B);
  await until("trust has grown", ({ trusted }) => trusted.includes(B));
  await roots.setRole(B, "active");
  await roots.setRole(A, "passive");
  await until("the signer has moved", ({ signer }) => signer === B);
  const movedAt = Date.now();
  await roots.setRole(A, "inactive");
  await until("the old root has left", ({ trusted }) => trusted.join() === B);
  const leftAt = Date.now();
  await roots.remove(A);
  return [`signer after ${(movedAt - startedAt) / 1000} s`, `old root gone after ${(leftAt - movedAt) / 1000} s`];
}

/** Each name in a loop of its own. Every other proxy is killed in the middle of its start. */
function startChurn(t: TestContext, it: E2eMesh): { killed(): number; stop(): Promise<number> } {
  let stopped = false;
  let killed = 0;
  const loops = CHURNING.map(async (name) => {
    for (let round = 0; !stopped; round++) {
      const proxy = await it.mesh.start(name);
      // Out of the mesh's sight, which expects every proxy in it to be well.
      it.mesh.proxies.delete(name);
      while (round % 2 === 0 && !stopped && !(await proxy.admin.ready().catch(() => false))) await turn();
      await proxy.envoy.kill();
      killed++;
      // What comes up under this name next is another proxy.
      const credentials = await bootstrapFrom(it.dataDir, {
        serviceAccount: name,
        namespace: MESH_NAMESPACE,
        kind: "sidecar",
      });
      await writeCredentials(join(it.dir, name, "certs"), credentials);
    }
  });
  const stop = async () => {
    stopped = true;
    await Promise.all(loops);
    return killed;
  };
  t.after(stop);
  return { killed: () => killed, stop };
}

function turn(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, 50));
}
