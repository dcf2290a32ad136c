/** What a certificate says, in the words and units of the product. node:crypto parses; forge only walks what it parsed. */

import { X509Certificate } from "node:crypto";
import { MeshrootError } from "../core/errors.ts";
import { fingerprintOf } from "../core/fingerprint.ts";
import { normaliseSerial } from "../core/serial.ts";
import { type Asn1, decode, encode, isContext, members } from "./der.ts";
import { type ReadExtensions, readExtensions } from "./extensions.ts";

export type CertificateInfo = ReadExtensions & {
  /** SHA-256 of the DER, 64 lower-case hex digits. */
  readonly fingerprint: string;
  /** As `normaliseSerial` writes it. */
  readonly serial: string;
  /** For people: `C=US, O=…, CN=…`, in the certificate's order. */
  readonly subject: string;
  readonly issuer: string;
  /** Milliseconds since the epoch. */
  readonly notBefore: number;
  readonly notAfter: number;
  /** Basic constraints say CA, and key usage, where present, allows to sign certificates. */
  readonly isCa: boolean;
};

/**
 * Describes the first certificate in `certificate`, PEM or DER. Throws MR3005 where there is none; the text is not
 * repeated, it may be a private key.
 */
export function inspect(certificate: string | Buffer): CertificateInfo {
  let x509: X509Certificate;
  try {
    x509 = new X509Certificate(certificate);
  } catch {
    const hint = "Give an X.509 certificate in PEM form; `openssl x509 -noout -text` shows what it is.";
    throw new MeshrootError("MR3005", "this is not a certificate", hint);
  }
  return inspectX509(x509);
}

/** As `inspect`, for a certificate that is parsed already. Throws MR3005 on extensions that are not DER. */
export function inspectX509(x509: X509Certificate): CertificateInfo {
  let extensions: ReadExtensions;
  try {
    extensions = readExtensions(tbsMembers(x509));
  } catch (error) {
    const hint = "Have the certificate issued again; `openssl asn1parse` shows where it breaks off.";
    throw new MeshrootError("MR3005", "the extensions of this certificate are malformed", hint, error);
  }
  return {
    ...extensions,
    fingerprint: fingerprintOf(x509),
    serial: normaliseSerial(x509.serialNumber),
    subject: oneLine(x509.subject),
    issuer: oneLine(x509.issuer),
    notBefore: x509.validFromDate.getTime(),
    notAfter: x509.validToDate.getTime(),
    isCa: x509.ca,
  };
}

/** DER of the subject, as it must stand in the issuer field of what this certificate signs. */
export function subjectDer(x509: X509Certificate): Buffer {
  const tbs = tbsMembers(x509);
  const [first] = tbs;
  // [0] version is optional and shifts what follows: serial, signature, issuer, validity, subject.
  const subject = tbs[first !== undefined && isContext(first, 0) ? 5 : 4];
  return subject === undefined ? Buffer.of(0x30, 0) : encode(subject);
}

function tbsMembers(x509: X509Certificate): readonly Asn1[] {
  return members(members(decode(x509.raw))[0]);
}

/** Node prints an attribute a line, in the certificate's order, with control characters escaped. */
function oneLine(name: string | undefined): string {
  return (name ?? "").replaceAll("\n", ", ");
}
