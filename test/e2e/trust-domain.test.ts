/** A rotation that changes what is written into certificates: trust domain and SPIFFE, forward and back, under load. */

import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { requestOperation } from "../../src/access/admin-client.ts";
import type { ProxyFiles } from "../../src/cli/demo/mesh.ts";
import type { MeshStatus } from "../../src/controller/status.ts";
import { principalOf, type SanForm, type ServiceIdentity } from "../../src/core/identity.ts";
import { ENVOY_VERSIONS } from "../../src/envoy/binary.ts";
import { dumpedMatchers } from "../support/dumped-matchers.ts";
import { A, B, type E2eMesh, MESH_NAMESPACE, startMesh } from "../support/e2e-mesh.ts";
import { editTexts } from "../support/edit-proxy.ts";
import { envoyOrSkip } from "../support/envoy.ts";

const C = "root-c";
const NAMES = ["cart", "pay", "stock", "mail"];
const OLD: SanForm = { trustDomain: "cluster.local", spiffe: false };
const NEW: SanForm = { trustDomain: "mesh.example", spiffe: true };
/** Only the SPIFFE setting differs from the form before. */
const PLAIN: SanForm = { trustDomain: "mesh.example", spiffe: false };
const FORMS: Readonly<Record<string, SanForm>> = { [A]: OLD, [B]: NEW, [C]: PLAIN };

const ALIASES: Readonly<Record<string, string>> = {
  cart: `spiffe://${OLD.trustDomain}/cart/${MESH_NAMESPACE}`,
  stock: `spiffe://${OLD.trustDomain}/ns/${MESH_NAMESPACE}/sa/stock`,
};

for (const version of ENVOY_VERSIONS) {
  test(`trust domain and SPIFFE change, back from steps 2, 3 and 4, and forward, on Envoy ${version}`, async (t) => {
    const envoy = await envoyOrSkip(t, version);
    if (envoy !== undefined) await rotate(t, await startMesh(t, { envoy, names: NAMES, edit: useAliases }));
  });
}

async function rotate(t: TestContext, it: E2eMesh): Promise<void> {
  const { roots } = it;
  it.startLoad();
  await shows(it, [A], A);

  await roots.create(B, "passive", NEW);
  await shows(it, [A, B], A);
  await roots.setRole(B, "inactive");
  await shows(it, [A], A);

  await roots.setRole(B, "passive");
  await shows(it, [A, B], A);
  await roots.setRole(B, "active");
  await untilRead(it, B, "active");
  await shows(it, [A, B], A);
  await roots.setRole(B, "passive");
  await untilRead(it, B, "passive");
  await roots.setRole(B, "inactive");
  await shows(it, [A], A);

  assert.ok(await forward(it, B, A), "nobody has answered yet");
  await roots.setRole(A, "active");
  await untilRead(it, A, "active");
  await roots.setRole(B, "passive");
  await shows(it, [A, B], A);
  await roots.setRole(B, "inactive");
  await shows(it, [A], A);

  await forward(it, B, A);
  await roots.setRole(A, "inactive");
  await shows(it, [B], B);
  await roots.remove(A);

  await roots.create(C, "passive", PLAIN);
  await shows(it, [B, C], B);
  assert.ok(await forward(it, C, B), "a word is about the roots of its day");
  await roots.setRole(B, "inactive");
  await shows(it, [C], C);

  const { requests } = await it.endLoad();
  t.diagnostic(`${requests} requests, 0 failed`);
}

/** SPIRE's and Istio's names hold the trust domain of the day on which the bootstrap was written (xds-protocol.md). */
function useAliases(name: string, files: ProxyFiles): ProxyFiles {
  const leaf = ALIASES[name];
  return leaf === undefined
    ? files
    : editTexts(files, (text) =>
        text
          .replaceAll(`service-cert:${MESH_NAMESPACE}/${name}`, leaf)
          .replaceAll("root-cert-for-mtls-inbound", `spiffe://${OLD.trustDomain}`),
      );
}

/** From `from` signing alone, through steps 2 and 3, to step 4 of the table. True when an operator had to answer. */
async function forward(it: E2eMesh, to: string, from: string): Promise<boolean> {
  const { roots } = it;
  if ((await it.status()).roots.some(({ name, role }) => name === to && role === "inactive")) {
    await roots.setRole(to, "passive");
    await untilRead(it, to, "passive");
  }
  await shows(it, [from, to], from);
  await roots.setRole(to, "active");
  await roots.setRole(from, "passive");
  const needed = await answerForAliases(it, to);
  await shows(it, [from, to], to);
  return needed;
}

/**
 * Those that take a bundle by SPIFFE's name may match names by themselves, so that the signer waits for them alone, and for the
 * word of an operator, who knows that here it is their listeners' (E8). A word that still stands for these roots is enough. True
 * when one was needed.
 */
async function answerForAliases(it: E2eMesh, to: string): Promise<boolean> {
  const aliased = Object.keys(ALIASES).map((name) => it.uuid(name));
  const waitsForThem = ({ holds }: MeshStatus) => {
    const hold = holds.find(({ gate, reason }) => gate === "signer" && reason === "TrustNotOursToProve");
    const waitingFor = hold?.waitingFor.map(({ proxy }) => proxy) ?? [];
    return waitingFor.sort().join() === aliased.toSorted().join();
  };
  await it.until(
    "the signer moves, or waits for those with aliases alone",
    (status) => status.signer === to || waitsForThem(status),
  );
  if ((await it.status()).signer === to) return false;
  for (const name of aliased)
    await requestOperation(it.dataDir, {
      action: "assume",
      name,
      reason: "its listener's bundle",
      for: ["mesh-trust"],
    });
  return true;
}

/** Waits until every Envoy trusts `trusted`, has a leaf in the form of `signer`, and matches every form in force, no other. */
async function shows(it: E2eMesh, trusted: readonly string[], signer: string): Promise<void> {
  await it.untilLoaded(trusted, signer);
  const forms = trusted.map((name) => formOf(name));
  await it.until("matchers of the forms in force, and leaves of the signer's form", async () => {
    for (const name of NAMES) {
      if (!(await hasMatchers(it, name, forms)) || !(await hasLeaf(it, name, formOf(signer)))) return false;
    }
    return true;
  });
  assert.equal(it.load().failures, 0);
}

async function hasMatchers(it: E2eMesh, name: string, forms: readonly SanForm[]): Promise<boolean> {
  const matchers = await dumpedMatchers(adminOf(it, name));
  return NAMES.filter((peer) => peer !== name).every((peer) => {
    const principals = forms.map((form) => principalOf(identity(peer), form));
    const wanted = principals.map(({ type, value }) => `${type}:${value}`).sort();
    return matchers.get(`root-cert-for-mtls-outbound:${MESH_NAMESPACE}/${peer}`)?.join() === wanted.join();
  });
}

async function hasLeaf(it: E2eMesh, name: string, form: SanForm): Promise<boolean> {
  const dnsName = `${name}.${MESH_NAMESPACE}.${form.trustDomain}`;
  const uri = form.spiffe ? `spiffe://${form.trustDomain}/${name}/${MESH_NAMESPACE}` : "";
  const leaves = (await adminOf(it, name).certs()).flatMap(({ chain }) => chain.slice(0, 1));
  const own = leaves.filter(({ uris }) => !uris.some((one) => one.startsWith("meshroot://")));
  return own.length > 1 && own.every((leaf) => leaf.dnsNames.join() === dnsName && leaf.uris.join() === uri);
}

function identity(serviceAccount: string): ServiceIdentity {
  return { serviceAccount, namespace: MESH_NAMESPACE };
}

function formOf(root: string): SanForm {
  const form = FORMS[root];
  if (form === undefined) throw new Error(`no form of ${root}`);
  return form;
}

function adminOf(it: E2eMesh, name: string) {
  const proxy = it.mesh.proxies.get(name);
  if (proxy === undefined) throw new Error(`${name} was never started`);
  return proxy.admin;
}

function untilRead(it: E2eMesh, name: string, role: string): Promise<void> {
  return it.until(`the server has read that ${name} is ${role}`, ({ roots }) =>
    roots.some((root) => root.name === name && root.role === role),
  );
}
