/** D1 on real Envoys, whose clocks are right: the server's clock leaps, a rotation goes on in the leap, and the clock comes back. */

import { type TestContext, test } from "node:test";
import { A, B, type E2eMesh, startMesh } from "../support/e2e-mesh.ts";
import { serveHere } from "../support/e2e-server.ts";
import { envoyOrSkip } from "../support/envoy.ts";
import { shiftedClock } from "../support/shifted-clock.ts";

const LEAP_MS = 3 * 86_400_000;
const NAMES = ["cart", "pay", "stock", "web"];

async function meshWithClock(t: TestContext) {
  const envoy = await envoyOrSkip(t);
  if (envoy === undefined) return undefined;
  // Checked, as outside of tests: to put it forward is a leap.
  const clock = { ...shiftedClock(), monotonic: () => performance.now() };
  const it = await startMesh(t, {
    envoy,
    names: NAMES,
    serve: (dataDir, settings) => serveHere(dataDir, settings, { clock }),
  });
  return { it, clock };
}

/** By proxy, the leaf that it has accepted: bundles have a generation in front. */
async function leaves(it: E2eMesh): Promise<Map<string, string | undefined>> {
  const { proxies } = await it.status();
  const leafOf = (versions: Readonly<Record<string, string>>) =>
    Object.values(versions).find((version) => /^[0-9a-f]{64}$/.test(version));
  return new Map(proxies.map(({ proxy, versions }) => [proxy, leafOf(versions)]));
}

for (const [way, byMs] of [
  ["ahead", LEAP_MS],
  ["back", -LEAP_MS],
] as const) {
  test(`D1: the server's clock leaps 3 days ${way}, a rotation begins and ends in the leap, and the clock comes back`, async (t) => {
    const found = await meshWithClock(t);
    if (found === undefined) return;
    const { it, clock } = found;
    it.startLoad();
    const before = await leaves(it);
    clock.leap(byMs);
    await it.until("all have another leaf", async () =>
      [...(await leaves(it))].every(([proxy, leaf]) => leaf !== before.get(proxy)),
    );
    await it.untilReady();
    await it.roots.create(B);
    await it.untilLoaded([A, B], A);
    await it.roots.setRole(B, "active");
    await it.roots.setRole(A, "passive");
    await it.untilLoaded([A, B], B);
    const inTheLeap = await leaves(it);
    clock.leap(-byMs);
    await it.until("all have a leaf of the usual life", async () =>
      [...(await leaves(it))].every(([proxy, leaf]) => leaf !== inTheLeap.get(proxy)),
    );
    await it.untilReady();
    await it.roots.setRole(A, "inactive");
    await it.untilLoaded([B], B);
    const { requests } = await it.endLoad();
    t.diagnostic(`${requests} requests, 0 failed`);
  });
}
