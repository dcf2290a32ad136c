/** Whether two roots can stand in one bundle: a verifier, and Envoy's `/certs`, have to tell them apart. */

import { generateKeyPairSync, X509Certificate } from "node:crypto";
import type { Problem } from "../core/errors.ts";
import type { NamedRoot } from "../ports/provider.ts";
import { encodeName, randomSerial, signCertificate } from "./certificate.ts";
import { keyId } from "./extensions.ts";
import { subjectDer } from "./inspect.ts";
import { type ParsedCertificate, parseOne } from "./pem.ts";

/**
 * Undefined where they can be told apart, or are one and the same. A verifier looks for the issuer of a leaf by name and key id,
 * takes the first that fits, and never tries the next one when the signature fails (V; OpenSSL and BoringSSL alike): so two
 * keys under one name need key ids that differ. Two certificates of one key are no trouble while both are valid, either verifies.
 * `/certs` shows serial number and times, and nothing else of a root. `now`: ms since the epoch.
 */
export async function distinctRoots(root: NamedRoot, other: NamedRoot, now: number): Promise<Problem | undefined> {
  const [a, b] = [root, other].map(({ certificatePem }) => parseOne(certificatePem, "the CA certificate"));
  if (a === undefined || b === undefined || a.fingerprint === b.fingerprint) return undefined;
  if (a.serial === b.serial && a.notBefore === b.notBefore && a.notAfter === b.notAfter) {
    const message = `root ${root.name} has the serial number (${a.serial}) and the validity of root ${other.name}: Envoy's /certs, by which agents prove what is loaded, can't tell them apart`;
    return { code: "MR1013", message, hint: "Make it anew: `openssl req -x509` draws a serial number of its own." };
  }
  if (a.x509.publicKey.equals(b.x509.publicKey)) return now < a.notAfter ? undefined : ended(root, other);
  if (!(await isTakenFor(a, b)) && !(await isTakenFor(b, a))) return undefined;
  const without = [a, b].some(({ subjectKeyId }) => subjectKeyId === undefined);
  const ids = without ? "without a subject key id in both" : "with the same subject key id";
  return {
    code: "MR1013",
    message: `root ${root.name} has the subject of root ${other.name} (${a.subject || "empty"}), ${ids}, and another key: a verifier can't tell it from ${other.name}, and takes one for the other`,
    hint: "Make it anew with another subject, or with `subjectKeyIdentifier=hash` where both have one. docs/roots.md has the command lines.",
  };
}

/** V: of two certificates of one CA an Envoy may take the one that has expired for the issuer. */
function ended(root: NamedRoot, other: NamedRoot): Problem {
  return {
    code: "MR1013",
    message: `root ${root.name} has the key of root ${other.name} and has expired: a verifier that takes it for ${other.name} fails`,
    hint: "Leave it out: what it signed verifies under the other one.",
  };
}

/** Whether a verifier takes `other` for the issuer of what `root` signs. The signature plays no part in that choice. */
async function isTakenFor(other: ParsedCertificate, root: ParsedCertificate): Promise<boolean> {
  const { publicKey, privateKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
  const fields = {
    serial: randomSerial(),
    issuer: subjectDer(root.x509),
    subject: encodeName({ commonName: "any" }),
    notBefore: root.notBefore,
    notAfter: root.notAfter,
    publicKey,
    isCa: false,
    keyUsage: ["digitalSignature"],
    extKeyUsage: [],
    dnsNames: [],
    uris: [],
    subjectKeyId: keyId(publicKey),
    // As authority.ts writes it.
    authorityKeyId: root.subjectKeyId ?? keyId(root.x509.publicKey),
  } as const;
  return new X509Certificate(await signCertificate(fields, privateKey)).checkIssued(other.x509);
}
