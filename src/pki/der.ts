/** DER (X.690) by way of node-forge's ASN.1: it encodes and walks structures here, and never decides anything. */

import forge from "node-forge";

const { asn1 } = forge;
const { Class, Type } = asn1;

export type Asn1 = forge.asn1.Asn1;

/** Universal types that certificates are made of. */
export const sequence = (...items: Asn1[]): Asn1 => asn1.create(Class.UNIVERSAL, Type.SEQUENCE, true, items);
export const setOf = (...items: Asn1[]): Asn1 => asn1.create(Class.UNIVERSAL, Type.SET, true, items);
export const nullValue = (): Asn1 => asn1.create(Class.UNIVERSAL, Type.NULL, false, "");
export const boolean = (value: boolean): Asn1 => primitive(Type.BOOLEAN, Buffer.from([value ? 0xff : 0]));
export const octets = (bytes: Buffer): Asn1 => primitive(Type.OCTETSTRING, bytes);
export const oid = (dotted: string): Asn1 =>
  asn1.create(Class.UNIVERSAL, Type.OID, false, asn1.oidToDer(dotted).getBytes());

/** A non-negative INTEGER from its big-endian bytes, minimally encoded whatever zeros they begin with. */
export function integer(bytes: Buffer): Asn1 {
  let start = 0;
  while (start < bytes.length - 1 && bytes[start] === 0) start += 1;
  const digits = bytes.subarray(start);
  const negative = ((digits[0] ?? 0) & 0x80) !== 0;
  return primitive(Type.INTEGER, negative ? Buffer.concat([Buffer.of(0), digits]) : digits);
}

/** A BIT STRING of which the last `unused` bits don't count. */
export function bits(bytes: Buffer, unused = 0): Asn1 {
  return primitive(Type.BITSTRING, Buffer.concat([Buffer.of(unused), bytes]));
}

/** PrintableString where its small alphabet suffices, else UTF8String: what Go does, and so OSM's roots hold. */
export function directoryString(text: string): Asn1 {
  const printable = /^[A-Za-z0-9 '()+,\-./:=?]*$/.test(text);
  return primitive(printable ? Type.PRINTABLESTRING : Type.UTF8, Buffer.from(text, "utf8"));
}

/** UTCTime in 1950-2049, GeneralizedTime elsewhere (RFC 5280 4.1.2.5). `ms` since the epoch; parts of a second are cut. */
export function time(ms: number): Asn1 {
  const date = new Date(ms);
  const year = date.getUTCFullYear();
  return year >= 1950 && year < 2050
    ? asn1.create(Class.UNIVERSAL, Type.UTCTIME, false, asn1.dateToUtcTime(date))
    : asn1.create(Class.UNIVERSAL, Type.GENERALIZEDTIME, false, asn1.dateToGeneralizedTime(date));
}

/** `[tag]` around other values. */
export const explicit = (tag: number, ...items: Asn1[]): Asn1 => asn1.create(Class.CONTEXT_SPECIFIC, tag, true, items);
/** `[tag] IMPLICIT` of a primitive type. */
export const implicit = (tag: number, bytes: Buffer): Asn1 =>
  asn1.create(Class.CONTEXT_SPECIFIC, tag, false, bytes.toString("latin1"));

function primitive(type: forge.asn1.Type, bytes: Buffer): Asn1 {
  return asn1.create(Class.UNIVERSAL, type, false, bytes.toString("latin1"));
}

export function encode(value: Asn1): Buffer {
  return Buffer.from(asn1.toDer(value).getBytes(), "latin1");
}

// Forge guesses whether a bit string holds ASN.1; a random public key may look like it. Its type declarations only know
// the boolean that this argument once was.
const AS_WRITTEN = { strict: true, parseAllBytes: true, decodeBitStrings: false } as unknown as boolean;

/** Throws forge's error on anything that is not DER of a sane depth. Only for what node:crypto has parsed before. */
export function decode(der: Buffer): Asn1 {
  return asn1.fromDer(der.toString("latin1"), AS_WRITTEN);
}

/** The members of a constructed value; of a primitive one, none. */
export function members(value: Asn1 | undefined): readonly Asn1[] {
  return value !== undefined && Array.isArray(value.value) ? value.value : [];
}

/** The content bytes of a primitive value (of a BIT STRING with its leading count of unused bits). */
export function contents(value: Asn1 | undefined): Buffer {
  return Buffer.from(typeof value?.value === "string" ? value.value : "", "latin1");
}

/** Whether a value is `[tag]`. */
export function isContext(value: Asn1, tag: number): boolean {
  return value.tagClass === Class.CONTEXT_SPECIFIC && (value.type as number) === tag;
}

export function isBoolean(value: Asn1 | undefined): boolean {
  return value?.tagClass === Class.UNIVERSAL && value.type === Type.BOOLEAN;
}

/** The dotted form of an OID; an empty text where `value` is none. */
export function dotted(value: Asn1 | undefined): string {
  const bytes = contents(value);
  return bytes.length === 0 ? "" : asn1.derToOid(bytes.toString("latin1"));
}
