/** envoy.extensions.transport_sockets.tls.v3.Secret: leaves and trust bundles as Envoy reads them, inline only (R9). */

import { MeshrootError } from "../core/errors.ts";
import { anyMessage, decodeAny } from "../xds/wire.ts";
import { malformedMessage, readFields, readString } from "../xds/wire-reader.ts";
import { bytes, type Field, integer, type Message, message, text, toBuffer } from "../xds/wire-writer.ts";

export const SECRET_TYPE_URL = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret";

/** A SAN that a peer may present; several are alternatives. */
export type SanMatch = { readonly type: "DNS" | "URI"; readonly value: string };

export type TlsCertificateContent = { readonly chainPem: string; readonly privateKeyPem: string };
export type ValidationContextContent = { readonly trustedCaPem: string; readonly sans?: readonly SanMatch[] };

/**
 * Writes one content under any name, with or without a comment line in front of its PEM (E2); makes an Any. The content's
 * bytes are shared by all its messages and copied once per response, when that is written. Throws MR3005 if the comment is
 * not one line of printable ASCII, or looks like a PEM boundary.
 */
export type SecretWriter = (name: string, comment?: string) => Message;

export type DecodedSecret =
  | {
      readonly kind: "tlsCertificate";
      readonly name: string;
      readonly chainPem: string;
      readonly privateKeyPem: string;
    }
  | {
      readonly kind: "validationContext";
      readonly name: string;
      readonly trustedCaPem: string;
      readonly sans: readonly SanMatch[];
    }
  /** Session ticket keys, a generic secret, or nothing: meshroot makes none of these. */
  | { readonly kind: "other"; readonly name: string };

/** SubjectAltNameMatcher.SanType. */
const SAN_TYPE = { DNS: 2, URI: 3 } as const;

export function tlsCertificateWriter(content: TlsCertificateContent): SecretWriter {
  const chain = Buffer.from(content.chainPem);
  const key = inline(2, Buffer.from(content.privateKeyPem));
  return (name, comment) => secret(name, bytes(2, message(inline(1, chain, comment), key)));
}

export function validationContextWriter({ trustedCaPem, sans = [] }: ValidationContextContent): SecretWriter {
  const bundle = Buffer.from(trustedCaPem);
  const matchers = sans.map(({ type, value }) =>
    bytes(15, message(integer(1, SAN_TYPE[type]), bytes(2, message(bytes(1, value))))),
  );
  return (name, comment) => secret(name, bytes(4, message(inline(1, bundle, comment), ...matchers)));
}

/** One leaf as the bytes of an Any. `comment` as in `SecretWriter`. */
export function encodeTlsCertificate(
  leaf: TlsCertificateContent & { readonly name: string; readonly comment?: string },
): Buffer {
  return toBuffer(tlsCertificateWriter(leaf)(leaf.name, leaf.comment));
}

/** One trust bundle as the bytes of an Any. `comment` as in `SecretWriter`. */
export function encodeValidationContext(
  bundle: ValidationContextContent & { readonly name: string; readonly comment?: string },
): Buffer {
  return toBuffer(validationContextWriter(bundle)(bundle.name, bundle.comment));
}

/**
 * Reads the bytes of an Any. The result of a leaf holds its private key: not for logs. Throws MR4002 if it is no Secret;
 * data that is not inline reads as "".
 */
export function decodeSecret(any: Buffer): DecodedSecret {
  const { typeUrl, value } = decodeAny(any);
  if (typeUrl !== SECRET_TYPE_URL) throw malformedMessage(`expected a Secret, got type URL ${JSON.stringify(typeUrl)}`);
  let name = "";
  let decoded: DecodedSecret = { kind: "other", name };
  for (const field of readFields(value)) {
    if (field.kind !== "bytes") continue;
    if (field.number === 1) name = readString(field.bytes);
    else if (field.number === 2) decoded = readTlsCertificate(field.bytes);
    else if (field.number === 4) decoded = readValidationContext(field.bytes);
  }
  return { ...decoded, name };
}

function secret(name: string, content: Field): Message {
  return anyMessage(SECRET_TYPE_URL, message(text(1, name), content));
}

/** A DataSource with `inline_bytes`. */
function inline(number: number, pem: Buffer, comment?: string): Field {
  if (comment === undefined) return bytes(number, message(bytes(2, pem)));
  // A line break could smuggle in a certificate of its own; other text is explanatory by RFC 7468 section 5.2.
  if (!/^[\x20-\x7e]*$/.test(comment) || comment.includes("-----"))
    throw new MeshrootError(
      "MR3005",
      "the comment in front of a PEM must be one line of printable ASCII without -----",
      "This is a defect of the caller: give hex digits or words only.",
    );
  return bytes(number, message(bytes(2, `${comment}\n`, pem)));
}

function readTlsCertificate(buffer: Buffer): DecodedSecret {
  let chainPem = "";
  let privateKeyPem = "";
  for (const field of readFields(buffer)) {
    if (field.kind !== "bytes") continue;
    if (field.number === 1) chainPem = readInline(field.bytes);
    else if (field.number === 2) privateKeyPem = readInline(field.bytes);
  }
  return { kind: "tlsCertificate", name: "", chainPem, privateKeyPem };
}

function readValidationContext(buffer: Buffer): DecodedSecret {
  let trustedCaPem = "";
  const sans: SanMatch[] = [];
  for (const field of readFields(buffer)) {
    if (field.kind !== "bytes") continue;
    if (field.number === 1) trustedCaPem = readInline(field.bytes);
    else if (field.number === 15) sans.push(...readSan(field.bytes));
  }
  return { kind: "validationContext", name: "", trustedCaPem, sans };
}

/** Nothing for a matcher that is not an exact DNS or URI name. */
function readSan(buffer: Buffer): SanMatch[] {
  let type: SanMatch["type"] | undefined;
  let value: string | undefined;
  for (const field of readFields(buffer)) {
    if (field.kind === "varint" && field.number === 1)
      type = field.value === SAN_TYPE.DNS ? "DNS" : field.value === SAN_TYPE.URI ? "URI" : undefined;
    if (field.kind !== "bytes" || field.number !== 2) continue;
    for (const part of readFields(field.bytes)) {
      if (part.kind === "bytes") value = part.number === 1 ? readString(part.bytes) : undefined;
    }
  }
  return type === undefined || value === undefined ? [] : [{ type, value }];
}

function readInline(buffer: Buffer): string {
  let pem = "";
  for (const field of readFields(buffer)) {
    if (field.kind !== "bytes") continue;
    if (field.number === 2 || field.number === 3) pem = readString(field.bytes);
  }
  return pem;
}
