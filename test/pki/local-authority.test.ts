import "reflect-metadata";
import assert from "node:assert/strict";
import { X509Certificate } from "node:crypto";
import { test } from "node:test";
import { inspect as printed } from "node:util";
import * as x509 from "@peculiar/x509";
import { inspect } from "../../src/pki/inspect.ts";
import { generateKeyPair, privateKeyPem } from "../../src/pki/keys.ts";
import { localAuthority } from "../../src/pki/local-authority.ts";
import { serviceLeaf } from "../../src/pki/profiles.ts";
import { EXTENSIONS, foreignCertificate } from "../support/foreign-certificates.ts";
import { opensslVerify } from "../support/openssl.ts";
import { BOOKBUYER, DAY_MS, FORM, HOUR_MS, NOW, settableClock, testCa, testLeaf } from "../support/pki.ts";

const { ca, certSign, cannotSign, subjectKeyId } = EXTENSIONS;
const clock = settableClock();

test("says what it signed, cut to whole seconds, and never lengthens it", async () => {
  const { authority } = await testCa();
  const keyPair = await generateKeyPair("ec-p256");
  const now = NOW + 0.75 * 1000;
  const request = serviceLeaf(BOOKBUYER, FORM, { now, validityMs: HOUR_MS }, keyPair.publicKey);
  const issued = await authority.issue(request);
  const { fingerprint, serial, notBefore, notAfter } = inspect(issued.chainPem);
  assert.deepEqual(issued, { chainPem: issued.chainPem, fingerprint, serial, notBefore, notAfter });
  assert.equal(issued.notBefore, request.notBefore - 750);
  assert.equal(issued.notAfter, request.notAfter - 750);
});

test("caps a leaf to its root", async () => {
  const { authority, certificatePem } = await testCa({ validityMs: HOUR_MS });
  const leaf = await testLeaf(authority);
  assert.equal(leaf.notAfter, authority.notAfter);
  assert.equal(leaf.notAfter, NOW + HOUR_MS);
  opensslVerify(leaf.chainPem, certificatePem, NOW + HOUR_MS - 1000);
});

test("refuses to sign before and after its root's life, by the clock of that moment", async () => {
  const { authority, clock: own } = await testCa({ validityMs: HOUR_MS });
  own.set(authority.notBefore - 1);
  await assert.rejects(testLeaf(authority), { code: "MR3003", message: /not valid before 2026-06-01T11:58/ });
  own.set(authority.notBefore);
  await testLeaf(authority);
  own.set(authority.notAfter - 1);
  await testLeaf(authority);
  own.set(authority.notAfter);
  await assert.rejects(testLeaf(authority), { code: "MR3002", message: /expired at 2026-06-01T13:00/ });
});

test("refuses certificates that end before they begin, and names that are no IA5String", async () => {
  const { authority } = await testCa();
  const keyPair = await generateKeyPair("ec-p256");
  const good = serviceLeaf(BOOKBUYER, FORM, { now: NOW, validityMs: HOUR_MS }, keyPair.publicKey);
  const bad = [
    { ...good, notAfter: good.notBefore },
    { ...good, dnsNames: ["bücher.example"] },
    { ...good, dnsNames: ["a\0b"] },
    { ...good, uris: [""] },
  ];
  for (const request of bad) await assert.rejects(authority.issue(request), { code: "MR3004" });
});

test("shows no key to whoever prints it", async () => {
  const { authority, keyPair } = await testCa();
  const text = printed(authority, { depth: 9, showHidden: true }) + JSON.stringify(authority);
  assert.doesNotMatch(text, /PRIVATE|KeyObject/);
  assert.ok(!text.includes(privateKeyPem(keyPair).slice(30, 60)));
});

test("a CA that can't be one is refused when it is loaded", async () => {
  const { certificatePem, keyPair } = await testCa();
  const other = await testCa();
  const load = (pem: string, key = keyPair) =>
    localAuthority({ certificatePem: pem, privateKey: key.privateKey, clock });
  assert.throws(() => load(certificatePem, other.keyPair), { code: "MR3001", message: /does not belong/ });
  const leaf = await testLeaf(other.authority);
  assert.throws(() => load(leaf.chainPem, leaf.keyPair), { code: "MR3001", message: /is not a CA/ });
  const cases = [
    { extensions: [] },
    { extensions: [ca, cannotSign] },
    { extensions: [new x509.BasicConstraintsExtension(false, undefined, true), certSign] },
  ];
  for (const options of cases) {
    const foreign = await foreignCertificate(options);
    assert.throws(() => load(foreign.pem, foreign.keyPair), { code: "MR3001", message: /is not a CA/ });
  }
  const ed25519 = await foreignCertificate({ extensions: [ca, certSign], algorithm: "ed25519" });
  assert.throws(() => load(ed25519.pem, ed25519.keyPair), { code: "MR3001", message: /ed25519/ });
  assert.throws(() => load(certificatePem + other.certificatePem), { code: "MR3005", message: /2 certificates/ });
});

test("an operator's CA: its own key id and the very bytes of its name stand in the leaf", async () => {
  const name: x509.JsonNameParams = [
    { C: ["DE"] },
    { O: [{ utf8String: "Größe & Söhne" }], OU: [{ utf8String: "two in one RDN" }] },
    { CN: [{ bmpString: "Wurzel ☂" }] },
  ];
  for (const extensions of [[ca, certSign, subjectKeyId], [ca], [ca, certSign]]) {
    const foreign = await foreignCertificate({ extensions, name });
    const { privateKey } = foreign.keyPair;
    const authority = localAuthority({ certificatePem: foreign.pem, privateKey, clock });
    const { chainPem } = await testLeaf(authority);
    const [leaf, root] = [new X509Certificate(chainPem), new X509Certificate(foreign.pem)];
    assert.ok(leaf.checkIssued(root) && leaf.verify(root.publicKey));
    const nameOf = (pem: string, field: "issuerName" | "subjectName") =>
      Buffer.from(new x509.X509Certificate(pem)[field].toArrayBuffer()).toString("hex");
    assert.equal(nameOf(chainPem, "issuerName"), nameOf(foreign.pem, "subjectName"));
    const own = inspect(foreign.pem).subjectKeyId;
    const named = inspect(chainPem).authorityKeyId;
    if (own === undefined) assert.match(named ?? "", /^[0-9a-f]{40}$/);
    else assert.equal(named, own);
  }
});

test("two roots of one subject in one bundle: each leaf verifies, whichever comes first", async () => {
  const old = await testCa({ algorithm: "rsa-2048" });
  const next = await testCa({ algorithm: "ec-p256", now: NOW + DAY_MS });
  next.clock.set(NOW + DAY_MS);
  const now = NOW + DAY_MS;
  assert.equal(inspect(old.certificatePem).subject, inspect(next.certificatePem).subject);
  const leaves = [await testLeaf(old.authority, "ec-p256", now), await testLeaf(next.authority, "ec-p256", now)];
  for (const bundle of [old.certificatePem + next.certificatePem, next.certificatePem + old.certificatePem]) {
    for (const { chainPem } of leaves) opensslVerify(chainPem, bundle, now);
  }
  const [byOld, byNext] = leaves;
  assert.notEqual(inspect(byOld?.chainPem ?? "").authorityKeyId, inspect(byNext?.chainPem ?? "").authorityKeyId);
  assert.throws(() => opensslVerify(byNext?.chainPem ?? "", old.certificatePem, now));
});
