import assert from "node:assert/strict";
import { readFile, rename, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { startEchoApp, startTraffic } from "../../src/cli/demo/traffic.ts";
import { listsWholeBundle } from "../../src/envoy/admin.ts";
import { ENVOY_VERSIONS } from "../../src/envoy/binary.ts";
import { writeCredentials } from "../../src/envoy/credentials-dir.ts";
import { temporaryDirectory } from "../support/data-dir.ts";
import { envoyOrSkip, eventually } from "../support/envoy.ts";
import { type FileProxy, startFileProxy } from "../support/file-mesh.ts";
import { makeTestLeaf, makeTestRoot, type TestRoot } from "../support/test-certificates.ts";

const SERVER = { serviceAccount: "bookstore", namespace: "bookstore" };
const CLIENT = { serviceAccount: "bookbuyer", namespace: "bookbuyer" };

/** New leaf under `signer`, trust in `roots`; returns the leaf's serial. */
async function renew(certDir: string, signer: TestRoot, roots: readonly TestRoot[]): Promise<string> {
  const leaf = await makeTestLeaf(signer, { dns: ["bookstore.bookstore.cluster.local"] });
  const caPem = roots.map((root) => root.certPem).join("");
  await writeCredentials(certDir, { certPem: leaf.certPem, keyPem: leaf.keyPem, caPem });
  return leaf.serial;
}

async function startPair(t: TestContext, binary: string, root: TestRoot) {
  const app = await startEchoApp("bookstore");
  t.after(() => app.stop());
  const dir = await temporaryDirectory(t);
  const prepare = async (certDir: string) => void (await renew(certDir, root, [root]));
  const server = await startFileProxy(t, {
    binary,
    dir: join(dir, "server"),
    prepare,
    identity: SERVER,
    inbound: { host: "127.0.0.1", port: 0, app: { host: "127.0.0.1", port: app.port } },
  });
  const peer = { host: "127.0.0.1", port: await server.port("inbound") };
  const client = await startFileProxy(t, {
    binary,
    dir: join(dir, "client"),
    prepare,
    identity: CLIENT,
    outbound: [{ name: "bookstore", listenPort: 0, peer, service: "bookstore/bookstore" }],
  });
  return { app, server, client, url: `http://127.0.0.1:${await client.port("outbound_bookstore")}/books` };
}

/** Whether every leaf that this Envoy holds is this one, and every bundle these roots, as far as its version tells. */
async function holds(proxy: FileProxy, serial: string, roots: readonly TestRoot[]): Promise<boolean> {
  const visible = listsWholeBundle(await proxy.admin.version()) ? roots : roots.slice(0, 1);
  const wanted = visible.map((root) => root.serial).join();
  const contexts = await proxy.admin.certs();
  return (
    contexts.length > 0 &&
    contexts.every(
      ({ chain, trusted }) =>
        chain[0]?.serial === serial && trusted.map((certificate) => certificate.serial).join() === wanted,
    )
  );
}

for (const version of ENVOY_VERSIONS) {
  test(`Envoy ${version}: mTLS through both sidecars, and ten credential swaps under traffic without a failure`, async (t) => {
    const envoy = await envoyOrSkip(t, version);
    if (envoy === undefined) return;
    const root = await makeTestRoot("first");
    const { app, server, client, url } = await startPair(t, envoy.path, root);

    const response = await fetch(url);
    assert.equal(await response.text(), "bookstore GET /books\n");
    const traffic = startTraffic({
      targets: [{ from: "bookbuyer", to: "bookstore", url }],
      requestsPerSecond: 50,
      timeoutMs: 20_000,
    });
    for (let swap = 0; swap < 10; swap++) {
      for (const proxy of [server, client]) {
        const serial = await renew(proxy.certDir, root, [root]);
        await eventually(`swap ${swap} is loaded`, () => holds(proxy, serial, [root]));
      }
    }
    const result = await traffic.stop();
    assert.deepEqual(result.firstFailures, []);
    assert.ok(result.requests > 0);
    assert.equal(app.requests(), result.requests + 1);

    // One handshake for each request on both sides: no connection and no session was used twice.
    const handshakes = async (proxy: FileProxy) =>
      [...(await proxy.admin.stats("\\.ssl\\.(handshake|session_reused)$"))].filter(
        ([name]) => !name.includes("meshroot_xds"),
      );
    for (const proxy of [server, client]) {
      const counts = await handshakes(proxy);
      const sum = (suffix: string) =>
        counts.filter(([name]) => name.endsWith(suffix)).reduce((total, [, value]) => total + Number(value), 0);
      assert.equal(sum("ssl.handshake"), result.requests + 1);
      assert.equal(sum("ssl.session_reused"), 0);
      assert.doesNotMatch(await readFile(proxy.logPath, "utf8"), /KEY_VALUES_MISMATCH|Failed to load/);
      const failed = await proxy.admin.stats("key_rotation_failed");
      assert.ok(failed.size > 0 && [...failed.values()].every((value) => value === 0));
    }
  });

  test(`Envoy ${version}: a client under an unknown root is refused, and let in once both sides trust both roots`, async (t) => {
    const envoy = await envoyOrSkip(t, version);
    if (envoy === undefined) return;
    const [oldRoot, newRoot] = [await makeTestRoot("old"), await makeTestRoot("new")];
    const { server, client, url } = await startPair(t, envoy.path, oldRoot);
    const foreign = await renew(client.certDir, newRoot, [oldRoot]);
    await eventually("the client presents the new root's leaf", () => holds(client, foreign, [oldRoot]));
    await assert.rejects(fetch(url));
    await eventually("the server counts it", async () =>
      [...(await server.admin.stats("inbound|listener.*fail_verify_error"))].some(
        ([name, value]) => name.endsWith("ssl.fail_verify_error") && value === 1,
      ),
    );

    const both = await renew(server.certDir, oldRoot, [newRoot, oldRoot]);
    await eventually("the server trusts both", () => holds(server, both, [newRoot, oldRoot]));
    assert.equal((await fetch(url)).status, 200);
  });
}

test("certificate and key renamed one after the other: Envoy sees a pair that does not match (C2)", async (t) => {
  const envoy = await envoyOrSkip(t);
  if (envoy === undefined) return;
  const root = await makeTestRoot("first");
  const { server } = await startPair(t, envoy.path, root);
  const leaf = await makeTestLeaf(root, { dns: ["bookstore.bookstore.cluster.local"] });
  const replace = async (name: string, content: string) => {
    await writeFile(join(server.certDir, `${name}.next`), content, { mode: 0o600 });
    await rename(join(server.certDir, `${name}.next`), join(server.certDir, name));
  };
  await replace("tls.crt", leaf.certPem);
  await eventually("the mismatch is logged", async () =>
    (await readFile(server.logPath, "utf8")).includes("KEY_VALUES_MISMATCH"),
  );
  assert.equal(await holds(server, leaf.serial, [root]), false);
  await replace("tls.key", leaf.keyPem);
  await eventually("the matching pair is loaded", () => holds(server, leaf.serial, [root]));
});
