/** The agent beside real Envoys: what it ACKs is what `/certs` shows (C3). */

import assert from "node:assert/strict";
import { X509Certificate } from "node:crypto";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { XDS_BUNDLE, XDS_LEAF } from "../../src/agent/held-credentials.ts";
import { parseProxyUri } from "../../src/core/identity.ts";
import { type EnvoyAdmin, envoyAdmin, listsWholeBundle, normalizeSerial } from "../../src/envoy/admin.ts";
import { ENVOY_VERSIONS } from "../../src/envoy/binary.ts";
import { agentFolder, runAgent } from "../support/agent.ts";
import { envoyOrSkip, runEnvoy } from "../support/envoy.ts";
import { startServer, type TestServer, until } from "../support/server.ts";

async function xdsContext(admin: EnvoyAdmin) {
  const [context] = (await admin.certs()).filter(({ chain }) => chain[0]?.uris.some((uri) => parseProxyUri(uri)));
  return context;
}

async function startPair(t: TestContext, server: TestServer, version: string) {
  const binary = await envoyOrSkip(t, version);
  if (binary === undefined) return undefined;
  const credentials = await server.credential("cart.shop");
  const dir = await agentFolder(t, { credentials });
  const envoy = await runEnvoy(t, {
    binary: binary.path,
    bootstrapPath: join(dir, "bootstrap.yaml"),
    name: "cart",
    logPath: join(dir, "envoy.log"),
  });
  const admin = envoyAdmin(envoy.adminAddress);
  const agent = await runAgent(t, { dir, adminAddress: envoy.adminAddress });
  return { dir, envoy, admin, agent, uuid: credentials.proxy.uuid };
}

const held = async (dir: string) => new X509Certificate(await readFile(join(dir, "certs/tls.crt")));

for (const version of ENVOY_VERSIONS) {
  test(`Envoy ${version}: a fresh certificate and the bundle are loaded, then ACKed; a second root is, too`, async (t) => {
    const server = await startServer(t);
    const pair = await startPair(t, server, version);
    if (pair === undefined) return;
    const { dir, admin, agent, uuid } = pair;
    const first = normalizeSerial((await held(dir)).serialNumber);
    await until("both are ACKed", () => Object.keys(agent.state().loaded).length === 2);
    const own = await held(dir);
    const leaf = await xdsContext(admin);
    assert.equal(leaf?.chain[0]?.serial, normalizeSerial(own.serialNumber));
    assert.notEqual(leaf?.chain[0]?.serial, first);
    assert.equal(agent.state().loaded[XDS_LEAF], own.fingerprint256.replaceAll(":", "").toLowerCase());
    assert.match(await readFile(join(dir, "certs/tls.crt"), "utf8"), /^meshroot [0-9a-f]{16}\n-----BEGIN/);

    const bundleBefore = agent.state().loaded[XDS_BUNDLE];
    await server.createRoot("next");
    await until("the new bundle is ACKed", () => agent.state().loaded[XDS_BUNDLE] !== bundleBefore);
    const grown = await xdsContext(admin);
    const next = server.running.status().roots.find(({ name }) => name === "next");
    assert.equal(grown?.trusted[0]?.serial, next?.serial);
    if (listsWholeBundle(version)) assert.equal(grown?.trusted.length, 2);
    assert.equal(server.running.status().proxies.length, 1);
    assert.equal(server.running.status().proxies[0]?.proxy, uuid);
  });
}
