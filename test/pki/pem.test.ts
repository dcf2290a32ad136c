import assert from "node:assert/strict";
import { createPrivateKey, X509Certificate } from "node:crypto";
import { test } from "node:test";
import { createSecureContext } from "node:tls";
import { MeshrootError } from "../../src/core/errors.ts";
import { normaliseSerial } from "../../src/core/serial.ts";
import { inspect } from "../../src/pki/inspect.ts";
import { privateKeyPem } from "../../src/pki/keys.ts";
import { encodeBundle, parseBundle, parseOne } from "../../src/pki/pem.ts";
import { openssl, opensslVerify } from "../support/openssl.ts";
import { NOW, testCa, testLeaf } from "../support/pki.ts";
import fc from "../support/property.ts";

const first = await testCa();
const second = await testCa();
const A = first.certificatePem;
const B = second.certificatePem;

const messages = (text: string): string[] => parseBundle(text).problems.map((problem) => problem.message);
const pems = (text: string): string[] => parseBundle(text).certificates.map((certificate) => certificate.pem);

test("reads bundles as people leave them", () => {
  const cases = {
    normal: A + B,
    "CRLF line ends": (A + B).replaceAll("\n", "\r\n"),
    "no final newline": (A + B).trimEnd(),
    "glued together where the first had no final newline": A.trimEnd() + B.trimEnd(),
    "text between the blocks": `subject=CN = a\n# made by -- hand -----\n${A}\n\nBag Attributes\n    x: y\n${B}bye`,
    "a byte order mark": `\uFEFF${A}${B}`,
    duplicates: A + B + A + B,
    "lines of 76": A.replace(/(?<=[A-Za-z0-9+/=])\n(?=[A-Za-z0-9+/=])/g, "").replace(/.{76}(?!-)/g, "$&\n") + B,
    "indented as in YAML": (A + B).replace(/^/gm, "    "),
    "OpenSSL's old label": A.replaceAll("CERTIFICATE", "X509 CERTIFICATE") + B,
  };
  for (const [name, text] of Object.entries(cases)) {
    assert.deepEqual(messages(text), [], name);
    assert.deepEqual(pems(text), [A, B], name);
    assert.equal(encodeBundle(parseBundle(text).certificates), A + B, name);
  }
});

test("what can't be used is a problem, and costs its neighbours nothing", () => {
  const key = privateKeyPem(first.keyPair);
  const cut = A.slice(0, 200);
  // ECDSA signatures, and so certificates, differ in length by a byte or two.
  const after = A.split("\n").length;
  assert.deepEqual(pems(cut + B), [B]);
  assert.deepEqual(messages(cut + B), ["PEM block 1 (line 1) has no matching end line"]);
  assert.deepEqual(messages(A + B.slice(0, -30)), [`PEM block 2 (line ${after}) has no matching end line`]);
  assert.deepEqual(pems(A + key + B), [A, B]);
  assert.deepEqual(messages(A + key + B), [`PEM block 2 (line ${after}) is a PRIVATE KEY, not a CERTIFICATE`]);
  const junk = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
  assert.deepEqual(messages(junk + A), ["PEM block 1 (line 1) is not an X.509 certificate"]);
  assert.deepEqual(messages(junk.replace("AAAA", "A,AA") + A), ["PEM block 1 (line 1) is not base64"]);
  assert.deepEqual(messages(junk.replace("AAAA\n", "")), ["PEM block 1 (line 1) is not base64"]);
  assert.deepEqual(parseBundle("nothing here"), { certificates: [], problems: [] });
  assert.ok(parseBundle(junk + key).problems.every(({ code }) => code === "MR3005"));
});

test("a problem never repeats the text, which may be a key", () => {
  const body = privateKeyPem(first.keyPair).split("\n")[1] ?? "";
  const mislabelled = privateKeyPem(first.keyPair).replaceAll("PRIVATE KEY", "CERTIFICATE");
  const text = JSON.stringify(parseBundle(mislabelled + privateKeyPem(first.keyPair)));
  assert.ok(body.length > 40 && !text.includes(body.slice(0, 20)));
});

test("no text makes it throw, and any mixture keeps its certificates in order", () => {
  const piece = fc.oneof(
    fc.constantFrom(A, B, "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----", "-----", "\r\n", "AAAA"),
    fc.string(),
  );
  fc.assert(fc.property(fc.array(piece), (pieces) => void parseBundle(pieces.join(""))));
  const between = fc.string().map((text) => `${text.replaceAll("-", "")}\n`);
  fc.assert(
    fc.property(fc.array(fc.tuple(between, fc.constantFrom(A, B))), (list) => {
      const expected = [...new Set(list.map(([, pem]) => pem))];
      assert.deepEqual(pems(list.flat().join("")), expected);
    }),
  );
});

test("one certificate means one", () => {
  assert.equal(parseOne(A + A, "ca.crt").fingerprint, first.authority.fingerprint);
  for (const text of [A + B, "", A.slice(0, 200)]) {
    assert.throws(() => parseOne(text, "ca.crt"), { code: "MR3005", message: /ca\.crt/ });
  }
});

test("PEM with a unique comment in front stays readable (E2)", async () => {
  const comment = "meshroot 9f86d081884c7d65\n";
  const { chainPem, keyPair, fingerprint } = await testLeaf(first.authority);
  const chain = comment + chainPem;
  const bundle = comment + A + B;
  assert.equal(inspect(chain).fingerprint, fingerprint);
  assert.deepEqual(pems(bundle), [A, B]);
  assert.ok(new X509Certificate(chain).checkPrivateKey(createPrivateKey(privateKeyPem(keyPair))));
  createSecureContext({ cert: chain, key: privateKeyPem(keyPair), ca: bundle });
  opensslVerify(chain, bundle, NOW);
  const printed = openssl(["x509", "-in", "chain", "-noout", "-fingerprint", "-sha256"], { chain });
  assert.equal(printed.split("=")[1]?.trim().replaceAll(":", "").toLowerCase(), fingerprint);
});

test("inspect agrees with openssl", async () => {
  const { chainPem, ...issued } = await testLeaf(first.authority);
  const info = inspect(chainPem);
  const print = (what: string): string => openssl(["x509", "-in", "leaf", "-noout", what], { leaf: chainPem });
  assert.equal(info.serial, normaliseSerial(print("-serial").trim().split("=")[1] ?? ""));
  assert.equal(info.serial, issued.serial);
  assert.equal(info.subject, "O=Open Service Mesh, CN=bookbuyer.bookstore.cluster.local");
  assert.equal(info.issuer, inspect(A).subject);
  assert.equal(info.notBefore, Date.parse(print("-startdate").trim().split("=")[1] ?? ""));
  assert.equal(info.notAfter, Date.parse(print("-enddate").trim().split("=")[1] ?? ""));
  assert.equal(info.authorityKeyId, inspect(A).subjectKeyId);
  assert.equal(info.isCa, false);
  assert.equal(inspect(A).isCa, true);
  assert.deepEqual(inspect(A).keyUsage, ["keyCertSign", "cRLSign"]);
  assert.deepEqual(inspect(new X509Certificate(A).raw), inspect(A));
});

test("inspect refuses what is no certificate without repeating it", () => {
  const key = privateKeyPem(first.keyPair);
  for (const text of ["", "hello", key, Buffer.from([0x30, 0x03, 2, 1, 1])]) {
    assert.throws(
      () => inspect(text),
      (error) => error instanceof MeshrootError && error.code === "MR3005" && !error.message.includes("PRIVATE"),
    );
  }
});

test("serials compare in one form", () => {
  assert.equal(normaliseSerial("0A:12"), "a12");
  assert.equal(normaliseSerial("000a12"), "a12");
  assert.equal(normaliseSerial("00"), "0");
});
