/** E15 on real Envoys: after kill -9 nobody gets a certificate who still holds a good one. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { ENVOY_VERSIONS } from "../../src/envoy/binary.ts";
import { startCrashEnvoys } from "../support/crash-envoys.ts";
import { A, B, type E2eMesh, proxyOf } from "../support/e2e-mesh.ts";
import { envoyOrSkip } from "../support/envoy.ts";
import { issuedLeaves } from "../support/issued-leaves.ts";

/** One for each protocol, in the order of `MeshSetup.variants`. */
const NAMES = ["sotw", "delta", "ads", "delta-ads"] as const;
/** State of the world on one stream for all names says nothing of the versions that are held. */
const SILENT = "ads";

for (const version of ENVOY_VERSIONS) {
  test(`E15: kill -9 costs no certificate, but for SotW over ADS, Envoy ${version}`, async (t) => {
    const envoy = await envoyOrSkip(t, version);
    if (envoy === undefined) return;
    const { it, server } = await startCrashEnvoys(t, { envoy, names: NAMES });
    it.startLoad();
    await it.untilLoaded([A], A);
    assert.equal(await issuedLeaves(it.server), NAMES.length);
    let before = await leafSerials(it);

    for (const crash of [1, 2, 3]) {
      await server.kill();
      await it.until(`the silent one has a new leaf after crash ${crash}`, async () => {
        const now = (await leafSerials(it)).get(SILENT);
        return now?.length === 1 && now[0] !== before.get(SILENT)?.[0];
      });
      if (crash === 2) {
        // New bundles go out to proxies that were resumed, and their leaves stay.
        await it.roots.create(B);
        await it.untilLoaded([A, B], A);
      }
      // What `/certs` shows is loaded, and its ACK may still be on its way.
      await it.untilReady();
      assert.equal(await issuedLeaves(it.server), 1, `crash ${crash}: one certificate, for SotW over ADS`);
      const after = await leafSerials(it);
      for (const name of NAMES.filter((one) => one !== SILENT)) {
        assert.deepEqual(after.get(name), before.get(name), `${name} runs the leaf that it had`);
        assert.equal((await it.statusOf(name)).sync, "SYNCED");
      }
      before = after;
    }

    // What was resumed is not in the way of a rotation: everybody gets exactly one leaf under the new root.
    await it.roots.setRole(B, "active");
    await it.roots.setRole(A, "passive");
    await it.until("the signer has moved", ({ signer }) => signer === B);
    await it.untilLoaded([A, B], B);
    assert.equal(await issuedLeaves(it.server), 1 + NAMES.length);
    const { requests } = await it.endLoad();
    t.diagnostic(`${requests} requests over ${server.lives.length - 1} crashes, 0 failed`);
  });
}

/** Serial numbers of the leaves in the mesh contexts of `/certs`, each once. */
async function leafSerials(it: E2eMesh): Promise<Map<string, string[]>> {
  const found = NAMES.map(async (name): Promise<[string, string[]]> => {
    const contexts = await proxyOf(it.mesh, name).admin.certs();
    const leaves = contexts.flatMap(({ chain }) => chain.slice(0, 1));
    const ours = leaves.filter(({ uris }) => !uris.some((uri) => uri.startsWith("meshroot://")));
    return [name, [...new Set(ours.map(({ serial }) => serial))]];
  });
  return new Map(await Promise.all(found));
}
