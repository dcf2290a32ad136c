/** A CA certificate and its key in a Secret, under the names and in the forms in which other tools write them. */

import { createPrivateKey, type KeyObject } from "node:crypto";
import { MeshrootError } from "../core/errors.ts";
import { type ParsedCertificate, parseBundle } from "../pki/pem.ts";
import { MANAGED_BY, type Secret } from "../ports/store.ts";

type Pair = { readonly certificate: string; readonly privateKey: string };

/** The names of OSM v1.3, and so ours. */
export const OWN_KEYS: Pair = { certificate: "ca.crt", privateKey: "private.key" };

/** The first pair that is there counts. */
const PAIRS: readonly Pair[] = [
  OWN_KEYS,
  // kubernetes.io/tls, cert-manager: its ca.crt is the issuer's, so the key's own certificate comes first.
  { certificate: "tls.crt", privateKey: "tls.key" },
  // Istio's cacerts and istio-ca-secret.
  { certificate: "ca-cert.pem", privateKey: "ca-key.pem" },
  // kubeadm, and `kubectl create secret generic --from-file` of files that are called so.
  { certificate: "ca.crt", privateKey: "ca.key" },
  { certificate: "ca.pem", privateKey: "ca-key.pem" },
  { certificate: "ca.pem", privateKey: "ca.key" },
  { certificate: "root-cert.pem", privateKey: "root-key.pem" },
  { certificate: "crt.pem", privateKey: "key.pem" },
  { certificate: "cert.pem", privateKey: "key.pem" },
  { certificate: "root_ca.crt", privateKey: "root_ca_key" },
  { certificate: "rootCA.pem", privateKey: "rootCA-key.pem" },
];

export type CaSecret = { readonly certificatePem: string; readonly privateKey: KeyObject };

/** Throws MR3001, which says what to give instead; no text of it repeats what the secret holds. */
export function readCaSecret(secret: Secret): CaSecret {
  const pair = PAIRS.find((each) => has(secret, each.certificate) && has(secret, each.privateKey));
  if (pair === undefined) throw incomplete(secret);
  const privateKey = readKey(secret, pair.privateKey);
  return { certificatePem: readCertificate(secret, pair, privateKey), privateKey };
}

/** MR3001 about a CA secret. */
export function corruptCa(secret: Secret, what: string, remedy: string): MeshrootError {
  const backup = isOurs(secret) ? " Meshroot made this secret: a backup of it has what was there." : "";
  return new MeshrootError(
    "MR3001",
    `CA secret ${secret.namespace}/${secret.name}: ${what}`,
    `${remedy}${backup} Nothing was overwritten; remove the secret only if its root may be replaced by a new one.`,
  );
}

function isOurs(secret: Secret): boolean {
  return secret.labels?.[MANAGED_BY.key] === MANAGED_BY.value;
}

function has(secret: Secret, key: string): boolean {
  return (secret.data[key]?.length ?? 0) > 0;
}

/** Which of the two is missing, or what they are called instead. */
function incomplete(secret: Secret): MeshrootError {
  const { certificate, privateKey } = OWN_KEYS;
  const missing = [certificate, privateKey].filter((key) => !has(secret, key));
  const keys = Object.keys(secret.data);
  const empty = keys.filter((key) => !has(secret, key));
  const found = keys.length === 0 ? "nothing" : list(keys) + (empty.length === 0 ? "" : `, empty: ${list(empty)}`);
  const what = `${missing.map((key) => `${key} is missing`).join(", ")} (it holds ${found})`;
  if (isOurs(secret)) return corruptCa(secret, what, `Restore ${missing.join(" and ")}.`);
  const holding = (label: RegExp) => keys.find((key) => label.test(textOf(secret, key)));
  const withKey = holding(/-----BEGIN [A-Z ]*PRIVATE KEY-----/);
  const withCertificate = holding(/-----BEGIN (?:X509 )?CERTIFICATE-----/);
  const keyHint = withKey === undefined ? `add the CA's private key as ${privateKey}` : rename(withKey, privateKey);
  const certificateHint =
    withCertificate === undefined ? `add the CA's certificate as ${certificate}` : rename(withCertificate, certificate);
  const hints = [certificateHint, keyHint].filter((hint) => hint !== "").join(", and ");
  return corruptCa(
    secret,
    what,
    `In this secret ${hints}. (The pairs tls.crt and tls.key, or ca-cert.pem and ca-key.pem, will do too.)`,
  );
}

function list(keys: readonly string[]): string {
  return `${keys.slice(0, 10).map(shown).join(", ")}${keys.length > 10 ? " ..." : ""}`;
}

function rename(from: string, to: string): string {
  return from === to ? "" : `rename ${shown(from)} to ${to}`;
}

function shown(key: string): string {
  return /^[-._a-zA-Z0-9]{1,80}$/.test(key) ? key : JSON.stringify(key).slice(0, 80);
}

function textOf(secret: Secret, key: string): string {
  const bytes = secret.data[key] ?? Buffer.alloc(0);
  // As shells of Windows redirect it.
  return bytes[0] === 0xff && bytes[1] === 0xfe ? bytes.toString("utf16le", 2) : bytes.toString("utf8");
}

function readKey(secret: Secret, key: string): KeyObject {
  const text = textOf(secret, key);
  try {
    return createPrivateKey(text);
  } catch {
    const [what, remedy] = keyTrouble(text, secret.data[key], key);
    throw corruptCa(secret, `${key} ${what}`, remedy);
  }
}

type Trouble = readonly [what: string, remedy: string];

function keyTrouble(text: string, bytes: Buffer | undefined, key: string): Trouble {
  if (/ENCRYPTED PRIVATE KEY-----|^Proc-Type: 4,ENCRYPTED/m.test(text))
    return [
      "is not an unencrypted private key: it has a passphrase",
      `Take it off: \`openssl pkey -in FILE -out ${key}\` asks for it.`,
    ];
  if (text.includes("BEGIN OPENSSH PRIVATE KEY"))
    return ["is in OpenSSH's own form", `Convert a copy of it: \`ssh-keygen -p -m PKCS8 -f ${key}\`.`];
  if (/-----BEGIN [A-Z ]*PUBLIC KEY-----/.test(text)) return ["is a public key", `Give the private key as ${key}.`];
  return (
    commonTrouble(text, bytes, `openssl pkey -inform der -in FILE -out ${key}`) ?? [
      "is not a private key in PEM form",
      `Give the CA's private key as PEM, unencrypted; \`openssl pkey -in FILE -noout -text\` must be able to read it.`,
    ]
  );
}

/** What happens to certificates and keys alike on their way into a Secret. */
function commonTrouble(text: string, bytes: Buffer | undefined, fromDer: string): Trouble | undefined {
  if (text.includes("-----BEGIN ") && text.includes("\\n"))
    return ["has backslash-n where lines should end", "Write it as a block (`KEY: |`), one line of PEM a line."];
  if (/^\s*LS0tLS1CRUdJTi/.test(text))
    return ["is base64 twice", "Encode the PEM once only, or write it under stringData as it is."];
  if (bytes?.[0] === 0x30) return ["is binary (DER or PKCS#12), not PEM", `Convert it: \`${fromDer}\`.`];
  return undefined;
}

/** For a block that is no certificate: how to get one out of it. */
const CONVERSIONS: readonly (readonly [label: RegExp, what: string, remedy: string])[] = [
  [/-----BEGIN TRUSTED CERTIFICATE-----/, "is in openssl's TRUSTED form", "`openssl x509 -in FILE -out ca.crt`"],
  [/-----BEGIN PKCS7-----/, "is a PKCS#7 bundle", "`openssl pkcs7 -print_certs -in FILE`, of which the root alone"],
  [
    /-----BEGIN (?:NEW )?CERTIFICATE REQUEST-----/,
    "is a certificate request",
    "the certificate that was issued for it, self-signed",
  ],
];

function readCertificate(secret: Secret, pair: Pair, privateKey: KeyObject): string {
  const name = pair.certificate;
  const text = textOf(secret, name);
  const { certificates, problems } = parseBundle(text);
  const [only] = certificates;
  if (only !== undefined && certificates.length === 1 && problems.length === 0) return only.pem;
  if (certificates.length > 1) throw chain(secret, pair, certificates, privateKey);
  const common = commonTrouble(text, secret.data[name], `openssl x509 -inform der -in FILE -out ${name}`);
  if (common !== undefined) throw corruptCa(secret, `${name} ${common[0]}`, common[1]);
  const conversion = CONVERSIONS.find(([label]) => label.test(text));
  if (conversion !== undefined) throw corruptCa(secret, `${name} ${conversion[1]}`, `Give ${conversion[2]}.`);
  const what = problems[0] === undefined ? "holds 0 certificates instead of one" : `: ${problems[0].message}`;
  const remedy = /-----BEGIN [A-Z ]*PRIVATE KEY-----/.test(text)
    ? `Give the certificate alone as ${name}, and the key alone as ${pair.privateKey}.`
    : "Give one whole -----BEGIN CERTIFICATE----- … -----END CERTIFICATE----- block: the root's.";
  throw corruptCa(secret, `${name} ${what}`.replace(" :", ":"), remedy);
}

/** A root certificate stands alone: of a chain nobody could say which one the mesh is to trust. */
function chain(
  secret: Secret,
  { certificate: name, privateKey: keyName }: Pair,
  certificates: readonly ParsedCertificate[],
  privateKey: KeyObject,
): MeshrootError {
  const own = certificates.find(({ x509 }) => x509.checkPrivateKey(privateKey));
  const isRoot = own?.x509.checkIssued(own.x509) === true;
  const roots = certificates.filter(({ x509 }) => x509.checkIssued(x509)).map(({ subject }) => subject);
  const theRoot = roots.length === 1 ? `the root (${roots[0]})` : "the root, which is self-signed";
  const remedy = isRoot
    ? `Keep the one that ${keyName} belongs to alone: ${own.subject} (serial ${own.serial}).`
    : `Give ${theRoot} alone as ${name}, and the root's own key as ${keyName}${own === undefined ? "" : `: the key that is there belongs to ${own.subject}, an intermediate`}.`;
  return corruptCa(secret, `${name} holds ${certificates.length} certificates, a chain, instead of one root`, remedy);
}
