/** A certificate authority whose key is at hand, and the making of a new one. */

import { createPrivateKey, createPublicKey, type KeyObject, X509Certificate } from "node:crypto";
import type { CertificateAuthority, Clock, IssuedCertificate, IssueRequest } from "../controller/ports.ts";
import { MeshrootError } from "../core/errors.ts";
import { createCertificate, encodeName, keyId, type Name } from "./certificate.ts";
import { inspect, inspectCertificate } from "./inspect.ts";
import { generateKeyPair, type KeyAlgorithm, privateKeyPem } from "./keys.ts";
import { BACKDATE_MS } from "./profiles.ts";

const ORGANIZATION = "Open Service Mesh";

/** OSM's subject of a Tresor root. Two roots share it: SKI and AKI tell them apart. */
const TRESOR_SUBJECT: Name = [
  { type: "C", value: "US" },
  { type: "L", value: "CA" },
  { type: "O", value: ORGANIZATION },
  { type: "CN", value: "osm-ca.openservicemesh.io" },
];

/** A new self-signed root: certSign and cRLSign only, valid from a little before `now` (ms) for `validityMs`. */
export async function createRootCa(options: {
  readonly algorithm: KeyAlgorithm;
  readonly validityMs: number;
  readonly now: number;
}): Promise<{ readonly certificatePem: string; readonly privateKeyPem: string }> {
  const keyPair = await generateKeyPair(options.algorithm);
  const certificatePem = await createCertificate({
    subject: TRESOR_SUBJECT,
    publicKey: keyPair.publicKey,
    notBefore: options.now - BACKDATE_MS,
    notAfter: options.now + options.validityMs,
    ca: true,
    usages: [],
    dnsNames: [],
    uris: [],
    issuer: { name: encodeName(TRESOR_SUBJECT), keyId: keyId(keyPair.publicKey), privateKey: keyPair.privateKey },
  });
  return { certificatePem, privateKeyPem: privateKeyPem(keyPair) };
}

/** Throws MR3001 when certificate and key are no working CA; its text says what to do and holds no key material. */
export function createAuthority(options: {
  readonly certificatePem: string;
  readonly privateKeyPem: string;
  readonly clock: Clock;
}): CertificateAuthority {
  const { certificate, privateKey } = readCa(options.certificatePem, options.privateKeyPem);
  const info = inspectCertificate(certificate);
  const issuer = {
    name: subjectDer(certificate),
    keyId: info.subjectKeyId === undefined ? keyId(certificate.publicKey) : Buffer.from(info.subjectKeyId, "hex"),
    privateKey,
  };
  const { fingerprint, serial, notBefore, notAfter } = info;
  return {
    fingerprint,
    serial,
    notBefore,
    notAfter,
    certificatePem: certificate.toString(),
    issue: async (request) => {
      const now = options.clock.now();
      const until = new Date(notAfter).toISOString();
      if (now >= notAfter) throw new MeshrootError("MR3002", `the root ${info.subject} expired at ${until}`, "create another root and rotate to it");
      if (now < notBefore) {
        const from = new Date(notBefore).toISOString();
        throw new MeshrootError("MR3003", `the root ${info.subject} is valid from ${from} only`, "check this machine's clock");
      }
      return issueUnder(issuer, request, { notBefore, notAfter });
    },
  };
}

async function issueUnder(
  issuer: { name: Buffer; keyId: Buffer; privateKey: KeyObject },
  request: IssueRequest,
  root: { notBefore: number; notAfter: number },
): Promise<IssuedCertificate> {
  const { commonName, dnsNames, uris, usages, keyPair } = request;
  const chainPem = await createCertificate({
    subject: [{ type: "O", value: ORGANIZATION }, { type: "CN", value: commonName }],
    publicKey: keyPair.publicKey,
    notBefore: Math.max(request.notBefore, root.notBefore),
    notAfter: Math.min(request.notAfter, root.notAfter),
    ca: false,
    usages,
    dnsNames,
    uris,
    issuer,
  });
  const { fingerprint, serial, notBefore, notAfter } = inspect(chainPem);
  return { chainPem, fingerprint, serial, notBefore, notAfter };
}

function readCa(certificatePem: string, keyPem: string): { certificate: X509Certificate; privateKey: KeyObject } {
  const corrupt = (what: string, cause?: unknown) =>
    new MeshrootError("MR3001", what, "restore the secret from a backup, or point the root at another one; nothing was overwritten", cause);
  let certificate: X509Certificate;
  try {
    certificate = new X509Certificate(certificatePem);
  } catch {
    throw corrupt("the CA certificate can't be read");
  }
  let privateKey: KeyObject;
  try {
    privateKey = createPrivateKey(keyPem);
  } catch {
    // OpenSSL's own error is left out: it must not quote what it was given.
    throw corrupt("the CA's private key can't be read");
  }
  if (!certificate.ca) throw corrupt("the certificate is not a CA's");
  const spki = (key: KeyObject) => key.export({ type: "spki", format: "der" });
  if (!spki(createPublicKey(privateKey)).equals(spki(certificate.publicKey))) {
    throw corrupt("the CA's private key does not belong to its certificate");
  }
  return { certificate, privateKey };
}

/** The subject's DER, byte for byte: the sixth element of the TBS when a version is there (RFC 5280 4.1). */
function subjectDer(certificate: X509Certificate): Buffer {
  return derElement(derElement(certificate.raw, 0), 5);
}

/** Element `index` of a DER SEQUENCE, header and all. */
function derElement(der: Buffer, index: number): Buffer {
  let offset = contentOffset(der, 0);
  for (let skipped = 0; skipped < index; skipped += 1) offset = elementEnd(der, offset);
  return der.subarray(offset, elementEnd(der, offset));
}

function contentOffset(der: Buffer, start: number): number {
  const length = der.readUInt8(start + 1);
  return start + 2 + (length > 0x7f ? length & 0x7f : 0);
}

function elementEnd(der: Buffer, start: number): number {
  const first = der.readUInt8(start + 1);
  const content = contentOffset(der, start);
  const length = first > 0x7f ? der.readUIntBE(start + 2, first & 0x7f) : first;
  return content + length;
}
