/**
 * Certificates (RFC 5280): node-forge encodes the ASN.1, node:crypto makes the public key's bytes and the signature. Forge's
 * own signing would block the event loop for 30 ms and more, and knows no elliptic curves.
 */

import { createHash, type KeyObject, randomBytes, sign } from "node:crypto";
import { promisify } from "node:util";
import forge from "node-forge";
import { toPem } from "./pem.ts";

const { asn1 } = forge;
type Asn1 = forge.asn1.Asn1;
const { Class, Type } = asn1;
const signAsync = promisify(sign);

export type Name = readonly { readonly type: "C" | "L" | "O" | "CN"; readonly value: string }[];

export type CertificateSpec = {
  readonly subject: Name;
  readonly publicKey: KeyObject;
  readonly notBefore: number;
  readonly notAfter: number;
  readonly ca: boolean;
  readonly usages: readonly ("serverAuth" | "clientAuth")[];
  readonly dnsNames: readonly string[];
  readonly uris: readonly string[];
  readonly issuer: {
    /** DER of the issuer's subject name, byte for byte, so that subject and issuer always match (F19). */
    readonly name: Buffer;
    readonly keyId: Buffer;
    readonly privateKey: KeyObject;
  };
};

const OIDS = { C: "2.5.4.6", L: "2.5.4.7", O: "2.5.4.10", CN: "2.5.4.3", serverAuth: "1.3.6.1.5.5.7.3.1", clientAuth: "1.3.6.1.5.5.7.3.2" } as const;

const DIGITAL_SIGNATURE = 0x80;
const KEY_ENCIPHERMENT = 0x20;
const KEY_CERT_SIGN = 0x04;
const CRL_SIGN = 0x02;

/** Signs one certificate; PEM with a final newline. */
export async function createCertificate(spec: CertificateSpec): Promise<string> {
  const algorithm = signatureAlgorithm(spec.issuer.privateKey);
  const tbs = sequence([
    explicit(0, integer(Buffer.from([2]))),
    integer(serialNumber()),
    algorithm.identifier(),
    raw(spec.issuer.name),
    sequence([time(spec.notBefore), time(spec.notAfter)]),
    raw(encodeName(spec.subject)),
    raw(spec.publicKey.export({ type: "spki", format: "der" })),
    explicit(3, sequence(extensions(spec))),
  ]);
  const der = toDer(tbs);
  const signature = await signAsync(algorithm.hash, der, spec.issuer.privateKey);
  return toPem("CERTIFICATE", toDer(sequence([raw(der), algorithm.identifier(), bitString(signature)])));
}

export function encodeName(name: Name): Buffer {
  const attribute = ({ type, value }: Name[number]) => {
    const text = primitive(type === "C" ? Type.PRINTABLESTRING : Type.UTF8, Buffer.from(value, "utf8"));
    return asn1.create(Class.UNIVERSAL, Type.SET, true, [sequence([oid(OIDS[type]), text])]);
  };
  return toDer(sequence(name.map(attribute)));
}

/** SHA-1 of the public key's bits (RFC 5280 4.2.1.2, method 1): a name for the key, not a protection. */
export function keyId(publicKey: KeyObject): Buffer {
  const spki = asn1.fromDer(publicKey.export({ type: "spki", format: "der" }).toString("binary"));
  const bits = Array.isArray(spki.value) ? spki.value[1] : undefined;
  const whole = bits === undefined ? Buffer.alloc(0) : toDer(bits);
  // The content of the BIT STRING without its octet that counts unused bits.
  const header = whole[1] !== undefined && whole[1] > 0x7f ? 2 + (whole[1] & 0x7f) : 2;
  return createHash("sha1").update(whole.subarray(header + 1)).digest();
}

function extensions(spec: CertificateSpec): Asn1[] {
  const isRsa = spec.publicKey.asymmetricKeyType === "rsa";
  const usage = spec.ca ? KEY_CERT_SIGN | CRL_SIGN : DIGITAL_SIGNATURE | (isRsa ? KEY_ENCIPHERMENT : 0);
  const list = [
    extension("2.5.29.15", true, bitString(Buffer.from([usage]), unusedBits(usage))),
    extension("2.5.29.19", true, sequence(spec.ca ? [primitive(Type.BOOLEAN, Buffer.from([0xff]))] : [])),
    extension("2.5.29.14", false, octets(keyId(spec.publicKey))),
    extension("2.5.29.35", false, sequence([context(0, spec.issuer.keyId)])),
  ];
  if (spec.usages.length > 0) list.push(extension("2.5.29.37", false, sequence(spec.usages.map((one) => oid(OIDS[one])))));
  const names = [...spec.dnsNames.map((name) => context(2, Buffer.from(name, "ascii"))), ...spec.uris.map((uri) => context(6, Buffer.from(uri, "ascii")))];
  if (names.length > 0) list.push(extension("2.5.29.17", false, sequence(names)));
  return list;
}

function extension(id: string, critical: boolean, value: Asn1): Asn1 {
  const flag = critical ? [primitive(Type.BOOLEAN, Buffer.from([0xff]))] : [];
  return sequence([oid(id), ...flag, octets(toDer(value))]);
}

/** X.509 key usage is a BIT STRING without trailing zero bits. */
function unusedBits(byte: number): number {
  let unused = 0;
  while (unused < 7 && ((byte >> unused) & 1) === 0) unused += 1;
  return unused;
}

/** Positive, 159 random bits: unpredictable and at most 20 octets (RFC 5280 4.1.2.2). */
function serialNumber(): Buffer {
  const bytes = randomBytes(20);
  bytes[0] = ((bytes[0] ?? 0) & 0x7f) | 0x40;
  return bytes;
}

function signatureAlgorithm(key: KeyObject): { hash: string; identifier: () => Asn1 } {
  if (key.asymmetricKeyType === "rsa") {
    return { hash: "sha256", identifier: () => sequence([oid("1.2.840.113549.1.1.11"), primitive(Type.NULL, Buffer.alloc(0))]) };
  }
  const p384 = key.asymmetricKeyDetails?.namedCurve === "secp384r1";
  return { hash: p384 ? "sha384" : "sha256", identifier: () => sequence([oid(p384 ? "1.2.840.10045.4.3.3" : "1.2.840.10045.4.3.2")]) };
}

/** UTCTime through 2049, GeneralizedTime from 2050 (RFC 5280 4.1.2.5). Seconds; `ms` is rounded down. */
function time(ms: number): Asn1 {
  const digits = new Date(ms).toISOString().replaceAll(/[-:T]/g, "").slice(0, 14);
  const utc = new Date(ms).getUTCFullYear() < 2050;
  return primitive(utc ? Type.UTCTIME : Type.GENERALIZEDTIME, Buffer.from(`${utc ? digits.slice(2) : digits}Z`, "ascii"));
}

function sequence(parts: Asn1[]): Asn1 {
  return asn1.create(Class.UNIVERSAL, Type.SEQUENCE, true, parts);
}

function primitive(type: forge.asn1.Type, value: Buffer): Asn1 {
  return asn1.create(Class.UNIVERSAL, type, false, value.toString("binary"));
}

function explicit(tag: number, value: Asn1): Asn1 {
  return asn1.create(Class.CONTEXT_SPECIFIC, tag, true, [value]);
}

function context(tag: number, value: Buffer): Asn1 {
  return asn1.create(Class.CONTEXT_SPECIFIC, tag, false, value.toString("binary"));
}

const integer = (value: Buffer) => primitive(Type.INTEGER, value);
const octets = (value: Buffer) => primitive(Type.OCTETSTRING, value);
const bitString = (value: Buffer, unused = 0) => primitive(Type.BITSTRING, Buffer.concat([Buffer.from([unused]), value]));
const oid = (id: string) => asn1.create(Class.UNIVERSAL, Type.OID, false, asn1.oidToDer(id).getBytes());

function raw(der: Buffer): Asn1 {
  return asn1.fromDer(der.toString("binary"));
}

function toDer(node: Asn1): Buffer {
  return Buffer.from(asn1.toDer(node).getBytes(), "binary");
}
