/** CA secrets as people write them: whatever tool wrote the PEM, the root is taken, and proves itself. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { createRootProver } from "../../src/pki/prove-root.ts";
import { createTresor } from "../../src/providers/tresor.ts";
import { systemClock } from "../../src/serve/system-clock.ts";
import { loadAuthority } from "../support/load-authority.ts";
import { memorySecretStore } from "../support/memory-secret-store.ts";
import { ec, type OddRoot, oddRoot, rsa } from "../support/odd-roots.ts";
import { openssl } from "../support/openssl.ts";
import { root } from "../support/roots.ts";

const EC = oddRoot();
const RSA = oddRoot({ key: rsa(2048) });
const text = (args: string[], { certificatePem, keyPem }: OddRoot) =>
  openssl(args, { "ca.crt": certificatePem, "ca.key": keyPem });
const bags = "Bag Attributes\n    friendlyName: mesh root\nsubject=CN = odd\n\nissuer=CN = odd\n\n";

const FORMS: Readonly<Record<string, [crt: string, key: string, more?: Record<string, Buffer>]>> = {
  "PEM with text before it": [text(["x509", "-in", "ca.crt", "-text"], EC), EC.keyPem],
  "bag attributes": [bags + EC.certificatePem, bags + EC.keyPem],
  "a byte order mark": [`\ufeff${EC.certificatePem}`, `\ufeff${EC.keyPem}`],
  "CRLF line ends": [EC.certificatePem.replaceAll("\n", "\r\n"), EC.keyPem.replaceAll("\n", "\r\n")],
  "EC PARAMETERS before a SEC1 key": [
    EC.certificatePem,
    openssl(["ecparam", "-name", "prime256v1"]) + text(["ec", "-in", "ca.key"], EC),
  ],
  "a SEC1 key": [EC.certificatePem, text(["ec", "-in", "ca.key"], EC)],
  "a PKCS#1 key": [RSA.certificatePem, text(["rsa", "-in", "ca.key", "-traditional"], RSA)],
  "OSM 0.x's expiration": [EC.certificatePem, EC.keyPem, { expiration: Buffer.from("2036-01-01T00:00:00Z") }],
  "a P-384 key": (({ certificatePem, keyPem }) => [certificatePem, keyPem])(oddRoot({ key: ec("P-384") })),
};

for (const [name, [crt, key, more = {}]] of Object.entries(FORMS))
  test(`A good: ${name}`, async () => {
    const data = { "ca.crt": Buffer.from(crt), "private.key": Buffer.from(key), ...more };
    const secrets = memorySecretStore([{ name: "first-ca", namespace: "osm-system", data }]);
    const authority = await loadAuthority(createTresor({ secrets, clock: systemClock }), root("first", "active"));
    const prover = createRootProver({ serverNames: ["localhost"], now: Date.now });
    const identities = [{ serviceAccount: "cart", namespace: "shop" }];
    const { certificatePem, issue } = authority;
    const form = { trustDomain: "cluster.local", spiffe: true };
    const verdict = await prover.prove(certificatePem, issue, { form, identities });
    assert.deepEqual(verdict, { carried: identities, any: true, complete: true });
  });
