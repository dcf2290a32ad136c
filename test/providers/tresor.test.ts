import assert from "node:assert/strict";
import { generateKeyPairSync } from "node:crypto";
import { test } from "node:test";
import { inspect as printed } from "node:util";
import { MeshrootError } from "../../src/core/errors.ts";
import { inspect } from "../../src/pki/inspect.ts";
import { privateKeyPem } from "../../src/pki/keys.ts";
import { MANAGED_BY, type Secret } from "../../src/ports/store.ts";
import { createTresor } from "../../src/providers/tresor.ts";
import { secretFiles } from "../../src/stores/files/secret-files.ts";
import { temporaryDirectory } from "../support/data-dir.ts";
import { loadAuthority } from "../support/load-authority.ts";
import { memorySecretStore } from "../support/memory-secret-store.ts";
import { openssl, opensslVerify } from "../support/openssl.ts";
import { HOUR_MS, NOW, settableClock, testCa, testLeaf } from "../support/pki.ts";
import { root as meshRoot } from "../support/roots.ts";
import { providerContract } from "./contract.ts";

const ROOT = meshRoot("first", "active");
const REF = { name: "first-ca", namespace: "osm-system" };
const NAME = "osm-system/first-ca";

providerContract("tresor in memory", async () => {
  const [secrets, clock] = [memorySecretStore(), settableClock()];
  const make = () => createTresor({ secrets, clock, keyAlgorithm: "ec-p256" });
  return { provider: make(), replica: make(), clock, root: ROOT, otherRoot: meshRoot("second", "passive") };
});

providerContract("tresor in files", async (t) => {
  const [directory, clock] = [await temporaryDirectory(t), settableClock()];
  const make = () => createTresor({ secrets: secretFiles(directory), clock, keyAlgorithm: "ec-p256" });
  return { provider: make(), replica: make(), clock, root: ROOT, otherRoot: meshRoot("second", "passive") };
});

/** An operator's secret: no label of ours. */
function brought(certificatePem: string, keyPem: string): Secret {
  return { ...REF, data: { "ca.crt": Buffer.from(certificatePem), "private.key": Buffer.from(keyPem) } };
}

test("makes OSM's root: subject, RSA-2048, ten years, an Opaque secret of two keys under our label", async () => {
  const secrets = memorySecretStore();
  const authority = await loadAuthority(createTresor({ secrets, clock: settableClock() }), ROOT);
  const secret = secrets.secrets.get(NAME);
  assert.deepEqual(Object.keys(secret?.data ?? {}), ["ca.crt", "private.key"]);
  assert.deepEqual(secret?.labels, { [MANAGED_BY.key]: MANAGED_BY.value });
  assert.equal(secret?.data["ca.crt"]?.toString(), authority.certificatePem);
  assert.equal(authority.notAfter, NOW + 87_600 * HOUR_MS);
  const text = openssl(["x509", "-in", "ca", "-noout", "-text"], { ca: authority.certificatePem });
  assert.match(text, /Subject: C = US, O = Open Service Mesh, L = CA, CN = osm-ca\.openservicemesh\.io\n/);
  assert.match(text, /Public-Key: \(2048 bit\)/);
  const key = secret?.data["private.key"]?.toString() ?? "";
  const modulus = (args: string[]) => openssl([...args, "-noout", "-modulus"], { ca: authority.certificatePem, key });
  assert.equal(modulus(["rsa", "-in", "key"]), modulus(["x509", "-in", "ca"]));
});

test("key algorithm, validity and organization are options", async () => {
  const secrets = memorySecretStore();
  const options = { keyAlgorithm: "ec-p384", rootValidityMs: HOUR_MS, organization: "Acme" } as const;
  const authority = await loadAuthority(createTresor({ secrets, clock: settableClock(), ...options }), ROOT);
  assert.match(inspect(authority.certificatePem).subject, /O=Acme/);
  assert.equal(authority.notAfter, NOW + HOUR_MS);
  assert.match(inspect((await testLeaf(authority)).chainPem).subject, /^O=Acme, CN=/);
});

test("an operator's CA is used as it is, written by whichever tool, and outlives destroy", async () => {
  for (const algorithm of ["rsa-2048", "ec-p256"] as const) {
    const ca = await testCa({ algorithm });
    const oldForm = algorithm === "rsa-2048" ? "pkcs1" : "sec1";
    const keyPem = ca.keyPair.privateKey.export({ type: oldForm, format: "pem" }).toString();
    const secret = brought(ca.certificatePem.replaceAll("\n", "\r\n").trimEnd(), keyPem);
    const secrets = memorySecretStore([secret]);
    const provider = createTresor({ secrets, clock: settableClock() });
    const authority = await loadAuthority(provider, ROOT);
    assert.equal(authority.certificatePem, ca.certificatePem);
    opensslVerify((await testLeaf(authority)).chainPem, ca.certificatePem, NOW);
    await provider.custody?.destroy(ROOT.provider);
    assert.deepEqual(secrets.writes, []);
    assert.equal(secrets.secrets.get(NAME), secret);
  }
});

test("destroy removes the key that we made; a later load makes another root", async () => {
  const secrets = memorySecretStore();
  const provider = createTresor({ secrets, clock: settableClock(), keyAlgorithm: "ec-p256" });
  const first = await loadAuthority(provider, ROOT);
  await provider.custody?.destroy(ROOT.provider);
  assert.equal(secrets.secrets.size, 0);
  assert.notEqual((await loadAuthority(provider, ROOT)).fingerprint, first.fingerprint);
});

test("destroy leaves a secret that somebody else's label marks", async () => {
  const ca = await testCa();
  const secret = { ...brought(ca.certificatePem, privateKeyPem(ca.keyPair)), labels: { [MANAGED_BY.key]: "Helm" } };
  const secrets = memorySecretStore([secret]);
  await createTresor({ secrets, clock: settableClock() }).custody?.destroy(ROOT.provider);
  assert.equal(secrets.secrets.get(NAME), secret);
});

test("an expired root loads, so that it can still be trusted, and does not sign", async () => {
  const ca = await testCa({ validityMs: HOUR_MS });
  const secrets = memorySecretStore([brought(ca.certificatePem, privateKeyPem(ca.keyPair))]);
  const clock = settableClock(NOW + 2 * HOUR_MS);
  const authority = await loadAuthority(createTresor({ secrets, clock }), ROOT);
  assert.equal(authority.fingerprint, inspect(ca.certificatePem).fingerprint);
  await assert.rejects(testLeaf(authority), { code: "MR3002" });
});

test("a corrupt CA secret is told, named, and left alone", async () => {
  const [ca, other] = [await testCa(), await testCa()];
  const pem = ca.certificatePem;
  const key = privateKeyPem(ca.keyPair);
  const leaf = await testLeaf(ca.authority);
  const { privateKey } = generateKeyPairSync("rsa", { modulusLength: 2048 });
  const encrypted = privateKey.export({ type: "pkcs8", format: "pem", cipher: "aes-256-cbc", passphrase: "x" });
  const cases: Record<string, { secret: Secret; message: RegExp }> = {
    "no private.key": { secret: { ...REF, data: { "ca.crt": Buffer.from(pem) } }, message: /private\.key is missing/ },
    "no ca.crt": { secret: { ...REF, data: { "private.key": Buffer.from(key) } }, message: /ca\.crt is missing/ },
    "nothing at all": { secret: { ...REF, data: {} }, message: /ca\.crt is missing/ },
    "an empty key": { secret: brought(pem, ""), message: /private\.key is missing/ },
    "a cut certificate": { secret: brought(pem.slice(0, 200), key), message: /no matching end line/ },
    "no certificate": { secret: brought("hello", key), message: /holds 0 certificates/ },
    "two certificates": { secret: brought(pem + other.certificatePem, key), message: /holds 2 certificates/ },
    "the key with the certificate": { secret: brought(pem + key, key), message: /is a PRIVATE KEY/ },
    "another CA's key": { secret: brought(pem, privateKeyPem(other.keyPair)), message: /does not belong/ },
    "a spoilt key": { secret: brought(pem, key.replace(/\n.{20}/, "\n")), message: /private\.key is not/ },
    "an encrypted key": { secret: brought(pem, encrypted.toString()), message: /private\.key is not an unencrypted/ },
    "a leaf": { secret: brought(leaf.chainPem, privateKeyPem(leaf.keyPair)), message: /is not a CA/ },
  };
  for (const [what, { secret, message }] of Object.entries(cases)) {
    const secrets = memorySecretStore([secret]);
    await assert.rejects(loadAuthority(createTresor({ secrets, clock: settableClock() }), ROOT), (error) => {
      assert.ok(error instanceof MeshrootError, what);
      assert.equal(error.code, "MR3001", what);
      assert.match(error.message, message, what);
      assert.ok(error.message.startsWith(`MR3001 CA secret ${NAME}: `), what);
      assert.doesNotMatch(error.message, /MR3001.*MR\d{4}/, what);
      assert.match(error.hint, /Nothing was overwritten/, what);
      assert.ok(!printed(error, { depth: 9 }).includes(key.slice(60, 80)), `${what} repeats key material`);
      return true;
    });
    assert.deepEqual(secrets.writes, [], what);
  }
});

test("what the store says about an unreadable secret is passed on", async () => {
  const secrets = {
    ...memorySecretStore(),
    read: async () => {
      throw new MeshrootError("MR2005", "secret unreadable", "fix it");
    },
  };
  const provider = createTresor({ secrets, clock: settableClock() });
  await assert.rejects(loadAuthority(provider, ROOT), { code: "MR2005" });
});
