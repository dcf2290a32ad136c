/** A whole rotation of a mesh whose proxies have agents: at its end the old root is gone from everywhere (C1-C6). */

import assert from "node:assert/strict";
import { X509Certificate } from "node:crypto";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { freePorts } from "../../src/cli/demo/free-ports.ts";
import type { MeshStatus } from "../../src/controller/status.ts";
import { parseProxyUri } from "../../src/core/identity.ts";
import type { EnvoyAdmin } from "../../src/envoy/admin.ts";
import { ENVOY_VERSIONS } from "../../src/envoy/binary.ts";
import { A, B, type E2eMesh, startMesh } from "../support/e2e-mesh.ts";
import { type ChildServer, spawnServer } from "../support/e2e-server.ts";
import { envoyOrSkip } from "../support/envoy.ts";

/** What the TLS context of the xDS connection holds, by serial number (`/certs`). */
async function xdsContexts(admin: EnvoyAdmin) {
  const contexts = (await admin.certs()).filter(({ chain }) => chain[0]?.uris.some((uri) => parseProxyUri(uri)));
  return contexts.map(({ trusted, chain }) => ({
    trusted: trusted.map(({ serial }) => serial),
    leaf: chain[0]?.serial ?? "",
  }));
}

async function rotateAway(it: E2eMesh): Promise<void> {
  const { roots, until, untilLoaded } = it;
  await roots.create(B);
  await untilLoaded([A, B], A);
  await roots.setRole(B, "active");
  await roots.setRole(A, "passive");
  await untilLoaded([A, B], B);
  await roots.setRole(A, "inactive");
  await untilLoaded([B], B);
  await roots.remove(A);
  await until("the old root is gone from the server's own port, too", ({ roots: all, holds }) => {
    const old = all.find(({ name }) => name === A);
    const parts = Object.values(old?.componentStatuses ?? {});
    return holds.length === 0 && parts.every((state) => state === "unused");
  });
}

for (const version of ENVOY_VERSIONS) {
  test(`Envoy ${version}: the rotation ends with the old root gone from everywhere, and 0 failed requests`, async (t) => {
    const envoy = await envoyOrSkip(t, version);
    if (envoy === undefined) return;
    const it = await startMesh(t, { envoy, names: ["cart", "pay", "stock", "mail"], agents: true });
    it.startLoad();
    await it.untilLoaded([A], A);
    const before = await serials(it);
    await rotateAway(it);

    const status = await it.status();
    const serial = status.roots.find(({ name }) => name === B)?.serial ?? "";
    const rootB = (await it.knownRoots()).get(B);
    for (const { name, admin } of it.mesh.proxies.values()) {
      await it.until(`${name} trusts the new root alone on its xDS connection`, async () => {
        const contexts = await xdsContexts(admin);
        return contexts.length === 1 && contexts[0]?.trusted.join() === serial;
      });
      assert.notEqual((await xdsContexts(admin))[0]?.leaf, before.get(name));
      // Envoy before 1.40 does not list a second root; the folder would.
      const folder = join(it.dir, name, "certs");
      await it.until(`${name}'s folder holds the new root alone`, async () => {
        const found = (await readFile(join(folder, "ca.crt"), "utf8")).match(/BEGIN CERTIFICATE/g);
        return found?.length === 1;
      });
      const leaf = new X509Certificate(await readFile(join(folder, "tls.crt")));
      assert.ok(rootB !== undefined && leaf.verify(rootB.publicKey), `${name}'s xDS certificate is under the new root`);
    }
    for (const { proxy, xdsCredentialRoot } of status.proxies) assert.equal(xdsCredentialRoot, B, proxy);
    const { requests } = await it.endLoad();
    t.diagnostic(`${requests} requests, 0 failed`);
    await holdsNoKey(it);

    // And the mesh goes on: everybody comes back on connections that only the new root vouches for.
    for (const { relay } of it.mesh.proxies.values()) relay.cut();
    await it.until("every Envoy is connected again", ({ proxies }) => proxies.every(({ connected }) => connected));
    await it.untilReady();
  });
}

test("killed again and again while credentials move: the agents come back, and the old root still leaves", async (t) => {
  const envoy = await envoyOrSkip(t);
  if (envoy === undefined) return;
  const [xdsPort = 0, httpPort = 0, healthPort = 0] = await freePorts(3);
  const settings = { xdsPort: `${xdsPort}`, httpPort: `${httpPort}`, healthPort: `${healthPort}` };
  let child: ChildServer | undefined;
  const it = await startMesh(t, {
    envoy,
    names: ["cart", "pay", "stock"],
    agents: true,
    settings,
    serve: async (dataDir, wanted) => {
      child = await spawnServer(dataDir, wanted);
      return { xdsPort, httpPort, logText: () => child?.logText() ?? "", stop: async () => child?.kill() };
    },
  });
  const crash = async () => {
    await child?.kill();
    child = await spawnServer(it.dataDir, { ...settings, recoveryWindowMs: "20s" });
  };
  const xdsOf = ({ roots }: MeshStatus, name: string) => roots.find((root) => root.name === name)?.componentStatuses;
  it.startLoad();
  await it.untilLoaded([A], A);
  await it.roots.create(B);
  await it.until("the xDS port trusts the new root", (status) => xdsOf(status, B)?.bootstrap === "validating");
  await crash();
  await it.untilLoaded([A, B], A);
  await it.roots.setRole(B, "active");
  await it.roots.setRole(A, "passive");
  await it.until("the signer has moved", ({ signer }) => signer === B);
  await crash();
  await it.untilLoaded([A, B], B);
  await it.roots.setRole(A, "inactive");
  await it.until("the mesh trusts the new root alone", ({ trusted }) => trusted.join() === B);
  await crash();
  await it.roots.remove(A);
  await it.until("the old root is gone from the xDS port, too", (status) => {
    const old = xdsOf(status, A);
    return status.holds.length === 0 && (old === undefined || Object.values(old).every((state) => state === "unused"));
  });
  await it.untilLoaded([B], B);
  const { requests } = await it.endLoad();
  t.diagnostic(`${requests} requests over 3 crashes, 0 failed`);
  assert.doesNotMatch(it.agentLogText(), /NACK/);
});

async function serials(it: E2eMesh): Promise<Map<string, string>> {
  const entries = [...it.mesh.proxies.values()].map(async ({ name, admin }): Promise<[string, string]> => {
    return [name, (await xdsContexts(admin))[0]?.leaf ?? ""];
  });
  return new Map(await Promise.all(entries));
}

async function holdsNoKey(it: E2eMesh): Promise<void> {
  const outputs = [it.agentLogText(), it.server.logText()];
  assert.match(it.agentLogText(), /ACK: Envoy has loaded tls_sds/);
  for (const name of it.mesh.proxies.keys()) {
    const key = await readFile(join(it.dir, name, "certs/tls.key"), "utf8");
    for (const line of key.split("\n").filter((one) => /^[A-Za-z0-9+/=]{40,}$/.test(one)))
      for (const output of outputs) assert.ok(!output.includes(line), `a piece of ${name}'s key is in a log`);
  }
  for (const output of outputs) assert.doesNotMatch(output, /PRIVATE KEY/);
}
