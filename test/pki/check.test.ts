import "reflect-metadata";
import assert from "node:assert/strict";
import { generateKeyPairSync } from "node:crypto";
import { test } from "node:test";
import * as x509 from "@peculiar/x509";
import type { Problem } from "../../src/core/errors.ts";
import { checkBundle, checkLeaf } from "../../src/pki/check.ts";
import { privateKeyPem } from "../../src/pki/keys.ts";
import { localAuthority } from "../../src/pki/local-authority.ts";
import { serviceLeaf } from "../../src/pki/profiles.ts";
import type { KeyPair } from "../../src/ports/provider.ts";
import { EXTENSIONS, foreignCertificate } from "../support/foreign-certificates.ts";
import { opensslVerify } from "../support/openssl.ts";
import { BOOKBUYER, DAY_MS, FORM, HOUR_MS, NOW, settableClock, testCa, testLeaf } from "../support/pki.ts";

/** What E2 puts in front of PEM. */
const COMMENT = "meshroot 9f86d081884c7d65\n";

const { ca, caWithPathLength0, certSign, subjectKeyId } = EXTENSIONS;
const root = await testCa();
const leaf = await testLeaf(root.authority);
const GOOD = {
  chainPem: leaf.chainPem,
  privateKeyPem: privateKeyPem(leaf.keyPair),
  rootPem: root.certificatePem,
  now: NOW,
};

function assertProblem(problem: Problem | undefined, code: string, message: RegExp): void {
  assert.equal(problem?.code, code);
  assert.match(problem.message, message);
  assert.ok(!(problem.message + problem.hint).includes(GOOD.privateKeyPem.slice(60, 80)), "repeats key material");
}

test("passes what Envoy would load, under roots of every kind", async () => {
  assert.equal(checkLeaf(GOOD), undefined);
  assert.equal(checkLeaf({ ...GOOD, chainPem: COMMENT + leaf.chainPem }), undefined);
  assert.equal(checkLeaf({ ...GOOD, chainPem: leaf.chainPem + root.certificatePem }), undefined);
  const rsa = await testCa({ algorithm: "rsa-2048" });
  for (const algorithm of ["ec-p256", "ec-p384", "rsa-2048"] as const) {
    const { chainPem, keyPair } = await testLeaf(rsa.authority, algorithm);
    const privateKey = privateKeyPem(keyPair);
    assert.equal(checkLeaf({ chainPem, privateKeyPem: privateKey, rootPem: rsa.certificatePem, now: NOW }), undefined);
  }
});

test("withholds a leaf whose key is another one, or can't be read", async () => {
  const other = privateKeyPem((await testLeaf(root.authority)).keyPair);
  assertProblem(checkLeaf({ ...GOOD, privateKeyPem: other }), "MR4003", /does not match its private key/);
  const spoilt = GOOD.privateKeyPem.replace(/\n.{20}/, "\n");
  assertProblem(checkLeaf({ ...GOOD, privateKeyPem: spoilt }), "MR3005", /private key is not/);
  assertProblem(checkLeaf({ ...GOOD, privateKeyPem: "" }), "MR3005", /private key is not/);
});

test("withholds what can't be read", () => {
  assertProblem(checkLeaf({ ...GOOD, chainPem: "" }), "MR3005", /holds no certificate/);
  assertProblem(checkLeaf({ ...GOOD, chainPem: leaf.chainPem.slice(0, 300) }), "MR3005", /no matching end line/);
  assertProblem(checkLeaf({ ...GOOD, chainPem: leaf.chainPem + GOOD.privateKeyPem }), "MR3005", /is a PRIVATE KEY/);
  assertProblem(checkLeaf({ ...GOOD, rootPem: "" }), "MR3005", /root is not exactly one/);
});

test("withholds a leaf outside of its life; the root may have expired", async () => {
  assertProblem(checkLeaf({ ...GOOD, now: leaf.notAfter }), "MR4003", /expired at/);
  assert.equal(checkLeaf({ ...GOOD, now: leaf.notAfter - 1 }), undefined);
  assertProblem(checkLeaf({ ...GOOD, now: leaf.notBefore - 1 }), "MR4003", /not valid before/);
  const short = await foreignCertificate({ extensions: [ca, certSign], notAfter: NOW - HOUR_MS });
  const long = await foreignCertificate({ issuer: short });
  const key = privateKeyPem(long.keyPair);
  assert.equal(checkLeaf({ chainPem: long.pem, privateKeyPem: key, rootPem: short.pem, now: NOW }), undefined);
});

test("withholds a leaf of another root with the same subject", async () => {
  const twin = await testCa();
  assertProblem(checkLeaf({ ...GOOD, rootPem: twin.certificatePem }), "MR4003", /was not issued by/);
});

test("looks at the signature itself where neither side names a key", async () => {
  const [one, twin] = [await foreignCertificate({ extensions: [ca] }), await foreignCertificate({ extensions: [ca] })];
  const issued = await foreignCertificate({ issuer: one, name: [{ CN: ["leaf"] }] });
  const check = (rootPem: string) =>
    checkLeaf({ chainPem: issued.pem, privateKeyPem: privateKeyPem(issued.keyPair), rootPem, now: NOW });
  assert.equal(check(one.pem), undefined);
  assertProblem(check(twin.pem), "MR4003", /was not issued by/);
});

test("a good signature does not make up for another issuer's name or key id", async () => {
  const issuer = await foreignCertificate({ extensions: [ca, certSign, subjectKeyId] });
  const named = (id: string) => [new x509.AuthorityKeyIdentifierExtension(id)];
  const check = async (options: Parameters<typeof foreignCertificate>[0]) => {
    const issued = await foreignCertificate(options);
    const key = privateKeyPem(issued.keyPair);
    return checkLeaf({ chainPem: issued.pem, privateKeyPem: key, rootPem: issuer.pem, now: NOW });
  };
  assert.equal(await check({ issuer, extensions: named("0102030405060708") }), undefined);
  assertProblem(await check({ issuer, extensions: named("0102030405060709") }), "MR4003", /was not issued by/);
  const renamed = { ...issuer, name: new x509.Name("CN=another") };
  assertProblem(await check({ issuer: renamed }), "MR4003", /was not issued by/);
});

test("withholds keys that Envoy refuses", async () => {
  const keys: [RegExp, KeyPair][] = [
    [/RSA-1024/, generateKeyPairSync("rsa", { modulusLength: 1024 })],
    [/secp256k1/, generateKeyPairSync("ec", { namedCurve: "secp256k1" })],
    [/ed25519/, generateKeyPairSync("ed25519")],
  ];
  for (const [what, keyPair] of keys) {
    const { chainPem } = await root.authority.issue(
      serviceLeaf(BOOKBUYER, FORM, { now: NOW, validityMs: DAY_MS }, keyPair.publicKey),
    );
    assertProblem(checkLeaf({ ...GOOD, chainPem, privateKeyPem: privateKeyPem(keyPair) }), "MR4003", what);
  }
});

test("withholds a CA in the place of a leaf", async () => {
  const key = privateKeyPem(root.keyPair);
  assertProblem(checkLeaf({ ...GOOD, chainPem: root.certificatePem, privateKeyPem: key }), "MR4003", /is a CA/);
});

test("intermediates count: order, time, path length", async () => {
  const top = await foreignCertificate({ extensions: [ca, certSign], name: [{ CN: ["top"] }] });
  const mid = await foreignCertificate({ extensions: [ca, certSign], name: [{ CN: ["mid"] }], issuer: top });
  const clock = settableClock();
  const authority = localAuthority({ certificatePem: mid.pem, privateKey: mid.keyPair.privateKey, clock });
  const { chainPem, keyPair } = await testLeaf(authority);
  const check = (chain: string, rootPem: string, now = NOW) =>
    checkLeaf({ chainPem: chain, privateKeyPem: privateKeyPem(keyPair), rootPem, now });
  assert.equal(check(chainPem + mid.pem, top.pem), undefined);
  opensslVerify(chainPem + mid.pem, top.pem, NOW, "any", false);
  assertProblem(check(chainPem, top.pem), "MR4003", /was not issued by CN=top/);
  const stranger = await foreignCertificate({ extensions: [ca, certSign], name: [{ CN: ["stranger"] }], issuer: top });
  assertProblem(check(chainPem + stranger.pem + mid.pem, top.pem), "MR4003", /was not issued by CN=stranger/);
  const noDeeper = await foreignCertificate({ extensions: [caWithPathLength0, certSign], name: [{ CN: ["flat"] }] });
  const below = await foreignCertificate({ extensions: [ca, certSign], name: [{ CN: ["mid"] }], issuer: noDeeper });
  const tooDeep = await foreignCertificate({ issuer: below, name: [{ CN: ["leaf"] }] });
  const problem = checkLeaf({
    chainPem: tooDeep.pem + below.pem,
    privateKeyPem: privateKeyPem(tooDeep.keyPair),
    rootPem: noDeeper.pem,
    now: NOW,
  });
  assertProblem(problem, "MR4003", /deeper below CN=flat/);
  const direct = await foreignCertificate({ issuer: noDeeper, name: [{ CN: ["leaf"] }] });
  const directKey = privateKeyPem(direct.keyPair);
  assert.equal(
    checkLeaf({ chainPem: direct.pem, privateKeyPem: directKey, rootPem: noDeeper.pem, now: NOW }),
    undefined,
  );
});

test("an expired intermediate is found", async () => {
  const top = await foreignCertificate({ extensions: [ca, certSign], name: [{ CN: ["top"] }] });
  const mid = await foreignCertificate({
    extensions: [ca],
    name: [{ CN: ["mid"] }],
    issuer: top,
    notAfter: NOW - 1000,
  });
  const end = await foreignCertificate({ name: [{ CN: ["leaf"] }], issuer: mid });
  const key = privateKeyPem(end.keyPair);
  const problem = checkLeaf({ chainPem: end.pem + mid.pem, privateKeyPem: key, rootPem: top.pem, now: NOW });
  assertProblem(problem, "MR4003", /^CN=mid .* expired/);
});

test("a trust bundle holds CAs, at least one, and nothing else", async () => {
  const twin = await testCa();
  assert.equal(checkBundle(root.certificatePem), undefined);
  assert.equal(checkBundle(COMMENT + root.certificatePem + twin.certificatePem), undefined);
  assertProblem(checkBundle(""), "MR4003", /is empty/);
  assertProblem(checkBundle(root.certificatePem + leaf.chainPem), "MR4003", /is not a CA/);
  assertProblem(checkBundle(root.certificatePem + GOOD.privateKeyPem), "MR3005", /is a PRIVATE KEY/);
  assertProblem(checkBundle(root.certificatePem.slice(0, 300)), "MR3005", /no matching end line/);
});
