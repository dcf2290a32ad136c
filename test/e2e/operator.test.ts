/**
 * What only an operator can decide, on real Envoys under load: a proxy that gets its roots from elsewhere (`assume`), one whose
 * process is gone (`forget`), two processes on one credential (stop one); and a name that does not exist, which holds nothing.
 */

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { readFile, rename, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { parse, stringify } from "yaml";
import type { ProxyFiles } from "../../src/cli/demo/mesh.ts";
import type { Hold } from "../../src/core/rotation/holds.ts";
import { ENVOY_VERSIONS, type EnvoyBinary } from "../../src/envoy/binary.ts";
import { fileSource } from "../../src/envoy/secret-sources.ts";
import { A, B, type E2eMesh, proxyOf, startMesh } from "../support/e2e-mesh.ts";
import { editBootstrap } from "../support/edit-proxy.ts";
import { envoyOrSkip, runEnvoy } from "../support/envoy.ts";
import { loadedRoots } from "../support/loaded-roots.ts";
import { runMeshroot } from "../support/run-meshroot.ts";

const UNKNOWN = "root-cert-for-mtls-outbound:shop/nobody";

for (const version of ENVOY_VERSIONS) {
  test(`assume, forget and a stopped twin let a rotation go on, on Envoy ${version}`, async (t) => {
    const envoy = await envoyOrSkip(t, version);
    if (envoy !== undefined) await rotate(t, envoy);
  });
}

async function rotate(t: TestContext, envoy: EnvoyBinary): Promise<void> {
  const it = await startMesh(t, {
    envoy,
    names: ["cart", "pay", "stock", "gone"],
    start: ["cart", "pay", "stock"],
    variants: ["sotw", "delta"],
    edit: (name, files) => (name === "cart" ? ownBundle(files) : name === "pay" ? askForNobody(files) : files),
  });
  it.startLoad();
  await it.mesh.start("gone");
  const twin = await runEnvoy(t, {
    binary: envoy.path,
    bootstrapPath: await withoutPorts(join(it.dir, "stock")),
    name: "twin",
    logPath: join(it.dir, "stock", "twin.log"),
  });
  await it.untilReady();
  assert.deepEqual((await it.statusOf("pay")).unknownNames, [UNKNOWN]);
  await proxyOf(it.mesh, "gone").envoy.kill();
  await it.until("the server has noticed", async () => !(await it.statusOf("gone")).connected);

  await it.roots.create(B);
  await it.until("trust has grown", ({ trusted }) => trusted.includes(B));
  await it.roots.setRole(B, "active");
  await it.roots.setRole(A, "passive");
  await held(it, "TrustNotOursToProve", "cart");
  await held(it, "TwoStreams", "stock");
  await twin.kill();

  await held(it, "TrustNotOursToProve", "cart");
  const cart = proxyOf(it.mesh, "cart");
  await writeBundle(join(it.dir, "cart"), [...(await it.knownRoots()).values()].map(String).reverse());
  await it.until("cart has loaded both roots from its file", async () => {
    const contexts = await loadedRoots(cart.admin, await it.knownRoots());
    return contexts.length > 1 && contexts.every(({ trusted }) => trusted.includes(B));
  });
  await operator(it, "assume", "cart.shop");
  await held(it, "WaitingForTrust", "gone");
  assert.equal((await it.status()).signer, A);
  await operator(it, "forget", "gone.shop");
  // What the twin left counts for five minutes (E6), so `stock` may present the old leaf, too, as far as anybody can tell.
  await it.until("everybody who is here has a leaf of the new root", ({ proxies }) =>
    proxies.every(({ connected, sync, signedBy }) => !connected || (sync === "SYNCED" && signedBy.includes(B))),
  );

  await it.mesh.restart("gone");
  await it.untilReady();
  await it.untilLoaded([A, B], B);
  assert.equal((await it.statusOf("gone")).forgotten, undefined);
  it.startLoad();
  const before = it.load().requests;
  await it.until("requests with it, too", () => it.load().requests > before + 60);
  const { requests } = await it.endLoad();
  t.diagnostic(`${requests} requests, 0 failed`);
}

/** At the signer's gate, for this proxy alone. */
async function held(it: E2eMesh, reason: Hold["reason"], name: string): Promise<void> {
  await it.until(`the signer is held: ${reason} at ${name}`, ({ signer, holds }) => {
    assert.equal(signer, A);
    const hold = holds.find(({ gate }) => gate === "signer");
    return hold?.reason === reason && hold.waitingFor.map(({ proxy }) => proxy).join() === it.uuid(name);
  });
}

async function operator(it: E2eMesh, word: "assume" | "forget", name: string): Promise<void> {
  const args = ["proxy", word, name, "--reason", "end-to-end test", "--data-dir", it.dataDir];
  const { code, stderr } = await runMeshroot(args);
  assert.equal(code, 0, stderr);
}

/** Its roots come from a file of its own: we give it a leaf, and can't tell what it trusts (E8). */
function ownBundle(files: ProxyFiles): ProxyFiles {
  const home = homeOf(files);
  const source = { name: "own", sds_config: fileSource(join(home, "own.yaml")) };
  const edited = editBootstrap(files, ({ static_resources: { listeners, clusters } }) => {
    const filterChains = listeners.flatMap((listener: { filter_chains: object[] }) => listener.filter_chains);
    for (const { transport_socket } of [...filterChains, ...clusters]) {
      const context = transport_socket?.typed_config.common_tls_context;
      if (context?.validation_context_sds_secret_config) context.validation_context_sds_secret_config = source;
    }
  });
  // The bundle of the xDS connection is the mesh's on the first day.
  return { ...edited, "own.yaml": ownSecret([readFileSync(join(home, "certs", "ca.crt"), "utf8")]) };
}

async function writeBundle(home: string, pems: readonly string[]): Promise<void> {
  await writeFile(join(home, "own.next"), ownSecret(pems));
  // Envoy looks again when a file is moved there.
  await rename(join(home, "own.next"), join(home, "own.yaml"));
}

function ownSecret(pems: readonly string[]): string {
  const type = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret";
  const validation_context = { trusted_ca: { inline_string: pems.join("") } };
  return stringify({ resources: [{ "@type": type, name: "own", validation_context }] });
}

/** One cluster more, to a service that nobody has declared. */
function askForNobody(files: ProxyFiles): ProxyFiles {
  return editBootstrap(files, ({ static_resources: { clusters } }) => {
    const copy = structuredClone(clusters.at(-1));
    copy.name = "nobody";
    copy.load_assignment.cluster_name = "nobody";
    copy.transport_socket.typed_config.common_tls_context.validation_context_sds_secret_config.name = UNKNOWN;
    clusters.push(copy);
  });
}

/** The bootstrap of a second process with everything of the first but its ports. Returns its path. */
async function withoutPorts(home: string): Promise<string> {
  const bootstrap = parse(await readFile(join(home, "bootstrap.yaml"), "utf8"));
  for (const { address } of bootstrap.static_resources.listeners) address.socket_address.port_value = 0;
  const path = join(home, "twin.yaml");
  await writeFile(path, stringify(bootstrap, { aliasDuplicateObjects: false }));
  return path;
}

function homeOf(files: ProxyFiles): string {
  const path = /path: "?(.+)\/tls_sds\.yaml/.exec(files["bootstrap.yaml"] ?? "")?.[1];
  assert.ok(path !== undefined);
  return path;
}
