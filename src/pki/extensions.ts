/** X.509 v3 extensions (RFC 5280 4.2): those that our certificates carry, and reading them in anybody's. */

import { createHash, type KeyObject } from "node:crypto";
import {
  type Asn1,
  bits,
  boolean,
  contents,
  decode,
  dotted,
  encode,
  implicit,
  isBoolean,
  isContext,
  members,
  octets,
  oid,
  sequence,
} from "./der.ts";

const OIDS = {
  subjectKeyId: "2.5.29.14",
  keyUsage: "2.5.29.15",
  subjectAltName: "2.5.29.17",
  basicConstraints: "2.5.29.19",
  authorityKeyId: "2.5.29.35",
  extKeyUsage: "2.5.29.37",
  serverAuth: "1.3.6.1.5.5.7.3.1",
  clientAuth: "1.3.6.1.5.5.7.3.2",
} as const;

/** In the order of their bits (RFC 5280 4.2.1.3). */
const KEY_USAGES = [
  "digitalSignature",
  "nonRepudiation",
  "keyEncipherment",
  "dataEncipherment",
  "keyAgreement",
  "keyCertSign",
  "cRLSign",
  "encipherOnly",
  "decipherOnly",
] as const;
export type KeyUsage = (typeof KEY_USAGES)[number];

const DNS_NAME_TAG = 2;
const URI_TAG = 6;

/** What to write into a certificate. Key ids are lower-case hex. */
export type ExtensionFields = {
  readonly isCa: boolean;
  readonly keyUsage: readonly KeyUsage[];
  readonly extKeyUsage: readonly ("serverAuth" | "clientAuth")[];
  readonly dnsNames: readonly string[];
  readonly uris: readonly string[];
  readonly subjectKeyId: string;
  readonly authorityKeyId: string;
};

/** SKI and AKI are always there: two roots of one mesh share their subject, and only these tell them apart. */
export function encodeExtensions(fields: ExtensionFields): Asn1 {
  const names = [
    ...fields.dnsNames.map((name) => implicit(DNS_NAME_TAG, Buffer.from(name, "latin1"))),
    ...fields.uris.map((uri) => implicit(URI_TAG, Buffer.from(uri, "latin1"))),
  ];
  const usages = fields.extKeyUsage.map((usage) => oid(OIDS[usage]));
  return sequence(
    extension("basicConstraints", true, fields.isCa ? sequence(boolean(true)) : sequence()),
    extension("keyUsage", true, encodeKeyUsage(fields.keyUsage)),
    ...(usages.length === 0 ? [] : [extension("extKeyUsage", false, sequence(...usages))]),
    extension("subjectKeyId", false, octets(Buffer.from(fields.subjectKeyId, "hex"))),
    extension("authorityKeyId", false, sequence(implicit(0, Buffer.from(fields.authorityKeyId, "hex")))),
    ...(names.length === 0 ? [] : [extension("subjectAltName", false, sequence(...names))]),
  );
}

function extension(name: keyof typeof OIDS, critical: boolean, value: Asn1): Asn1 {
  // DER leaves out a value that equals its default, here FALSE.
  return sequence(oid(OIDS[name]), ...(critical ? [boolean(true)] : []), octets(encode(value)));
}

function encodeKeyUsage(usages: readonly KeyUsage[]): Asn1 {
  const set = usages.map((usage) => KEY_USAGES.indexOf(usage));
  const last = Math.max(...set);
  const bytes = Buffer.alloc(Math.floor(last / 8) + 1);
  for (const bit of set) bytes[bit >> 3] = (bytes[bit >> 3] ?? 0) | (0x80 >> (bit & 7));
  // A named bit list ends with its last set bit (X.690 11.2.2).
  return bits(bytes, 7 - (last & 7));
}

/** The id of a key: the left 160 bits of the SHA-256 of its bits (RFC 7093, method 1), lower-case hex. */
export function keyId(publicKey: KeyObject): string {
  const [, keyBits] = members(decode(publicKey.export({ type: "spki", format: "der" })));
  return createHash("sha256").update(contents(keyBits).subarray(1)).digest("hex").slice(0, 40);
}

/** What a certificate's extensions say; an absent one leaves its field out, or empty. */
export type ReadExtensions = {
  readonly keyUsage: readonly KeyUsage[];
  readonly dnsNames: readonly string[];
  readonly uris: readonly string[];
  readonly subjectKeyId?: string;
  readonly authorityKeyId?: string;
  /** How many intermediates may stand below this CA. */
  readonly pathLength?: number;
};

/** Reads a TBSCertificate's members. Throws on extensions that are not DER. */
export function readExtensions(tbs: readonly Asn1[]): ReadExtensions {
  const list = members(members(tbs.find((member) => isContext(member, 3)))[0]);
  const values = new Map(list.map((item) => [dotted(members(item)[0]), contents(members(item).at(-1))]));
  const value = (name: keyof typeof OIDS): Asn1 | undefined => {
    const der = values.get(OIDS[name]);
    return der === undefined ? undefined : decode(der);
  };
  const names = members(value("subjectAltName"));
  const named = (tag: number): string[] =>
    names.filter((name) => isContext(name, tag)).map((name) => contents(name).toString("latin1"));
  const subjectKeyId = contents(value("subjectKeyId")).toString("hex");
  const authorityKey = members(value("authorityKeyId")).find((member) => isContext(member, 0));
  const authorityKeyId = contents(authorityKey).toString("hex");
  const pathLength = members(value("basicConstraints")).find((member) => !isBoolean(member));
  const usage = contents(value("keyUsage")).subarray(1);
  return {
    keyUsage: KEY_USAGES.filter((_, bit) => ((usage[bit >> 3] ?? 0) & (0x80 >> (bit & 7))) !== 0),
    dnsNames: named(DNS_NAME_TAG),
    uris: named(URI_TAG),
    ...(subjectKeyId === "" ? {} : { subjectKeyId }),
    ...(authorityKeyId === "" ? {} : { authorityKeyId }),
    ...(pathLength === undefined ? {} : { pathLength: Number.parseInt(contents(pathLength).toString("hex"), 16) }),
  };
}
