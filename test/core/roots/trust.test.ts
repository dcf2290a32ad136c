/** The trust in force as a value. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { resolveSecretName } from "../../../src/core/evidence/secret-names.ts";
import { knownTrustDomains, type TrustInForce, withRoots } from "../../../src/core/roots/trust.ts";
import { inForce, trustedRoot } from "../../support/desk.ts";

const CART = { serviceAccount: "cart", namespace: "shop" };

function moved(): TrustInForce {
  const next = trustedRoot("b", "mesh.example");
  return withRoots({ ...inForce("a", "a"), signer: "b", mesh: ["b"], xds: ["b"], xdsServer: "b" }, [next]);
}

test("a trust domain stays known after its last root has left: names in running configurations hold it", () => {
  const trust = moved();
  assert.deepEqual(Object.keys(trust.roots), ["b"]);
  assert.deepEqual(knownTrustDomains(trust), ["cluster.local", "mesh.example"]);
  for (const name of ["spiffe://cluster.local/cart/shop", "spiffe://mesh.example/ns/shop/sa/cart"])
    assert.deepEqual(resolveSecretName(name, CART, knownTrustDomains(trust)), { kind: "leaf" });
  assert.deepEqual(resolveSecretName("spiffe://cluster.local", CART, knownTrustDomains(trust)), { kind: "bundle" });
});

test("a trust domain that was never ours leads nowhere, and one that an earlier version stored without the list is known", () => {
  const name = "spiffe://example.org";
  assert.equal(resolveSecretName(name, CART, knownTrustDomains(moved())).kind, "none");
  const { trustDomains: _, ...stored } = inForce("a", "a");
  assert.deepEqual(knownTrustDomains(stored), ["cluster.local"]);
});
