/** CAs that operators bring, in the forms in which their tools keep them: a file in, the authority or the remedy out. */

import assert from "node:assert/strict";
import { generateKeyPairSync } from "node:crypto";
import { mkdir, readFile, symlink, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { type TestContext, test } from "node:test";
import { MeshrootError } from "../../src/core/errors.ts";
import { privateKeyPem } from "../../src/pki/keys.ts";
import { createTresor } from "../../src/providers/tresor.ts";
import { secretFiles } from "../../src/stores/files/secret-files.ts";
import { temporaryDirectory } from "../support/data-dir.ts";
import { loadAuthority } from "../support/load-authority.ts";
import { openssl } from "../support/openssl.ts";
import { settableClock, testCa } from "../support/pki.ts";
import { root as meshRoot } from "../support/roots.ts";

const ROOT = meshRoot("first", "active");
const CA = await testCa();
const OTHER = await testCa();
const CERT = CA.certificatePem;
const KEY = privateKeyPem(CA.keyPair);

type Values = Readonly<Record<string, string | Buffer>>;

function secret(fields: object, metadata: object = {}): Record<string, unknown> {
  return {
    apiVersion: "v1",
    kind: "Secret",
    metadata: { name: "first-ca", namespace: "osm-system", ...metadata },
    ...fields,
  };
}

const encoded = (values: Values) =>
  Object.fromEntries(Object.entries(values).map(([key, value]) => [key, Buffer.from(value).toString("base64")]));
const json = (object: object) => `${JSON.stringify(object, undefined, 2)}\n`;
const opaque = (values: Values, metadata?: object) => json(secret({ type: "Opaque", data: encoded(values) }, metadata));
const indented = (pem: string) => pem.replace(/^(?=.)/gm, "    ");

async function load(t: TestContext, text: string | Buffer, file = "first-ca.yaml") {
  const directory = await temporaryDirectory(t);
  const path = join(directory, "osm-system", file);
  await mkdir(dirname(path));
  await writeFile(path, text, { mode: 0o600 });
  const authority = await loadAuthority(
    createTresor({ secrets: secretFiles(directory), clock: settableClock() }),
    ROOT,
  );
  assert.deepEqual(await readFile(path), Buffer.from(text), "the file stays as it is");
  return authority;
}

/** The certificate in the file is the one that the mesh gets. */
async function takes(t: TestContext, what: string, text: string | Buffer, file?: string): Promise<void> {
  const authority = await load(t, text, file).catch((error: Error) => assert.fail(`${what}: ${error.message}`));
  assert.equal(authority.certificatePem, CERT, what);
}

async function refuses(t: TestContext, text: string | Buffer, message: RegExp, hint: RegExp): Promise<void> {
  await assert.rejects(load(t, text), (error) => {
    assert.ok(error instanceof MeshrootError, String(error));
    assert.match(error.message, message);
    assert.match(error.hint, hint);
    if (!/managed-by/.test(text.toString())) assert.doesNotMatch(error.hint, /backup/, error.message);
    assert.ok(!`${error.stack}${error.hint}`.includes(KEY.slice(60, 80)), "repeats key material");
    return true;
  });
}

test("B1: stringData is taken, alone, beside data, and over it", async (t) => {
  const yaml = (body: string) =>
    `apiVersion: v1\nkind: Secret\nmetadata:\n  name: first-ca\n  namespace: osm-system\n${body}`;
  const blocks = `stringData:\n  ca.crt: |\n${indented(CERT)}  private.key: |\n${indented(KEY)}`;
  await takes(t, "stringData", yaml(blocks));
  await takes(t, "Windows line ends", yaml(blocks).replaceAll("\n", "\r\n"));
  await takes(t, "byte order mark", `\ufeff${yaml(blocks)}`);
  await takes(t, "UTF-16", Buffer.concat([Buffer.of(0xff, 0xfe), Buffer.from(yaml(blocks), "utf16le")]));
  await takes(t, "UTF-16, big end first", Buffer.from(`\ufeff${yaml(blocks)}`, "utf16le").swap16());
  await takes(t, "no namespace", yaml(blocks).replace("  namespace: osm-system\n", ""));
  const beside = secret({ data: encoded({ "ca.crt": CERT }), stringData: { "private.key": KEY } });
  await takes(t, "beside data", json(beside));
  const over = secret({ data: encoded({ "ca.crt": OTHER.certificatePem, "private.key": "" }) });
  await takes(t, "over data", json({ ...over, stringData: { "ca.crt": CERT, "private.key": KEY } }));
  await takes(t, "nulls", json(secret({ data: null, stringData: { "ca.crt": CERT, "private.key": KEY, note: null } })));
  await refuses(t, json(secret({ stringData: { "ca.crt": 1 } })), /stringData\["ca.crt"\] is not a text/, /a block/);
  await refuses(t, json(secret({ stringData: [] })), /stringData is not a map/, /a block/);
});

test("B2: the names that other tools give the two files are taken", async (t) => {
  const pairs: readonly [string, string][] = [
    ["ca.crt", "private.key"],
    ["tls.crt", "tls.key"],
    ["ca-cert.pem", "ca-key.pem"],
    ["ca.crt", "ca.key"],
    ["ca.pem", "ca-key.pem"],
    ["crt.pem", "key.pem"],
    ["rootCA.pem", "rootCA-key.pem"],
  ];
  for (const [certificate, key] of pairs) await takes(t, key, opaque({ [certificate]: CERT, [key]: KEY }));
  const more = { "ca.crt": OTHER.certificatePem, "tls.crt": CERT, "tls.key": KEY };
  await takes(t, "cert-manager's three", json(secret({ type: "kubernetes.io/tls", data: encoded(more) })));
  const istio = { "ca-cert.pem": CERT, "ca-key.pem": KEY, "root-cert.pem": CERT, "cert-chain.pem": CERT };
  await takes(t, "Istio's cacerts", opaque(istio));
  await takes(t, "OSM 0.x", opaque({ "ca.crt": CERT, "private.key": KEY, expiration: "2032-01-01" }));
});

test("B2: other names: what to rename is said", async (t) => {
  await refuses(
    t,
    opaque({ "my.crt": CERT, "my.key": KEY }),
    /ca.crt is missing, private.key is missing \(it holds my.crt, my.key\)/,
    /rename my.crt to ca.crt, and rename my.key to private.key/,
  );
  await refuses(
    t,
    opaque({ "ca.crt": CERT, "my.key": KEY }),
    /private.key is missing/,
    /secret rename my.key to private/,
  );
  await refuses(
    t,
    opaque({ "ca.crt": CERT, "tls.key": KEY }),
    /private.key is missing/,
    /rename tls.key to private.key/,
  );
  await refuses(t, opaque({ "ca.crt": CERT }), /private.key is missing/, /add the CA's private key as private.key/);
  await refuses(t, opaque({ "tls.crt": "", "tls.key": "" }), /empty: tls.crt, tls.key/, /add the CA's certificate/);
  await refuses(t, opaque({}), /it holds nothing/, /add the CA's certificate as ca.crt, and add/);
  const labels = { labels: { "app.kubernetes.io/managed-by": "meshroot" } };
  await refuses(t, opaque({ "ca.crt": CERT }, labels), /private.key is missing/, /^Restore private.key\. .*backup/);
});

test("B3: a secret in a list, among other documents, as JSON, under another ending", async (t) => {
  const [mine, other] = [
    secret({ data: encoded({ "ca.crt": CERT, "private.key": KEY }) }),
    secret({ data: {} }, { name: "other" }),
  ];
  await takes(t, "List", json({ apiVersion: "v1", kind: "List", metadata: {}, items: [other, mine] }));
  const { apiVersion: _, kind: __, ...untyped } = mine;
  await takes(t, "SecretList", json({ apiVersion: "v1", kind: "SecretList", items: [untyped] }));
  await takes(t, "documents", `---\n${json(other)}---\n# comment\n---\n${json(mine)}`);
  await takes(t, "one line of JSON", JSON.stringify(mine));
  await takes(t, ".yml", json(mine), "first-ca.yml");
  await takes(t, ".json", json(mine), "first-ca.json");
  await refuses(
    t,
    json({ apiVersion: "v1", kind: "List", items: [] }),
    /not of kind Secret \(it holds no/,
    /kubectl create/,
  );
  await refuses(t, `${json(mine)}---\n${json(mine)}`, /holds osm-system\/first-ca 2 times/, /Leave the one/);
  await refuses(t, json(other), /don't say osm-system\/first-ca.* but "osm-system"\/"other"/, /`name: first-ca`/);
  await refuses(t, json({ ...mine, kind: "SealedSecret" }), /found SealedSecret/, /a SealedSecret is only opened/);
});

test("B3: of two files for one secret none counts, and a removal leaves what else is in a file", async (t) => {
  const directory = await temporaryDirectory(t);
  const store = secretFiles(directory);
  const at = (file: string) => join(directory, "osm-system", file);
  await mkdir(at(""), { recursive: true });
  const ref = { name: "first-ca", namespace: "osm-system" };
  const other = json(secret({ data: encoded({ a: "b" }) }, { name: "other" }));
  await writeFile(at("first-ca.yml"), `${other}---\n${opaque({ "private.key": KEY })}`);
  await store.remove(ref);
  assert.equal(await readFile(at("first-ca.yml"), "utf8"), other);
  await assert.rejects(store.read(ref), { code: "MR2005" });
  await writeFile(at("first-ca.yml"), opaque({ "private.key": KEY }));
  await writeFile(at("first-ca.json"), opaque({ "private.key": KEY }));
  await assert.rejects(store.read(ref), /first-ca.json is there too/);
});

test("B6: a chain, an encrypted key, another curve: what to give instead", async (t) => {
  const both = { "ca.crt": CERT + OTHER.certificatePem, "private.key": KEY };
  await refuses(t, opaque(both), /ca.crt holds 2 certificates, a chain/, /Keep the one that private.key belongs to/);
  const { privateKey } = generateKeyPairSync("rsa", { modulusLength: 2048 });
  const pkcs8 = privateKey.export({ type: "pkcs8", format: "pem", cipher: "aes-256-cbc", passphrase: "x" });
  const pkcs1 = privateKey.export({ type: "pkcs1", format: "pem", cipher: "aes-256-cbc", passphrase: "x" });
  for (const pem of [pkcs8, pkcs1])
    await refuses(
      t,
      opaque({ "ca.crt": CERT, "private.key": pem }),
      /has a passphrase/,
      /`openssl pkey -in FILE -out pr/,
    );
  await refuses(
    t,
    opaque({ "tls.crt": CERT, "tls.key": pkcs8 }),
    /tls.key is not an unencrypted/,
    /`openssl pkey -in FILE -out tls.key`/,
  );
  const curve = openssl(["ecparam", "-name", "secp224r1", "-genkey", "-noout"]);
  const subject = ["-subj", "/CN=p224", "-days", "10"];
  const certificate = openssl(["req", "-new", "-x509", "-key", "key", ...subject], { key: curve });
  await refuses(
    t,
    opaque({ "ca.crt": certificate, "private.key": curve }),
    /on the curve secp224r1, which Envoy does not verify/,
    /RSA, P-256, P-384 or P-521/,
  );
});

test("B6: what else lies in the place of a certificate or a key is named with its conversion", async (t) => {
  const der = Buffer.from(CERT.replace(/-----.*-----|\n/g, ""), "base64");
  const [publicKey] = [CA.keyPair.publicKey.export({ type: "spki", format: "pem" })];
  const certificates: readonly [string | Buffer, RegExp, RegExp][] = [
    [der, /ca.crt is binary/, /openssl x509 -inform der -in FILE -out ca.crt/],
    [Buffer.from(CERT).toString("base64"), /ca.crt is base64 twice/, /once only/],
    [CERT.replaceAll("\n", "\\n"), /backslash-n/, /as a block/],
    [CERT.replaceAll("CERTIFICATE", "TRUSTED CERTIFICATE"), /TRUSTED/, /openssl x509 -in FILE/],
    [CERT.replaceAll("CERTIFICATE", "PKCS7"), /PKCS#7/, /openssl pkcs7 -print_certs/],
    [CERT.replaceAll("CERTIFICATE", "CERTIFICATE REQUEST"), /a certificate request/, /self-signed/],
    [CERT + KEY, /is a PRIVATE KEY/, /certificate alone as ca.crt, and the key alone as private.key/],
    ["hello", /holds 0 certificates/, /one whole -----BEGIN CERTIFICATE/],
  ];
  for (const [value, message, hint] of certificates)
    await refuses(t, opaque({ "ca.crt": value, "private.key": KEY }), message, hint);
  const keys: readonly [string | Buffer, RegExp, RegExp][] = [
    [
      CA.keyPair.privateKey.export({ type: "pkcs8", format: "der" }),
      /private.key is binary/,
      /openssl pkey -inform der/,
    ],
    [publicKey, /is a public key/, /Give the private key/],
    [CERT, /is not a private key/, /openssl pkey -in FILE -noout -text/],
    ["-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n-----END OPENSSH PRIVATE KEY-----\n", /OpenSSH/, /ssh-keygen -p/],
  ];
  for (const [value, message, hint] of keys)
    await refuses(t, opaque({ "ca.crt": CERT, "private.key": value }), message, hint);
  await takes(t, "PEM with text around it", opaque({ "ca.crt": `\ufeffsubject=x\r\n${CERT}bye`, "private.key": KEY }));
});

test("B6: values that are no base64, and files that are no manifest, name their remedy", async (t) => {
  await refuses(
    t,
    json(secret({ data: { "ca.crt": CERT } })),
    /not base64 but PEM/,
    /Move ca.crt from data to stringData/,
  );
  await refuses(t, json(secret({ data: { "ca.crt": "ENC[AES256_GCM,x]" } })), /encrypted by sops/, /sops -d/);
  await refuses(t, json(secret({ data: { "ca.crt": "abc" } })), /is not base64/, /base64 -w0 FILE/);
  await refuses(t, json(secret({ data: "abc" })), /data is not a map/, /a line for each key/);
  await refuses(t, CERT + KEY, /it is PEM, not a Secret/, /kubectl create secret generic first-ca -n osm-system/);
  await refuses(t, "kind: Secret\nkind: Secret\n", /YAML syntax error in line 2/, /^Mend line 2\. meshroot never/);
});

test("D2: a secret of 50 MB, a pipe, an endless file: refused before anything is read", async (t) => {
  const directory = await temporaryDirectory(t);
  const store = secretFiles(directory);
  await mkdir(join(directory, "osm-system"));
  const path = (name: string) => join(directory, "osm-system", `${name}.yaml`);
  await writeFile(path("big"), Buffer.alloc(50 * 1024 * 1024, "a: b\n"));
  await assert.rejects(store.read({ name: "big", namespace: "osm-system" }), /MR2005.*larger than 1024 KiB/);
  await symlink("/dev/zero", path("endless"));
  await assert.rejects(store.read({ name: "endless", namespace: "osm-system" }), /MR2005.*no regular file/);
});
