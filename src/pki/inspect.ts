/** What a certificate says, read by node:crypto; extensions that it does not show are read from the DER. */

import { X509Certificate } from "node:crypto";
import forge from "node-forge";

export type CertificateInfo = {
  /** SHA-256 of the DER, 64 lower-case hex digits. */
  readonly fingerprint: string;
  /** Lower-case hex without leading zeros, as Envoy's /certs prints it. */
  readonly serial: string;
  readonly subject: string;
  /** Milliseconds since the epoch. */
  readonly notBefore: number;
  readonly notAfter: number;
  readonly isCa: boolean;
  /** Lower-case hex; undefined where the certificate has none. */
  readonly subjectKeyId: string | undefined;
  readonly authorityKeyId: string | undefined;
};

const SUBJECT_KEY_ID = "2.5.29.14";
const AUTHORITY_KEY_ID = "2.5.29.35";

/** Throws what node:crypto throws when this is no certificate. */
export function inspect(pem: string): CertificateInfo {
  return inspectCertificate(new X509Certificate(pem));
}

export function inspectCertificate(certificate: X509Certificate): CertificateInfo {
  const extensions = readExtensions(certificate.raw);
  return {
    fingerprint: certificate.fingerprint256.replaceAll(":", "").toLowerCase(),
    serial: normaliseSerial(certificate.serialNumber),
    subject: certificate.subject.replaceAll("\n", ", "),
    notBefore: certificate.validFromDate.getTime(),
    notAfter: certificate.validToDate.getTime(),
    isCa: certificate.ca,
    subjectKeyId: keyIdOf(extensions.get(SUBJECT_KEY_ID), "subject"),
    authorityKeyId: keyIdOf(extensions.get(AUTHORITY_KEY_ID), "authority"),
  };
}

export function normaliseSerial(serial: string): string {
  return serial.toLowerCase().replace(/^0+(?=.)/, "");
}

function readExtensions(der: Buffer): Map<string, string> {
  const certificate = forge.asn1.fromDer(der.toString("binary"));
  const tbs = child(certificate, 0);
  const wrapper = children(tbs).find((node) => node.tagClass === forge.asn1.Class.CONTEXT_SPECIFIC && node.type === 3);
  const result = new Map<string, string>();
  for (const extension of wrapper === undefined ? [] : children(child(wrapper, 0))) {
    const parts = children(extension);
    const value = parts.at(-1)?.value;
    if (typeof parts[0]?.value === "string" && typeof value === "string") result.set(forge.asn1.derToOid(parts[0].value), value);
  }
  return result;
}

function keyIdOf(der: string | undefined, kind: "subject" | "authority"): string | undefined {
  if (der === undefined) return undefined;
  const node = forge.asn1.fromDer(der);
  // AuthorityKeyIdentifier is a SEQUENCE whose element [0] is the key id (RFC 5280 4.2.1.1).
  const value = kind === "subject" ? node.value : children(node).find((part) => part.type === 0)?.value;
  return typeof value === "string" ? Buffer.from(value, "binary").toString("hex") : undefined;
}

function children(node: forge.asn1.Asn1): forge.asn1.Asn1[] {
  return Array.isArray(node.value) ? node.value : [];
}

function child(node: forge.asn1.Asn1, index: number): forge.asn1.Asn1 {
  const found = children(node)[index];
  if (found === undefined) throw new Error("not a certificate");
  return found;
}
