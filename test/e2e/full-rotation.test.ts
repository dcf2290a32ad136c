/** The six steps of the table in README.md on real Envoys in all four protocols, under load. */

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { ENVOY_VERSIONS } from "../../src/envoy/binary.ts";
import { secretFiles } from "../../src/stores/files/secret-files.ts";
import { A, B, type E2eMesh, startMesh } from "../support/e2e-mesh.ts";
import { envoyOrSkip } from "../support/envoy.ts";
import { dumpedRoots } from "../support/loaded-roots.ts";

for (const version of ENVOY_VERSIONS) {
  test(`steps 1 to 6 on Envoy ${version}: no request fails, /certs shows each step's roots`, async (t) => {
    const envoy = await envoyOrSkip(t, version);
    if (envoy !== undefined) await rotate(t, await startMesh(t, { envoy, names: ["cart", "pay", "stock", "mail"] }));
  });
}

async function rotate(t: TestContext, it: E2eMesh): Promise<void> {
  const { roots, until, untilLoaded } = it;
  const outputs: string[] = [];
  const note = async () => {
    const metrics = await fetch(`http://127.0.0.1:${it.server.httpPort}/metrics`);
    outputs.push(JSON.stringify(await it.status()), await metrics.text());
  };
  const inForce = (trusted: readonly string[], signer: string) =>
    until(`${trusted.join(" and ")} in force and at every proxy, ${signer} signs`, (status) => {
      const isThere = status.signer === signer && sorted(status.trusted) === sorted(trusted);
      return isThere && status.proxies.every((proxy) => proxy.sync === "SYNCED" && proxy.signedBy.join() === signer);
    });
  const step = async (number: number, trusted: readonly string[], signer: string) => {
    await inForce(trusted, signer);
    await untilLoaded(trusted, signer);
    await dumpShows(it, trusted);
    await note();
    const { requests, failures } = it.load();
    t.diagnostic(`step ${number}: ${requests} requests, ${failures} failed`);
    assert.equal(failures, 0);
  };

  it.startLoad();
  await step(1, [A], A);
  await roots.create(B);
  await step(2, [A, B], A);
  await roots.setRole(B, "active");
  await until("the server has read that both are active", ({ roots: all }) =>
    all.every(({ role }) => role === "active"),
  );
  await step(3, [A, B], A);
  const keys = await privateKeys(it);
  await roots.setRole(A, "passive");
  await step(4, [A, B], B);
  await roots.setRole(A, "inactive");
  await step(5, [B], B);
  await roots.remove(A);
  await until("the old CA's key is destroyed", async () => {
    const secret = { name: "osm-ca-bundle", namespace: "osm-system" };
    return (await secretFiles(join(it.dataDir, "secrets")).read(secret)) === undefined;
  });
  await step(6, [B], B);
  const { requests } = await it.endLoad();
  t.diagnostic(`${requests} requests, 0 failed`);
  holdsNoPrivateKey([...outputs, it.server.logText(), ...(await envoyLogs(it))], keys);
}

function sorted(names: readonly string[]): string {
  return [...names].sort().join();
}

async function dumpShows(it: E2eMesh, trusted: readonly string[]): Promise<void> {
  const known = await it.knownRoots();
  for (const { name, admin } of it.mesh.proxies.values()) {
    const bundles = await dumpedRoots(admin, known);
    // One for the inbound listener, one for each of the three peers.
    assert.equal(bundles.size, 4, `${name} has its bundles: ${[...bundles.keys()]}`);
    for (const [bundle, roots] of bundles) assert.equal(roots.join(), sorted(trusted), `${bundle} of ${name}`);
  }
}

/** PEM of every private key that is on this machine's disk for this mesh. */
async function privateKeys(it: E2eMesh): Promise<string[]> {
  const secrets = secretFiles(join(it.dataDir, "secrets"));
  const keys: string[] = [];
  for (const name of ["osm-ca-bundle", `ca-${B}`, "meshroot-xds-server"]) {
    const data = (await secrets.read({ name, namespace: "osm-system" }))?.data;
    const key = data?.["private.key"] ?? data?.["tls.key"];
    assert.ok(key, `secret ${name} holds a key`);
    keys.push(key.toString());
  }
  for (const name of it.mesh.proxies.keys()) keys.push(await readFile(join(it.dir, name, "certs/tls.key"), "utf8"));
  return keys;
}

function envoyLogs(it: E2eMesh): Promise<string[]> {
  return Promise.all([...it.mesh.proxies.keys()].map((name) => readFile(join(it.dir, name, "envoy.log"), "utf8")));
}

/** The last lines of a key's body are its secret; and what every PKCS #8 key of ours begins with finds those of leaves. */
function holdsNoPrivateKey(outputs: readonly string[], keys: readonly string[]): void {
  const beginnings = /PRIVATE KEY|MIGHAgEAMBMGByqGSM49|AgEAMA0GCSqGSIb3DQEBAQUABI/;
  for (const key of keys) assert.match(key, beginnings, "the scan would find a key");
  for (const output of outputs) {
    const found = output.match(beginnings);
    assert.equal(
      found?.[0],
      undefined,
      `a key begins in: ${output.slice(Math.max(0, (found?.index ?? 0) - 200), found?.index)}`,
    );
    for (const key of keys) {
      const body = key.split("\n").filter((line) => line !== "" && !line.startsWith("-"));
      for (const line of body) assert.ok(!output.includes(line), "a piece of a private key is in the output");
    }
  }
}
