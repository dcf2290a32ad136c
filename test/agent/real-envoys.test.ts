/** The agent beside real Envoys: what it ACKs is what `/certs` shows (C3). */

import assert from "node:assert/strict";
import { X509Certificate } from "node:crypto";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, type TestContext, test } from "node:test";
import { XDS_BUNDLE, XDS_LEAF } from "../../src/core/evidence/secret-names.ts";
import { parseProxyUri, proxyUri } from "../../src/core/identity.ts";
import { normaliseSerial } from "../../src/core/serial.ts";
import { type EnvoyAdmin, envoyAdmin, listsWholeBundle } from "../../src/envoy/admin.ts";
import { ENVOY_VERSIONS } from "../../src/envoy/binary.ts";
import { AGENT_NAME } from "../../src/secrets/agent-name.ts";
import { agentFolder, runAgent } from "../support/agent.ts";
import { envoyOrSkip, runEnvoy } from "../support/envoy.ts";
import { type ScriptedStream, type ScriptedXds, SERVER_NAME, startScriptedXds } from "../support/scripted-xds.ts";
import { prepareServer, startServer, type TestServer, until } from "../support/server.ts";
import { makeTestLeaf, makeTestRoot } from "../support/test-certificates.ts";
import { unloadableRoot } from "../support/unloadable-root.ts";

const UUID = "5f0c2a3e-0b1d-4c6f-9a7e-0123456789ab";

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

describe("beside real Envoys", { concurrency: true }, () => {
  for (const version of ENVOY_VERSIONS) {
    test(`Envoy ${version}: a fresh certificate and the bundle are loaded, then ACKed; a second root is, too`, async (t) => {
      const server = await startServer(t);
      const pair = await startPair(t, server, version);
      if (pair === undefined) return;
      const { dir, admin, agent, uuid } = pair;
      const first = normaliseSerial((await held(dir)).serialNumber);
      await until("both are ACKed", () => Object.keys(agent.state().loaded).length === 2);
      const own = await held(dir);
      const leaf = await xdsContext(admin);
      assert.equal(leaf?.chain[0]?.serial, normaliseSerial(own.serialNumber));
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
    test(`Envoy ${version}: certificates are renewed before they expire`, async (t) => {
      const server = await prepareServer(t, {}, { xdsCertValidityMs: 12_000 });
      await server.start();
      const pair = await startPair(t, server, version);
      if (pair === undefined) return;
      const { dir, admin, agent } = pair;
      const serials = new Set<string>();
      await until(
        "two renewals are loaded",
        async () => {
          const leaf = (await xdsContext(admin))?.chain[0];
          assert.ok(leaf === undefined || leaf.notAfter > Date.now(), "never an expired one");
          if (agent.state().loaded[XDS_LEAF] !== undefined) serials.add(leaf?.serial ?? "");
          return serials.size >= 3;
        },
        120_000,
      );
      assert.equal(agent.log.filter(({ level }) => level === "error").length, 0);
      assert.ok(serials.has(normaliseSerial((await held(dir)).serialNumber)));
    });

    test(`Envoy ${version}: a root that it can't load is refused in its name; what was good stays, also for a restart`, async (t) => {
      const root = await makeTestRoot("first");
      const binary = await envoyOrSkip(t, version);
      if (binary === undefined) return;
      const xds = await startScriptedXds(t, root);
      const proxy = {
        serviceAccount: "cart",
        namespace: "shop",
        kind: "sidecar",
        trustDomain: "cluster.local",
        uuid: UUID,
      } as const;
      const leaf = await makeTestLeaf(root, { uris: [proxyUri(proxy)] });
      const own = { certPem: leaf.certPem, keyPem: leaf.keyPem, caPem: root.certPem };
      const dir = await agentFolder(t, {
        credentials: { ...own, proxy, notAfter: "", xdsPort: xds.port, serverName: SERVER_NAME },
      });
      const logPath = join(dir, "envoy.log");
      const options = { binary: binary.path, bootstrapPath: join(dir, "bootstrap.yaml"), name: "cart", logPath };
      const envoy = await runEnvoy(t, options);
      const admin = envoyAdmin(envoy.adminAddress);
      await runAgent(t, { dir, adminAddress: envoy.adminAddress });
      // Envoy's own streams come to this server, too, and are never answered.
      await until("the agent's stream", () => agentStream(xds) !== undefined);
      const stream = agentStream(xds) as ScriptedStream;
      assert.equal(await stream.answer(stream.sendBundle("1-a", root.certPem)), undefined);

      const { certificatePem: unloadable } = await unloadableRoot();
      const refusal = await stream.answer(stream.sendBundle("2-b", unloadable + root.certPem));
      assert.match(refusal ?? "", /Envoy could not load it/);
      const bundle = await readFile(join(dir, "certs/ca.crt"), "utf8");
      assert.ok(!bundle.includes(unloadable) && bundle.includes(root.certPem));
      // What Envoy holds stored is good again: a new companion does not bring the refused bundle to life.
      const renewed = await makeTestLeaf(root, { uris: [proxyUri(proxy)] });
      assert.equal(await stream.answer(stream.sendLeaf("v2", renewed)), undefined);
      assert.deepEqual(
        (await xdsContext(admin))?.trusted.map(({ serial }) => serial),
        [root.serial],
      );
      await envoy.stop();
      const again = await runEnvoy(t, options);
      const context = async () => xdsContext(envoyAdmin(again.adminAddress));
      await until(
        "a new Envoy loads what is in the folder",
        async () => (await context())?.trusted[0]?.serial === root.serial,
      );
      assert.equal((await context())?.chain[0]?.serial, renewed.serial);
    });
  }
});

function agentStream({ streams }: ScriptedXds): ScriptedStream | undefined {
  return streams.find(({ requests }) => requests[0]?.node?.userAgentName === AGENT_NAME);
}
