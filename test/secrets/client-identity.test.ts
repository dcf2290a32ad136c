/** What the certificate alone tells; test/secrets/identity.test.ts has the rest, over the wire. */

import assert from "node:assert/strict";
import { X509Certificate } from "node:crypto";
import { test } from "node:test";
import { proxyUri } from "../../src/core/identity.ts";
import { type TrustedRoot, withRoots } from "../../src/core/roots/trust.ts";
import { identifyClient } from "../../src/secrets/client-identity.ts";
import { makeTestLeaf, makeTestRoot } from "../support/test-certificates.ts";

const PROXY = {
  serviceAccount: "cart",
  namespace: "shop",
  kind: "sidecar",
  uuid: "5f0c2a3e-0b1d-4c6f-9a7e-0123456789ab",
} as const;

test("C1: where one CA stands behind two MRCs, the trust domain tells which of them a credential is under", async () => {
  const ca = await makeTestRoot("both");
  const behind = (trustDomain: string): TrustedRoot => ({
    id: `f/${trustDomain}`,
    name: trustDomain,
    fingerprint: "f",
    serial: "1",
    form: { trustDomain, spiffe: false },
    certificatePem: ca.certPem,
    notBefore: 0,
    notAfter: Number.MAX_SAFE_INTEGER,
  });
  const roots = [behind("old.example"), behind("new.example")];
  const ids = roots.map(({ id }) => id);
  const [first = ""] = ids;
  for (const xds of [ids, ids.toReversed()]) {
    const trust = withRoots({ generation: 1, signer: first, mesh: xds, xds, xdsServer: first, roots: {} }, roots);
    for (const trustDomain of ["old.example", "new.example"]) {
      const leaf = await makeTestLeaf(ca, { uris: [proxyUri({ ...PROXY, trustDomain })] });
      const { credential, proxy } = identifyClient(new X509Certificate(leaf.certPem), trust, Date.now());
      assert.deepEqual([credential.root, proxy.trustDomain], [`f/${trustDomain}`, trustDomain]);
    }
  }
});

test("E: a client under a root that has expired is refused, however long its certificate is good for", async () => {
  const ca = await makeTestRoot("old");
  const leaf = await makeTestLeaf(ca, { uris: [proxyUri({ ...PROXY, trustDomain: "cluster.local" })] });
  const certificate = new X509Certificate(leaf.certPem);
  const now = Date.now();
  const under = (notAfter: number) => {
    const form = { trustDomain: "cluster.local", spiffe: false };
    const certificatePem = ca.certPem;
    const root = {
      id: "old",
      name: "old",
      fingerprint: "f",
      serial: "1",
      form,
      certificatePem,
      notBefore: 0,
      notAfter,
    };
    const ids = ["old"];
    const trust = withRoots({ generation: 1, signer: "old", mesh: ids, xds: ids, xdsServer: "old", roots: {} }, [root]);
    return () => identifyClient(certificate, trust, now);
  };
  assert.equal(under(now + 1)().credential.root, "old");
  assert.throws(under(now), { code: "MR4001" });
});
