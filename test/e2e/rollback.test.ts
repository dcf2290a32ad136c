/** A rotation that is given up: back to the old root from steps 2, 3 and 4 of the table, under load. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { A, B, type E2eMesh, startMesh } from "../support/e2e-mesh.ts";
import { envoyOrSkip } from "../support/envoy.ts";

test("rolling back from steps 2, 3 and 4 fails no request, and generations only rise", async (t) => {
  const envoy = await envoyOrSkip(t);
  if (envoy === undefined) return;
  const it = await startMesh(t, { envoy, names: ["cart", "pay", "stock"], variants: ["delta", "ads", "sotw"] });
  const { roots, until, untilLoaded } = it;
  let generation = (await it.status()).generation;
  const rises = async () => {
    const now = (await it.status()).generation;
    assert.ok(now > generation, `generation ${now} after ${generation}`);
    generation = now;
  };
  it.startLoad();
  await untilLoaded([A], A);

  await roots.create(B);
  await untilLoaded([A, B], A);
  await rises();
  await giveUp(it);
  await rises();

  await roots.setRole(B, "passive");
  await untilLoaded([A, B], A);
  await roots.setRole(B, "active");
  await untilRead(it, B, "active");
  await rises();
  await roots.setRole(B, "passive");
  await untilRead(it, B, "passive");
  await giveUp(it);
  await rises();

  await roots.setRole(B, "passive");
  await untilLoaded([A, B], A);
  await roots.setRole(B, "active");
  await roots.setRole(A, "passive");
  await untilLoaded([A, B], B);
  await rises();
  await roots.setRole(A, "active");
  // Both are active: the incumbent signs on, so nothing flaps.
  await untilRead(it, A, "active");
  assert.equal((await it.status()).signer, B);
  await roots.setRole(B, "passive");
  await untilLoaded([A, B], A);
  await giveUp(it);
  await rises();

  await until("nothing waits but the renewal of xDS credentials", ({ holds }) =>
    holds.every(({ gate }) => gate === "xdsControlPlane" || gate === "bootstrap"),
  );
  const { requests } = await it.endLoad();
  t.diagnostic(`${requests} requests, 0 failed`);
});

async function giveUp(it: E2eMesh): Promise<void> {
  await it.roots.setRole(B, "inactive");
  await it.untilLoaded([A], A);
}

function untilRead(it: E2eMesh, name: string, role: string): Promise<void> {
  return it.until(`the server has read that ${name} is ${role}`, ({ roots }) =>
    roots.some((root) => root.name === name && root.role === role),
  );
}
