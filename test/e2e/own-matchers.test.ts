/**
 * A proxy that takes its roots from us and matches its peers' names by itself (`ROOTCA`, as SPIRE's and Istio's configurations
 * do): its trust is proven while names stay as they are, and not ours to prove while a rotation changes them (E8).
 */

import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import type { ProxyFiles } from "../../src/cli/demo/mesh.ts";
import { principalOf, type SanForm } from "../../src/core/identity.ts";
import { DEFAULT_TRUST_DOMAIN } from "../../src/core/roots/mesh-root.ts";
import { ENVOY_VERSIONS, type EnvoyBinary } from "../../src/envoy/binary.ts";
import { A, B, type E2eMesh, MESH_NAMESPACE, startMesh } from "../support/e2e-mesh.ts";
import { editBootstrap } from "../support/edit-proxy.ts";
import { envoyOrSkip } from "../support/envoy.ts";
import { runMeshroot } from "../support/run-meshroot.ts";

const C = "root-c";
const OLD: SanForm = { trustDomain: DEFAULT_TRUST_DOMAIN, spiffe: false };
const NEW: SanForm = { trustDomain: "mesh.example", spiffe: true };
const NAMES = ["cart", "pay", "stock"];

for (const version of ENVOY_VERSIONS) {
  test(`E8 a proxy with matchers of its own holds a change of the names in certificates alone, on Envoy ${version}`, async (t) => {
    const envoy = await envoyOrSkip(t, version);
    if (envoy !== undefined) await rotate(t, envoy);
  });
}

async function rotate(t: TestContext, envoy: EnvoyBinary): Promise<void> {
  const it = await startMesh(t, {
    envoy,
    names: NAMES,
    variants: ["sotw", "delta", "ads"],
    edit: (name, files) => (name === "cart" ? matchByItself(files) : files),
  });
  const { roots, until, untilLoaded } = it;
  it.startLoad();
  await untilLoaded([A], A);

  await toStep4(it, B, A, OLD);
  await untilLoaded([A, B], B);
  await roots.setRole(A, "inactive");
  await untilLoaded([B], B);

  await toStep4(it, C, B, NEW);
  await until("the signer waits for the proxy with matchers of its own alone", ({ holds }) => {
    const hold = holds.find(({ gate }) => gate === "signer");
    const waitingFor = hold?.waitingFor.map(({ proxy }) => proxy).join();
    return hold?.reason === "TrustNotOursToProve" && waitingFor === it.uuid("cart");
  });
  await untilLoaded([B, C], B);
  const { requests: before } = it.load();
  await until("60 more requests are answered", () => it.load().requests >= before + 60);
  assert.equal((await it.status()).signer, B);

  const words = ["--reason", "its matchers have both forms", "--data-dir", it.dataDir];
  const { code, stderr } = await runMeshroot(["proxy", "assume", "cart.shop", ...words]);
  assert.equal(code, 0, stderr);
  await untilLoaded([B, C], C);
  await roots.setRole(B, "inactive");
  await untilLoaded([C], C);
  const { requests } = await it.endLoad();
  t.diagnostic(`${requests} requests, 0 failed`);
}

async function toStep4(it: E2eMesh, to: string, from: string, form: SanForm): Promise<void> {
  await it.roots.create(to, "passive", form);
  await it.until("trust has grown", ({ trusted }) => trusted.includes(to));
  await it.roots.setRole(to, "active");
  await it.roots.setRole(from, "passive");
}

/** Every bundle becomes ROOTCA, from one source; beside it stand the names of the peers in both forms. */
function matchByItself(files: ProxyFiles): ProxyFiles {
  return editBootstrap(files, ({ static_resources: { clusters, listeners } }) => {
    const [inbound] = listeners;
    const { common_tls_context: served } = inbound.filter_chains[0].transport_socket.typed_config;
    served.validation_context_sds_secret_config.name = "ROOTCA";
    for (const peer of NAMES) {
      const cluster = clusters.find(({ name }: { name: string }) => name === peer);
      if (cluster === undefined) continue;
      const { common_tls_context: context } = cluster.transport_socket.typed_config;
      delete context.validation_context_sds_secret_config;
      context.combined_validation_context = {
        default_validation_context: { match_typed_subject_alt_names: [OLD, NEW].map((form) => matcher(peer, form)) },
        validation_context_sds_secret_config: served.validation_context_sds_secret_config,
      };
    }
  });
}

function matcher(serviceAccount: string, form: SanForm) {
  const { type, value } = principalOf({ serviceAccount, namespace: MESH_NAMESPACE }, form);
  return { san_type: type, matcher: { exact: value } };
}
