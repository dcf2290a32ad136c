/** Real refusals (T15, findings 1, 6 and 7): a NACK halts the rotation, says who, what and why, and costs no request. */

import assert from "node:assert/strict";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { parse, stringify } from "yaml";
import { ENVOY_VERSIONS } from "../../src/envoy/binary.ts";
import { writeCredentials } from "../../src/envoy/credentials-dir.ts";
import { fileSource, tlsCertificateFile, tlsSocket } from "../../src/envoy/secret-sources.ts";
import { secretFiles } from "../../src/stores/files/secret-files.ts";
import { A, B, type E2eMesh, MESH_NAMESPACE, proxyOf, startMesh } from "../support/e2e-mesh.ts";
import { bootstrapFrom, serveHere } from "../support/e2e-server.ts";
import { envoyOrSkip } from "../support/envoy.ts";
import { trustingProofs } from "../support/trusting-proofs.ts";
import { unloadableRoot } from "../support/unloadable-root.ts";

const BAD = "root-bad";
const NAMES = ["cart", "pay", "stock"];
const BUNDLE = "root-cert-for-mtls-inbound";

for (const version of ENVOY_VERSIONS) {
  test(`a root that Envoy ${version} can't load halts the rotation, and is taken back by its role alone`, async (t) => {
    const envoy = await envoyOrSkip(t, version);
    if (envoy === undefined) return;
    // Its proof refuses this one (A), so that only a root of a kind that nobody thought of gets so far.
    const serve: typeof serveHere = (dataDir, settings) => serveHere(dataDir, settings, { proofs: trustingProofs() });
    const it = await startMesh(t, { envoy, names: NAMES, variants: ["delta", "ads", "sotw"], serve });
    it.startLoad();
    const root = await unloadableRoot();
    const data = { "ca.crt": Buffer.from(root.certificatePem), "private.key": Buffer.from(root.privateKeyPem) };
    const secrets = secretFiles(join(it.dataDir, "secrets"));
    await secrets.write({ name: `ca-${BAD}`, namespace: "osm-system", data });

    await it.roots.create(BAD);
    await it.until("every proxy is in ERROR with Envoy's words", ({ proxies }) =>
      proxies.every(({ sync, error }) => sync === "ERROR" && /Failed to load trusted CA cert/.test(error ?? "")),
    );
    await it.roots.setRole(BAD, "active");
    await it.roots.setRole(A, "passive");
    await halted(it, NAMES, /answering root-cert-for-mtls-.*: .*Failed to load trusted CA cert/);
    await requestsGoOn(it);
    await it.untilLoaded([A], A);

    await it.roots.setRole(A, "active");
    await it.roots.setRole(BAD, "passive");
    await it.roots.setRole(BAD, "inactive");
    await it.until("the bad root has left and every proxy is SYNCED", ({ trusted, proxies }) => {
      const synced = proxies.every(({ sync, error }) => sync === "SYNCED" && error === undefined);
      return trusted.join() === A && synced;
    });
    await it.roots.create(B);
    await it.untilLoaded([A, B], A);
    await it.roots.setRole(B, "active");
    await it.roots.setRole(A, "passive");
    await it.untilLoaded([A, B], B);
    const { requests } = await it.endLoad();
    t.diagnostic(`${requests} requests, 0 failed`);
  });
}

/**
 * The bundle is good, its companion is not: a context of one proxy pairs our bundle with a certificate from files, whose
 * renewal went wrong. Envoy blames the bundle, keeps it, and would skip the same bytes with an ACK for ever after.
 */
test("a good bundle that is blamed for a bad companion is proven anew once that is mended", async (t) => {
  const envoy = await envoyOrSkip(t);
  if (envoy === undefined) return;
  const it = await startMesh(t, { envoy, names: NAMES, variants: ["sotw", "delta", "ads"] });
  const { uuid } = proxyOf(it.mesh, "cart");
  const request = { serviceAccount: "foreign", namespace: MESH_NAMESPACE, kind: "sidecar" } as const;
  const good = await bootstrapFrom(it.dataDir, request);
  const other = await bootstrapFrom(it.dataDir, request);
  const certDir = join(it.dir, "foreign");
  await writeCredentials(certDir, good);
  await addForeignContext(join(it.dir, "cart"), certDir);
  await it.mesh.restart("cart");
  await it.untilReady();
  it.startLoad();

  await writeCredentials(certDir, { ...good, keyPem: other.keyPem });
  const failed = "sds.foreign.key_rotation_failed";
  await it.until("Envoy has refused the foreign pair", async () => {
    const stats = await proxyOf(it.mesh, "cart").admin.stats(failed);
    return stats.get(failed) === 1;
  });
  await it.roots.create(B);
  await it.until("the proxy's bundle is refused with the companion's text", ({ proxies }) =>
    proxies.some(
      ({ proxy, sync, error }) =>
        proxy === uuid &&
        sync === "ERROR" &&
        error?.startsWith(`answering ${BUNDLE}: `) &&
        /KEY_VALUES_MISMATCH/.test(error),
    ),
  );
  await it.roots.setRole(B, "active");
  await it.roots.setRole(A, "passive");
  await halted(it, ["cart"], new RegExp(`answering ${BUNDLE}: .*KEY_VALUES_MISMATCH`));
  await requestsGoOn(it);

  // Not the files from before: Envoy remembers the hash of the last files that it took, so it would skip them (V).
  await writeCredentials(certDir, other);
  // The first retry comes 30 s after the NACK (E5); the operator does nothing more.
  await it.until("the proxy has accepted the bundle", ({ proxies }) =>
    proxies.some(({ proxy, sync }) => proxy === uuid && sync === "SYNCED"),
  );
  await it.untilLoaded([A, B], B);
  const { requests } = await it.endLoad();
  t.diagnostic(`${requests} requests, 0 failed`);
});

async function halted(it: E2eMesh, names: readonly string[], detail: RegExp): Promise<void> {
  const uuids = names.map((name) => it.uuid(name)).sort();
  await it.until(`the signer's hold names ${names.join(", ")}, the secret and Envoy's words`, ({ holds }) => {
    const hold = holds.find(({ gate }) => gate === "signer");
    if (
      hold?.reason !== "Refused" ||
      hold.waitingFor
        .map(({ proxy }) => proxy)
        .sort()
        .join() !== uuids.join()
    )
      return false;
    return hold.waitingFor.every((one) => detail.test(one.detail));
  });
  const { signer, proxies } = await it.status();
  assert.equal(signer, A);
  for (const { identity, signedBy } of proxies)
    assert.deepEqual(signedBy, [A], `${identity} has no leaf of another root`);
}

async function requestsGoOn(it: E2eMesh): Promise<void> {
  const { requests } = it.load();
  await it.until("60 more requests are answered", () => it.load().requests >= requests + 60);
  assert.equal(it.load().failures, 0);
}

/** A cluster that nobody uses, with the inbound listener's bundle and a certificate of its own. */
async function addForeignContext(home: string, certDir: string): Promise<void> {
  const secretPath = join(home, "foreign.yaml");
  await writeFile(secretPath, stringify(tlsCertificateFile("foreign", certDir)));
  const path = join(home, "bootstrap.yaml");
  const bootstrap = parse(await readFile(path, "utf8"));
  const [inbound] = bootstrap.static_resources.listeners;
  const { common_tls_context: context } = inbound.filter_chains[0].transport_socket.typed_config;
  const bundle = context.validation_context_sds_secret_config;
  assert.equal(bundle.name, BUNDLE);
  const app = bootstrap.static_resources.clusters.find(({ name }: { name: string }) => name === "app");
  bootstrap.static_resources.clusters.push({
    ...app,
    name: "foreign",
    load_assignment: { ...app.load_assignment, cluster_name: "foreign" },
    transport_socket: tlsSocket("UpstreamTlsContext", {
      common_tls_context: {
        tls_certificate_sds_secret_configs: [{ name: "foreign", sds_config: fileSource(secretPath) }],
        validation_context_sds_secret_config: bundle,
      },
    }),
  });
  await writeFile(path, stringify(bootstrap, { aliasDuplicateObjects: false }));
}
