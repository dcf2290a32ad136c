/**
 * C5: an agent has proven a bundle with both roots and dies, the new root is taken back, an operator writes a bootstrap of that
 * time into the folder, and the new root comes again. Histories found that the old proof was believed; the xDS port has to wait.
 */

import assert from "node:assert/strict";
import { X509Certificate } from "node:crypto";
import { join } from "node:path";
import { test } from "node:test";
import { ENVOY_VERSIONS } from "../../src/envoy/binary.ts";
import { writeCredentials } from "../../src/envoy/credentials-dir.ts";
import { A, B, MESH_NAMESPACE, startMesh } from "../support/e2e-mesh.ts";
import { bootstrapFrom } from "../support/e2e-server.ts";
import { envoyOrSkip } from "../support/envoy.ts";

for (const version of ENVOY_VERSIONS) {
  test(`C5: a bootstrap in place of what an agent had proven, Envoy ${version}`, async (t) => {
    const envoy = await envoyOrSkip(t, version);
    if (envoy === undefined) return;
    const it = await startMesh(t, { envoy, names: ["cart", "pay"], agents: true });
    const { mesh, roots, until, untilLoaded } = it;
    const cart = mesh.proxies.get("cart");
    assert.ok(cart?.agent !== undefined);
    const { uuid } = cart;
    it.startLoad();
    /** A bootstrap gets into the folder, and its Envoy comes with it: on a connection made since it is loaded. */
    const bootstrapped = async () => {
      const request = { serviceAccount: "cart", namespace: MESH_NAMESPACE, kind: "sidecar", uuid } as const;
      const made = await bootstrapFrom(it.dataDir, request);
      await writeCredentials(join(it.dir, "cart", "certs"), made);
      const serial = new X509Certificate(made.certPem).serialNumber.toLowerCase().replace(/^0+/, "");
      await until("cart has loaded it", async () =>
        (await cart.admin.certs()).some(({ chain }) => chain[0]?.serial === serial),
      );
      cart.relay.cut();
      await until(
        "cart is back",
        ({ proxies }) =>
          cart.relay.connections() > 0 && proxies.every(({ connected, sync }) => connected && sync === "SYNCED"),
      );
    };

    await roots.create(B);
    await untilLoaded([A, B], A);
    const { generation } = await it.status();
    await until("cart's agent has ACKed a bundle with both roots", () => {
      const lines = it
        .agentLogText()
        .split("\n")
        .filter((line) => /ACK: .*validation_context_sds/.test(line));
      return lines.some((line) => line.includes(uuid) && line.includes(`"version":"${generation}-`));
    });
    await cart.agent.stop();
    await roots.setRole(B, "inactive");
    await untilLoaded([A], A);
    await until("the port trusts the old root alone", ({ roots: all }) =>
      all.some(({ name, componentStatuses }) => name === B && componentStatuses?.bootstrap === "unused"),
    );
    await bootstrapped();

    await roots.setRole(B, "passive");
    await untilLoaded([A, B], A);
    await roots.setRole(B, "active");
    await roots.setRole(A, "passive");
    await untilLoaded([A, B], B);
    await roots.setRole(A, "inactive");
    await untilLoaded([B], B);
    await until("the port waits for cart alone", ({ holds }) => {
      const [hold] = holds.filter(({ gate }) => gate === "xdsControlPlane");
      return hold?.waitingFor.map(({ proxy }) => proxy).join() === uuid;
    });
    cart.relay.cut();
    await until("cart comes back, as the port is as it was", ({ proxies }) =>
      proxies.every(({ connected, sync }) => connected && sync === "SYNCED"),
    );

    await bootstrapped();
    await until("with a new bootstrap it all goes on", ({ holds }) =>
      holds.every(({ gate }) => gate !== "xdsControlPlane"),
    );
    const { requests } = await it.endLoad();
    t.diagnostic(`${requests} requests, 0 failed`);
  });
}
