/** A real Envoy is the judge over our proof of roots: what it refuses, the proof refuses, and what is good is good there. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { ENVOY_VERSIONS } from "../../src/envoy/binary.ts";
import { generateKeyPair, privateKeyPem } from "../../src/pki/keys.ts";
import { serviceLeaf } from "../../src/pki/profiles.ts";
import { envoyOrSkip } from "../support/envoy.ts";
import { authorityOf, type OddRoot } from "../support/odd-roots.ts";
import { type JudgeCase, judge } from "../support/root-judge.ts";
import { GOOD_ROOTS, REFUSED_BY_ENVOY, REFUSED_BY_OPENSSL } from "../support/root-table.ts";

async function caseOf(name: string, root: OddRoot): Promise<JudgeCase> {
  const keyPair = await generateKeyPair("ec-p256");
  const period = { now: Date.now(), validityMs: 3_600_000 };
  const form = { trustDomain: "cluster.local", spiffe: false };
  const identity = { serviceAccount: "cart", namespace: "shop" };
  const authority = authorityOf(root);
  const { chainPem } = await authority.issue(serviceLeaf(identity, form, period, keyPair.publicKey));
  return { name, certPem: chainPem, keyPem: privateKeyPem(keyPair), caPem: authority.certificatePem };
}

for (const version of ENVOY_VERSIONS) {
  test(`A Envoy ${version} verifies under every good root, and refuses each that we say it refuses`, async (t) => {
    const envoy = await envoyOrSkip(t, version);
    if (envoy === undefined) return;
    const good = Object.entries(GOOD_ROOTS).map(([name, make]) => caseOf(name, make()));
    const bad = Object.entries(REFUSED_BY_ENVOY).map(([name, { make }]) => caseOf(name, make()));
    const carried = await judge(t, envoy, await Promise.all([...good, ...bad]));
    assert.deepEqual(carried.sort(), Object.keys(GOOD_ROOTS).sort());
  });
}

test("A Envoy itself is lenient where the xDS port is not: those roots are our own proof's matter", async (t) => {
  const envoy = await envoyOrSkip(t);
  if (envoy === undefined) return;
  const cases = Object.entries(REFUSED_BY_OPENSSL).map(([name, { make }]) => caseOf(name, make()));
  const carried = await judge(t, envoy, await Promise.all(cases));
  for (const name of ["eku-server-only", "an intermediate", "an unknown critical extension", "RSA-1024"])
    assert.ok(carried.includes(name), name);
});
