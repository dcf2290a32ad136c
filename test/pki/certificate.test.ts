import "reflect-metadata";
import assert from "node:assert/strict";
import { generateKeyPairSync, X509Certificate } from "node:crypto";
import { test } from "node:test";
import * as x509 from "@peculiar/x509";
import {
  type CertificateFields,
  encodeName,
  randomSerial,
  signatureFor,
  signCertificate,
} from "../../src/pki/certificate.ts";
import { keyId } from "../../src/pki/extensions.ts";
import { inspect } from "../../src/pki/inspect.ts";
import { generateKeyPair, type KeyAlgorithm, privateKeyPem } from "../../src/pki/keys.ts";
import { localAuthority } from "../../src/pki/local-authority.ts";
import { certificatePem } from "../../src/pki/pem.ts";
import { openssl, opensslVerify } from "../support/openssl.ts";
import { NOW, settableClock, testCa, testLeaf } from "../support/pki.ts";
import fc from "../support/property.ts";

const ROOTS: readonly KeyAlgorithm[] = ["ec-p256", "ec-p384", "rsa-2048", "rsa-3072"];
const LEAVES: readonly KeyAlgorithm[] = ["ec-p256", "ec-p384", "rsa-2048"];

for (const rootAlgorithm of ROOTS) {
  test(`leaves of every key verify under an ${rootAlgorithm} root: openssl, node:crypto, @peculiar/x509`, async () => {
    const ca = await testCa({ algorithm: rootAlgorithm });
    const root = new x509.X509Certificate(ca.certificatePem);
    assert.ok(await root.verify({ date: new Date(NOW) }));
    for (const algorithm of LEAVES) {
      const { chainPem } = await testLeaf(ca.authority, algorithm);
      opensslVerify(chainPem, ca.certificatePem, NOW, "sslserver");
      opensslVerify(chainPem, ca.certificatePem, NOW, "sslclient");
      assert.ok(new X509Certificate(chainPem).verify(ca.keyPair.publicKey));
      const leaf = new x509.X509Certificate(chainPem);
      assert.ok(await leaf.verify({ publicKey: root.publicKey, date: new Date(NOW) }));
    }
  });
}

test("P-521 CA keys of an operator sign with SHA-512", async () => {
  const keyPair = generateKeyPairSync("ec", { namedCurve: "P-521" });
  const { fields } = await selfSigned({ ...keyPair });
  const pem = certificatePem(await signCertificate(fields, keyPair.privateKey));
  const { privateKey } = keyPair;
  const authority = localAuthority({ certificatePem: pem, privateKey, clock: settableClock() });
  const { chainPem } = await testLeaf(authority);
  opensslVerify(chainPem, pem, NOW);
  assert.match(openssl(["x509", "-in", "leaf", "-noout", "-text"], { leaf: chainPem }), /ecdsa-with-SHA512/);
});

test("openssl prints a leaf as OSM's operators know it", async () => {
  const ca = await testCa({ algorithm: "rsa-2048" });
  const text = (pem: string): string => openssl(["x509", "-in", "leaf", "-noout", "-text"], { leaf: pem });
  const rsa = text((await testLeaf(ca.authority, "rsa-2048")).chainPem);
  assert.match(rsa, /Version: 3/);
  assert.match(rsa, /Signature Algorithm: sha256WithRSAEncryption/);
  assert.match(rsa, /Subject: O = Open Service Mesh, CN = bookbuyer\.bookstore\.cluster\.local\n/);
  assert.match(rsa, /Not Before: Jun {2}1 11:58:00 2026 GMT/);
  assert.match(rsa, /Not After : Jun {2}2 12:00:00 2026 GMT/);
  assert.match(rsa, /Basic Constraints: critical\s+CA:FALSE/);
  assert.match(rsa, /Key Usage: critical\s+Digital Signature, Key Encipherment\n/);
  assert.match(rsa, /TLS Web Server Authentication, TLS Web Client Authentication/);
  assert.match(rsa, /DNS:bookbuyer\.bookstore\.cluster\.local, URI:spiffe:\/\/cluster\.local\/bookbuyer\/bookstore/);
  // RFC 8813: an EC key must not claim to encipher keys.
  assert.match(text((await testLeaf(ca.authority)).chainPem), /Key Usage: critical\s+Digital Signature\n/);
  const root = text(ca.certificatePem);
  assert.match(root, /Basic Constraints: critical\s+CA:TRUE/);
  assert.match(root, /Key Usage: critical\s+Certificate Sign, CRL Sign\n/);
  const purposes = openssl(["x509", "-in", "root", "-noout", "-purpose"], { root: ca.certificatePem });
  assert.match(purposes, /SSL server CA : Yes/);
  assert.doesNotMatch(purposes, /SSL server : Yes/);
});

test("serials are positive, at most 20 bytes, and never the same", () => {
  const serials = Array.from({ length: 200 }, randomSerial);
  assert.ok(serials.every((serial) => serial.length === 20 && (serial[0] ?? 0xff) < 0x80));
  assert.equal(new Set(serials.map((serial) => serial.toString("hex"))).size, serials.length);
});

test("the key that a certificate carries is the one that was given, and its id is one of that key alone", async () => {
  for (const algorithm of LEAVES) {
    const ca = await testCa();
    const { chainPem, keyPair } = await testLeaf(ca.authority, algorithm);
    const carried = new X509Certificate(chainPem).publicKey.export({ type: "spki", format: "pem" });
    assert.equal(carried, keyPair.publicKey.export({ type: "spki", format: "pem" }));
    assert.equal(inspect(chainPem).subjectKeyId, keyId(keyPair.publicKey));
    assert.match(privateKeyPem(keyPair), /^-----BEGIN PRIVATE KEY-----\n/);
  }
});

test("serial and dates come back as they were given, on both sides of 2050", async () => {
  const { fields, keyPair } = await selfSigned();
  const second = (from: string, to: string) =>
    fc.integer({ min: Date.parse(from) / 1000, max: Date.parse(to) / 1000 }).map((seconds) => seconds * 1000);
  await fc.assert(
    fc.asyncProperty(
      fc.uint8Array({ minLength: 1, maxLength: 20 }).filter((bytes) => bytes.some((byte) => byte !== 0)),
      second("1950-01-01T00:00:00Z", "2055-01-01T00:00:00Z"),
      second("2049-12-31T00:00:00Z", "9999-12-31T23:59:59Z"),
      fc.integer({ min: 0, max: 999 }),
      async (bytes, notBefore, notAfter, fraction) => {
        bytes[0] = (bytes[0] ?? 0) & (bytes.length === 20 ? 0x7f : 0xff);
        const serial = Buffer.from(bytes);
        const changed = { ...fields, serial, notBefore: notBefore + fraction, notAfter: notAfter + fraction };
        const der = await signCertificate(changed, keyPair.privateKey);
        const info = inspect(der);
        assert.equal(info.serial, BigInt(`0x${serial.toString("hex")}`).toString(16));
        assert.deepEqual([info.notBefore, info.notAfter], [notBefore, notAfter]);
        const other = new x509.X509Certificate(der);
        assert.deepEqual([other.notBefore.getTime(), other.notAfter.getTime()], [notBefore, notAfter]);
        assert.equal(BigInt(`0x${other.serialNumber}`), BigInt(`0x${serial.toString("hex")}`));
      },
    ),
    { numRuns: 60 },
  );
});

test("2049 is a UTCTime, 2050 a GeneralizedTime", async () => {
  const { fields, keyPair } = await selfSigned();
  const [notBefore, notAfter] = [Date.parse("2049-12-31T23:59:59Z"), Date.parse("2050-01-01T00:00:00Z")];
  const der = await signCertificate({ ...fields, notBefore, notAfter }, keyPair.privateKey);
  const dump = openssl(["asn1parse", "-inform", "DER", "-in", "der"], { der });
  assert.match(dump, /UTCTIME\s+:491231235959Z/);
  assert.match(dump, /GENERALIZEDTIME\s+:20500101000000Z/);
});

test("names of any letters come back, in both string types", async () => {
  const { fields, keyPair } = await selfSigned();
  const text = fc.oneof(fc.string({ minLength: 1 }), fc.string({ unit: "binary", minLength: 1, maxLength: 20 }));
  await fc.assert(
    fc.asyncProperty(text, text, async (organization, commonName) => {
      const subject = encodeName({ organization, commonName });
      const der = await signCertificate({ ...fields, subject }, keyPair.privateKey);
      const { subjectName } = new x509.X509Certificate(der);
      assert.deepEqual(subjectName.getField("O"), [organization]);
      assert.deepEqual(subjectName.getField("CN"), [commonName]);
      assert.doesNotMatch(inspect(der).subject, /\n/);
    }),
    { numRuns: 60 },
  );
});

const USAGES = [
  "digitalSignature",
  "nonRepudiation",
  "keyEncipherment",
  "dataEncipherment",
  "keyAgreement",
  "keyCertSign",
  "cRLSign",
  "encipherOnly",
  "decipherOnly",
] as const;

test("every set of key usages, DNS names and URIs comes back", async () => {
  const { fields, keyPair } = await selfSigned();
  const ascii = fc.stringMatching(/^[\x21-\x7e]{1,80}$/);
  await fc.assert(
    fc.asyncProperty(
      fc.subarray([...USAGES], { minLength: 1 }),
      fc.array(ascii, { maxLength: 4 }),
      fc.array(ascii, { maxLength: 4 }),
      async (keyUsage, dnsNames, uris) => {
        const der = await signCertificate({ ...fields, keyUsage, dnsNames, uris }, keyPair.privateKey);
        const info = inspect(der);
        assert.deepEqual([info.keyUsage, info.dnsNames, info.uris], [keyUsage, dnsNames, uris]);
        const usages = new x509.X509Certificate(der).getExtension(x509.KeyUsagesExtension)?.usages;
        assert.equal(
          usages,
          keyUsage.reduce((sum, usage) => sum | (1 << USAGES.indexOf(usage)), 0),
        );
      },
    ),
    { numRuns: 60 },
  );
});

test("keys that we do not sign certificates with are told", async () => {
  const { fields } = await selfSigned();
  const others = [
    generateKeyPairSync("ed25519").privateKey,
    generateKeyPairSync("ec", { namedCurve: "secp256k1" }).privateKey,
  ];
  for (const key of others) {
    assert.equal(signatureFor(key), undefined);
    await assert.rejects(signCertificate(fields, key), { code: "MR3004" });
  }
});

async function selfSigned(given?: Awaited<ReturnType<typeof generateKeyPair>>) {
  const keyPair = given ?? (await generateKeyPair("ec-p256"));
  const name = encodeName({ commonName: "test" });
  const id = keyId(keyPair.publicKey);
  const fields: CertificateFields = {
    serial: randomSerial(),
    issuer: name,
    subject: name,
    notBefore: NOW - 1000,
    notAfter: NOW + 365 * 86_400_000,
    publicKey: keyPair.publicKey,
    isCa: true,
    keyUsage: ["keyCertSign"],
    extKeyUsage: [],
    dnsNames: [],
    uris: [],
    subjectKeyId: id,
    authorityKeyId: id,
  };
  return { fields, keyPair };
}
