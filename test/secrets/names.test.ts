/** The names of secrets in xds-protocol.md, all of them the caller's own, and the services file behind the matchers. */

import assert from "node:assert/strict";
import { X509Certificate } from "node:crypto";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { FIRST, startServer, tlsOf } from "../support/server.ts";

const SERVICES = "shop/pay: [pay.shop, pay-canary.shop]\nshop/cart: [cart.shop]\n";
const LEAVES = [
  "default",
  "service-cert:shop/cart",
  "spiffe://cluster.local/cart/shop",
  "spiffe://cluster.local/ns/shop/sa/cart",
];
/** File events may get lost; the files are read again every few seconds. */
const PATIENCE_MS = 30_000;
const BUNDLES = ["root-cert-for-mtls-inbound", "ROOTCA", "ALL", "spiffe://cluster.local"];

test("every name and alias gives the caller's own secret", async (t) => {
  const server = await startServer(t);
  const credentials = await server.credential("cart.shop");
  const stream = server.client(credentials).ads();
  stream.request({ names: [...BUNDLES, ...LEAVES, "validation_context_sds", "tls_sds"] });
  const fingerprint = server.running.status().roots[0]?.fingerprint;
  const certificates = new Map<string, X509Certificate>();
  for (let count = 0; count < BUNDLES.length + LEAVES.length + 2; count++) {
    const [secret] = (await stream.next()).secrets;
    stream.ack();
    assert.ok(secret);
    if (secret.kind === "validationContext") {
      assert.equal(hex(new X509Certificate(secret.trustedCaPem)), fingerprint, secret.name);
      assert.deepEqual(secret.sans, [], secret.name);
    } else {
      assert.ok(secret.kind === "tlsCertificate");
      certificates.set(secret.name, new X509Certificate(secret.chainPem));
    }
  }
  assert.deepEqual([...certificates.keys()].sort(), [...LEAVES, "tls_sds"].sort());
  assert.equal((await stream.ended).code, 0, "C4: the ACK of tls_sds ends the connection of the old credential");
  const leaves = LEAVES.map((name) => certificates.get(name));
  assert.equal(new Set(leaves.map((leaf) => leaf && hex(leaf))).size, 1, "one leaf under all its names");
  assert.equal(leaves[0]?.subjectAltName, "DNS:cart.shop.cluster.local");
  const own = certificates.get("tls_sds");
  assert.equal(own?.subjectAltName, `URI:meshroot://cluster.local/proxy/shop/cart/sidecar/${credentials.proxy.uuid}`);
});

test("the credential that tls_sds delivers opens the xDS port", async (t) => {
  const server = await startServer(t);
  const credentials = await server.credential("cart.shop");
  const [secret] = (
    await server
      .client(credentials)
      .secrets()
      .request({ names: ["tls_sds"] })
      .next()
  ).secrets;
  assert.ok(secret?.kind === "tlsCertificate");
  const renewed = { ...tlsOf(credentials), certificate: secret.chainPem, key: secret.privateKeyPem };
  await server
    .client(renewed)
    .secrets()
    .request({ names: ["ROOTCA"] })
    .next();
});

test("outbound bundles carry the matchers of services.yaml and follow its changes", async (t) => {
  const server = await startServer(t);
  const file = join(server.config.dataDir, "services.yaml");
  const client = server.client(await server.credential("cart.shop"));
  const name = "root-cert-for-mtls-outbound:shop/pay";
  const delta = client.deltaSecrets().request({ subscribe: [name] });
  assert.deepEqual((await delta.next()).removed, [name], "there is no such service yet");
  delta.ack();
  const sotw = client.ads().request({ names: [name] });

  await writeFile(file, SERVICES);
  const dns = (...names: string[]) => names.map((one) => ({ type: "DNS", value: `${one}.shop.cluster.local` }));
  const versions: string[] = [];
  for (const stream of [delta, sotw]) {
    const { secrets, version } = await stream.nextSecret(name, PATIENCE_MS);
    assert.ok(secrets[0]?.kind === "validationContext");
    assert.deepEqual(secrets[0].sans, dns("pay-canary", "pay"));
    versions.push(version);
    stream.ack();
  }
  await writeFile(file, SERVICES.replace(", pay-canary.shop", ""));
  for (const stream of [delta, sotw]) {
    const { secrets, version } = await stream.nextSecret(name, PATIENCE_MS);
    assert.ok(secrets[0]?.kind === "validationContext");
    assert.deepEqual(secrets[0].sans, dns("pay"));
    assert.ok(!versions.includes(version));
    stream.ack();
  }
  await writeFile(file, "shop/cart: [cart.shop]\n");
  assert.deepEqual((await delta.next(undefined, PATIENCE_MS)).removed, [name]);
});

test("while the trust domain changes, matchers and names know both forms", async (t) => {
  const server = await startServer(t);
  await writeFile(join(server.config.dataDir, "services.yaml"), SERVICES);
  const client = server.client(await server.credential("cart.shop"));
  const stream = client.deltaSecrets();
  stream.request({ subscribe: ["root-cert-for-mtls-outbound:shop/pay", "spiffe://other.local/cart/shop"] });
  await server.createRoot("next", { trustDomain: "other.local" });
  let sans: readonly string[] = [];
  let leaf = "";
  while (leaf === "" || sans.length < 4) {
    // The names are answered as "not there" first; every answer is accepted until both are.
    const [secret] = (await stream.next(undefined, PATIENCE_MS)).secrets;
    if (secret?.kind === "validationContext") sans = secret.sans.map(({ value }) => value);
    if (secret?.kind === "tlsCertificate") leaf = secret.name;
    stream.ack();
  }
  assert.deepEqual(sans, [
    "pay-canary.shop.cluster.local",
    "pay-canary.shop.other.local",
    "pay.shop.cluster.local",
    "pay.shop.other.local",
  ]);
  assert.equal(leaf, "spiffe://other.local/cart/shop");
  assert.equal(server.running.status().signer, FIRST);
});

function hex(certificate: X509Certificate): string {
  return certificate.fingerprint256.replaceAll(":", "").toLowerCase();
}
