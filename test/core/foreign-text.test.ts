/** What is kept of text from outside. */

import assert from "node:assert/strict";
import { generateKeyPairSync } from "node:crypto";
import { test } from "node:test";
import { foreignText } from "../../src/core/foreign-text.ts";

const { privateKey } = generateKeyPairSync("rsa", { modulusLength: 2048 });
const PEM = privateKey.export({ type: "pkcs8", format: "pem" }).toString();
const EC = generateKeyPairSync("ec", { namedCurve: "P-256" })
  .privateKey.export({ type: "sec1", format: "pem" })
  .toString();
/** No piece of a key's base64 that is long enough to help anybody. */
const secretOf = (pem: string) => pem.split("\n").slice(1, -2).join("").slice(20, 44);

const CASES: Readonly<Record<string, (pem: string) => string>> = {
  "a whole block": (pem) => `bad key: ${pem} in slot 1`,
  "with line ends escaped": (pem) => `bad key: ${pem.replaceAll("\n", "\\n")} in slot 1`,
  "on one line": (pem) => `bad key: ${pem.replaceAll("\n", " ")} in slot 1`,
  "with CRLF": (pem) => `bad key: ${pem.replaceAll("\n", "\r\n")} in slot 1`,
  "without its end": (pem) => `bad key: ${pem.slice(0, -30)}`,
  "without its beginning": (pem) => `${pem.slice(40)} in slot 1`,
  "two of them": (pem) => `${pem}${pem}`,
  "in base64": (pem) => `data: ${Buffer.from(pem).toString("base64")} end`,
  "without its marks": (pem) => `bad key: ${pem.split("\n").slice(1, -2).join("\n")}`,
  "with its marks in small letters": (pem) => pem.replaceAll("BEGIN", "begin").replaceAll("END", "end"),
};

for (const [name, write] of Object.entries(CASES))
  test(`D6: a PEM block is cut out: ${name}`, () => {
    for (const pem of [PEM, EC]) {
      const kept = foreignText(write(pem), 10_000);
      for (const line of pem.split("\n").filter((one) => one.length === 64))
        assert.ok(!kept.includes(line.slice(4, 40)));
      assert.ok(!kept.includes(secretOf(pem)), kept);
      assert.match(kept, /\[PEM cut out\]/);
    }
  });

test("D6: the words around it stay, and so do hashes, paths, names and uuids", () => {
  assert.equal(foreignText(`bad key: ${PEM.trim()} in slot 1`, 1_000), "bad key: [PEM cut out] in slot 1");
  for (const text of [
    "Failed to load private key from <inline>, Cause: error:0900006e:PEM routines:OPENSSL_internal:NO_START_LINE",
    "sidecar~10.0.0.1~cart-6f4d8c7b9-x2x4z.shop~shop.svc.cluster.local",
    "a".repeat(64),
    "0123456789abcdefABCDEF".repeat(4),
    "4b825dc642cb6eb9a060e54bf8d69288fbee4904e3b0c44298fc1c149afbf4c8",
    "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret",
    "---- BEGINNING ----",
  ])
    assert.equal(foreignText(text, 1_000), text);
});

test("D6: it is no longer than allowed, and takes no longer than its length, whatever it is made of", () => {
  assert.equal(foreignText("x".repeat(5_000), 100).length, 100);
  assert.equal(foreignText(`${"x".repeat(99)}😀`, 100), `${"x".repeat(99)}\uFFFD`, "no half of a character");
  // A second look at each character would take hours.
  for (const piece of [
    "-",
    "-----BEGIN ",
    "-----END ",
    "-----BEGIN X-----",
    "-----END X-----",
    "LS0tL",
    "A1b",
    "---- ",
  ])
    assert.ok(foreignText(piece.repeat(2_000_000 / piece.length), 1_000_000).length <= 1_000_000);
});
