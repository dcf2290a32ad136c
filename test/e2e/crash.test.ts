/** kill -9 in the middle of a rotation: what is durable (E7), what a restart waits for (E14), what it never undoes (E1). */

import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { freePorts } from "../../src/cli/demo/free-ports.ts";
import type { MeshStatus } from "../../src/controller/status.ts";
import type { EnvoyBinary } from "../../src/envoy/binary.ts";
import { A, B, type E2eMesh, proxyOf, startMesh } from "../support/e2e-mesh.ts";
import { type ChildServer, type ServerSettings, spawnServer } from "../support/e2e-server.ts";
import { envoyOrSkip } from "../support/envoy.ts";

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
