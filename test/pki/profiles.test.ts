import assert from "node:assert/strict";
import { test } from "node:test";
import { parseProxyUri, proxyCommonName } from "../../src/core/identity.ts";
import { inspect } from "../../src/pki/inspect.ts";
import { generateKeyPair } from "../../src/pki/keys.ts";
import { BACKDATE_MS, fitCommonName, renewalTime, serviceLeaf, xdsClient, xdsServer } from "../../src/pki/profiles.ts";
import { opensslVerify } from "../support/openssl.ts";
import { BOOKBUYER, DAY_MS, HOUR_MS, NOW, testCa } from "../support/pki.ts";
import fc from "../support/property.ts";

const keyPair = await generateKeyPair("ec-p256");
const PERIOD = { now: NOW, validityMs: DAY_MS };
const UUID = "0f8f9e1c-3b0a-4d57-9a53-0a1b2c3d4e5f";
const PROXY = { ...BOOKBUYER, kind: "sidecar", uuid: UUID, trustDomain: "cluster.local" } as const;

test("a service leaf has its DNS principal, and with SPIFFE its URI beside it", () => {
  const plain = serviceLeaf(BOOKBUYER, { trustDomain: "cluster.local", spiffe: false }, PERIOD, keyPair.publicKey);
  assert.deepEqual(plain, {
    commonName: "bookbuyer.bookstore.cluster.local",
    dnsNames: ["bookbuyer.bookstore.cluster.local"],
    uris: [],
    usages: ["serverAuth", "clientAuth"],
    publicKey: keyPair.publicKey,
    notBefore: NOW - BACKDATE_MS,
    notAfter: NOW + DAY_MS,
  });
  const spiffe = serviceLeaf(BOOKBUYER, { trustDomain: "cluster.local", spiffe: true }, PERIOD, keyPair.publicKey);
  assert.deepEqual(spiffe, { ...plain, uris: ["spiffe://cluster.local/bookbuyer/bookstore"] });
});

test("an xDS client has one SAN, from which its identity reads back; it can't be a server", async () => {
  const ca = await testCa();
  const { chainPem } = await ca.authority.issue(xdsClient(PROXY, PERIOD, keyPair.publicKey));
  const info = inspect(chainPem);
  assert.equal(info.uris.length, 1);
  assert.deepEqual(info.dnsNames, []);
  assert.deepEqual(parseProxyUri(info.uris[0] ?? ""), PROXY);
  assert.equal(info.subject, `O=Open Service Mesh, CN=${UUID}.sidecar.bookbuyer.`);
  opensslVerify(chainPem, ca.certificatePem, NOW, "sslclient");
  assert.throws(() => opensslVerify(chainPem, ca.certificatePem, NOW, "sslserver"), /unsuitable certificate purpose/);
});

test("the xDS server has its DNS names and can't be a client", async () => {
  const ca = await testCa();
  const { chainPem } = await ca.authority.issue(
    xdsServer(["xds.meshroot.internal", "localhost"], PERIOD, keyPair.publicKey),
  );
  assert.deepEqual(inspect(chainPem).dnsNames, ["xds.meshroot.internal", "localhost"]);
  opensslVerify(chainPem, ca.certificatePem, NOW, "sslserver");
  assert.throws(() => opensslVerify(chainPem, ca.certificatePem, NOW, "sslclient"), /unsuitable certificate purpose/);
});

test("common names keep whole labels within 64 characters, uuid and kind always", () => {
  assert.equal(fitCommonName("a.b"), "a.b");
  assert.equal(fitCommonName("a".repeat(64)), "a".repeat(64));
  assert.equal(fitCommonName(`${"a".repeat(64)}.b`), "a".repeat(64));
  assert.equal(fitCommonName(`a.${"b".repeat(62)}.c`), `a.${"b".repeat(62)}`);
  assert.equal(fitCommonName(`a.${"b".repeat(63)}.c`), "a");
  assert.equal(fitCommonName("a".repeat(65)), "a".repeat(64));
  const label = fc.stringMatching(/^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$/);
  fc.assert(
    fc.property(label, label, label, (serviceAccount, namespace, trustDomain) => {
      const whole = proxyCommonName({ ...PROXY, serviceAccount, namespace, trustDomain });
      const fitted = fitCommonName(whole);
      assert.ok(fitted.length <= 64 && fitted.startsWith(`${UUID}.sidecar`));
      assert.ok(`${whole}.`.startsWith(`${fitted}.`), "only whole labels are cut");
    }),
  );
});

test("the longest names still make a certificate that openssl takes, with the whole name in its SAN", async () => {
  const ca = await testCa();
  const identity = { serviceAccount: "s".repeat(63), namespace: "n".repeat(63) };
  const form = { trustDomain: `${"t".repeat(60)}.example`, spiffe: true };
  const { chainPem } = await ca.authority.issue(serviceLeaf(identity, form, PERIOD, keyPair.publicKey));
  opensslVerify(chainPem, ca.certificatePem, NOW);
  const info = inspect(chainPem);
  assert.deepEqual(info.dnsNames, [`${identity.serviceAccount}.${identity.namespace}.${form.trustDomain}`]);
  assert.equal(info.subject, `O=Open Service Mesh, CN=${identity.serviceAccount}`);
});

test("renewal comes with a third of the life left, five minutes before the end at least, half-way in a short life", () => {
  assert.equal(renewalTime(NOW, NOW + 24 * HOUR_MS), NOW + 16 * HOUR_MS);
  assert.equal(renewalTime(NOW, NOW + 12 * 60_000), NOW + 7 * 60_000);
  assert.equal(renewalTime(NOW, NOW + 4 * 60_000), NOW + 2 * 60_000);
});
