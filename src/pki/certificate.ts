/** Building and signing X.509 v3 certificates (RFC 5280): forge's ASN.1 encodes, node:crypto signs off the event loop. */

import { type KeyObject, randomBytes, sign as signBytes } from "node:crypto";
import { MeshrootError } from "../core/errors.ts";
import {
  type Asn1,
  bits,
  decode,
  directoryString,
  encode,
  explicit,
  integer,
  nullValue,
  oid,
  sequence,
  setOf,
  time,
} from "./der.ts";
import { type ExtensionFields, encodeExtensions } from "./extensions.ts";

/** Parts of a distinguished name; left out where undefined. */
export type DistinguishedName = {
  readonly country?: string | undefined;
  readonly organization?: string | undefined;
  readonly locality?: string | undefined;
  readonly commonName: string;
};

const ATTRIBUTES = [
  // Go's order, in which OSM's roots were written: in another one the names of two Tresor roots would differ.
  ["country", "2.5.4.6"],
  ["organization", "2.5.4.10"],
  ["locality", "2.5.4.7"],
  ["commonName", "2.5.4.3"],
] as const;

/** The DER of a distinguished name. */
export function encodeName(name: DistinguishedName): Buffer {
  const parts = ATTRIBUTES.flatMap(([key, type]) => {
    const text = name[key];
    return text === undefined ? [] : [setOf(sequence(oid(type), directoryString(text)))];
  });
  return encode(sequence(...parts));
}

/** Fields of a certificate that is to be signed. Times in ms since the epoch, cut to whole seconds. */
export type CertificateFields = ExtensionFields & {
  /** Positive, at most 20 bytes, big-endian. */
  readonly serial: Buffer;
  /** DER of the names; the issuer's must be its certificate's own bytes, so that the two always match. */
  readonly issuer: Buffer;
  readonly subject: Buffer;
  readonly notBefore: number;
  readonly notAfter: number;
  readonly publicKey: KeyObject;
};

/** 159 random bits: positive, and within the 20 bytes of RFC 5280 4.1.2.2. */
export function randomSerial(): Buffer {
  const serial = randomBytes(20);
  serial[0] = (serial[0] ?? 0) & 0x7f;
  return serial.some((byte) => byte !== 0) ? serial : randomSerial();
}

type Signature = { readonly hash: "sha256" | "sha384" | "sha512"; readonly oid: string; readonly withNull: boolean };

const ECDSA: Readonly<Record<string, Signature>> = {
  prime256v1: { hash: "sha256", oid: "1.2.840.10045.4.3.2", withNull: false },
  secp384r1: { hash: "sha384", oid: "1.2.840.10045.4.3.3", withNull: false },
  secp521r1: { hash: "sha512", oid: "1.2.840.10045.4.3.4", withNull: false },
};
// RFC 4055 5 wants the NULL here, and RFC 5758 3.2 forbids it above.
const RSA: Signature = { hash: "sha256", oid: "1.2.840.113549.1.1.11", withNull: true };

/** How a key signs certificates; undefined for a kind of key that we don't sign with (Ed25519, RSA-PSS, other curves). */
export function signatureFor(key: KeyObject): Signature | undefined {
  if (key.asymmetricKeyType === "rsa") return RSA;
  if (key.asymmetricKeyType !== "ec") return undefined;
  return ECDSA[key.asymmetricKeyDetails?.namedCurve ?? ""];
}

/** The DER of the signed certificate. Throws MR3004 when the key can't sign certificates or signing fails. */
export async function signCertificate(fields: CertificateFields, issuerKey: KeyObject): Promise<Buffer> {
  const signature = signatureFor(issuerKey);
  if (signature === undefined) {
    const type = issuerKey.asymmetricKeyType ?? "unknown";
    throw new MeshrootError("MR3004", `a key of type ${type} can't sign`, "Use an RSA, P-256, P-384 or P-521 CA key.");
  }
  const algorithm = (): Asn1 => sequence(oid(signature.oid), ...(signature.withNull ? [nullValue()] : []));
  const tbs = sequence(
    explicit(0, integer(Buffer.of(2))),
    integer(fields.serial),
    algorithm(),
    decode(fields.issuer),
    sequence(time(fields.notBefore), time(fields.notAfter)),
    decode(fields.subject),
    decode(fields.publicKey.export({ type: "spki", format: "der" })),
    explicit(3, encodeExtensions(fields)),
  );
  const signed = await sign(signature.hash, encode(tbs), issuerKey);
  return encode(sequence(tbs, algorithm(), bits(signed)));
}

function sign(hash: string, bytes: Buffer, key: KeyObject): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    // With a callback it runs in the thread pool; without, an RSA signature would hold up the event loop.
    signBytes(hash, bytes, key, (error, signature) => {
      if (error === null) resolve(signature);
      else reject(new MeshrootError("MR3004", "the CA key failed to sign", "Check the CA's key with openssl.", error));
    });
  });
}
