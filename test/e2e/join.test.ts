/** F26: a mesh whose old proxies are well is not well if new ones can't join. One joins at every step of a rotation. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { A, B, type E2eMesh, startMesh } from "../support/e2e-mesh.ts";
import { envoyOrSkip } from "../support/envoy.ts";

const FIRST = ["cart", "pay"];
const JOINING = ["step2", "step3", "step4", "moving", "step5", "step6"];

test("a proxy that joins at any step of a rotation gets its secrets, and no request fails", async (t) => {
  const envoy = await envoyOrSkip(t);
  if (envoy === undefined) return;
  const it = await startMesh(t, { envoy, names: [...FIRST, ...JOINING], start: FIRST });
  const { roots, until, untilLoaded } = it;
  it.startLoad();

  await roots.create(B);
  await join(it, "step2");
  await untilLoaded([A, B], A);

  await roots.setRole(B, "active");
  await join(it, "step3");
  await untilLoaded([A, B], A);

  await roots.setRole(A, "passive");
  // One at any moment of the move, one after it.
  await join(it, "moving");
  await until("the signer has moved", ({ signer }) => signer === B);
  await join(it, "step4");
  await untilLoaded([A, B], B);

  await roots.setRole(A, "inactive");
  await join(it, "step5");
  await untilLoaded([B], B);

  await roots.remove(A);
  await until("the old MRC is gone", ({ roots: all }) =>
    all.every(({ name, role }) => name !== A || role === undefined),
  );
  await join(it, "step6");
  await untilLoaded([B], B);

  const { requests } = await it.endLoad();
  t.diagnostic(`${requests} requests between ${it.mesh.proxies.size} proxies, 0 failed`);
  assert.equal(it.mesh.proxies.size, FIRST.length + JOINING.length);
});

async function join(it: E2eMesh, name: string): Promise<void> {
  await it.mesh.start(name);
  await it.until(`${name} is ready`, () => it.mesh.proxies.get(name)?.admin.ready() ?? false);
  it.startLoad();
}
