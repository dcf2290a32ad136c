/**
 * The server's half of the xDS wire: requests read from bytes (only the fields that we use), responses written to bytes.
 * Field numbers are those of proto/; test/proto/compat.test.ts compares them with Envoy's.
 */

import { foreignText } from "../core/foreign-text.ts";
import { decodeStruct, type PlainObject } from "./struct-codec.ts";
import { malformedMessage, readFields, readString } from "./wire-reader.ts";
import { bytes, type Message, message, text, toBuffer } from "./wire-writer.ts";

/** What a client claims to be, without PEM blocks. Never a proof of identity. */
export type Node = {
  readonly id: string;
  readonly cluster: string;
  readonly userAgentName: string;
  readonly userAgentVersion: string;
  /**
   * Decoded on first access, since Envoy repeats the node in every SotW request; that access can throw MR4002. Undefined
   * where there is none, or more than `MAX_METADATA_BYTES`: whoever keeps a node keeps those bytes.
   */
  readonly metadata: PlainObject | undefined;
};

/** `code`: a gRPC status code. `message`: untrusted text of at most `MAX_ERROR_BYTES` UTF-8 bytes (R27). */
export type ErrorDetail = { readonly code: number; readonly message: string };

export type SotwRequest = {
  readonly node?: Node;
  readonly typeUrl: string;
  readonly resourceNames: readonly string[];
  readonly versionInfo: string;
  readonly responseNonce: string;
  readonly errorDetail?: ErrorDetail;
};

export type DeltaRequest = {
  readonly node?: Node;
  readonly typeUrl: string;
  readonly subscribe: readonly string[];
  readonly unsubscribe: readonly string[];
  readonly initialResourceVersions: ReadonlyMap<string, string>;
  readonly responseNonce: string;
  readonly errorDetail?: ErrorDetail;
};

/** An encoded google.protobuf.Any: as bytes, or as a message that is written straight into the response. */
export type AnyResource = Buffer | Message;

export type SotwResponse = {
  readonly typeUrl: string;
  readonly versionInfo: string;
  readonly nonce: string;
  readonly resources: readonly AnyResource[];
  /** Becomes `control_plane.identifier`; left out when absent or empty. */
  readonly controlPlane?: string;
};

export type DeltaResponse = {
  readonly typeUrl: string;
  readonly systemVersion: string;
  readonly nonce: string;
  readonly resources: readonly { readonly name: string; readonly version: string; readonly any: AnyResource }[];
  readonly removed: readonly string[];
  readonly controlPlane?: string;
};

/** Envoy cuts its error text to 4096 bytes and appends a mark of 14 (R27). */
export const MAX_ERROR_BYTES = 4096 + 14;

/** As much as metadata may hold; what is shown of it is cut further. */
const MAX_NODE_TEXT = 64 * 1024;

/** Istio's sidecars, which send most, stay well below it. */
const MAX_METADATA_BYTES = 64 * 1024;

/** envoy.service.discovery.v3.DiscoveryRequest. Throws MR4002 on malformed bytes. */
export function decodeSotwRequest(buffer: Buffer): SotwRequest {
  const strings = { typeUrl: "", versionInfo: "", responseNonce: "" };
  const resourceNames: string[] = [];
  const node: Buffer[] = [];
  const error: Buffer[] = [];
  for (const field of readFields(buffer)) {
    if (field.kind !== "bytes") continue;
    if (field.number === 1) strings.versionInfo = readString(field.bytes);
    else if (field.number === 2) node.push(field.bytes);
    else if (field.number === 3) resourceNames.push(readString(field.bytes));
    else if (field.number === 4) strings.typeUrl = readString(field.bytes);
    else if (field.number === 5) strings.responseNonce = readString(field.bytes);
    else if (field.number === 6) error.push(field.bytes);
  }
  return { ...strings, resourceNames, ...readNode(node), ...readError(error) };
}

/** envoy.service.discovery.v3.DeltaDiscoveryRequest. Throws MR4002 on malformed bytes. */
export function decodeDeltaRequest(buffer: Buffer): DeltaRequest {
  const strings = { typeUrl: "", responseNonce: "" };
  const subscribe: string[] = [];
  const unsubscribe: string[] = [];
  const initialResourceVersions = new Map<string, string>();
  const node: Buffer[] = [];
  const error: Buffer[] = [];
  for (const field of readFields(buffer)) {
    if (field.kind !== "bytes") continue;
    if (field.number === 1) node.push(field.bytes);
    else if (field.number === 2) strings.typeUrl = readString(field.bytes);
    else if (field.number === 3) subscribe.push(readString(field.bytes));
    else if (field.number === 4) unsubscribe.push(readString(field.bytes));
    else if (field.number === 5) initialResourceVersions.set(...readMapEntry(field.bytes));
    else if (field.number === 6) strings.responseNonce = readString(field.bytes);
    else if (field.number === 7) error.push(field.bytes);
  }
  return { ...strings, subscribe, unsubscribe, initialResourceVersions, ...readNode(node), ...readError(error) };
}

/** envoy.service.discovery.v3.DiscoveryResponse. */
export function encodeSotwResponse(response: SotwResponse): Buffer {
  return toBuffer(
    message(
      text(1, response.versionInfo),
      ...response.resources.map((any) => bytes(2, any)),
      text(4, response.typeUrl),
      text(5, response.nonce),
      controlPlane(6, response.controlPlane),
    ),
  );
}

/** envoy.service.discovery.v3.DeltaDiscoveryResponse. */
export function encodeDeltaResponse(response: DeltaResponse): Buffer {
  return toBuffer(
    message(
      text(1, response.systemVersion),
      ...response.resources.map(({ name, version, any }) =>
        bytes(2, message(text(1, version), bytes(2, any), text(3, name))),
      ),
      text(4, response.typeUrl),
      text(5, response.nonce),
      ...response.removed.map((name) => bytes(6, name)),
      controlPlane(7, response.controlPlane),
    ),
  );
}

/** google.protobuf.Any around an encoded message. */
export function encodeAny(typeUrl: string, value: Buffer): Buffer {
  return toBuffer(anyMessage(typeUrl, value));
}

/** The same, not yet written: the value is copied only when the response is. */
export function anyMessage(typeUrl: string, value: Buffer | Message): Message {
  return message(text(1, typeUrl), value.length === 0 ? undefined : bytes(2, value));
}

/** google.protobuf.Any. `value` is a view of `buffer`. Throws MR4002 on malformed bytes. */
export function decodeAny(buffer: Buffer): { readonly typeUrl: string; readonly value: Buffer } {
  let typeUrl = "";
  let value: Buffer = Buffer.alloc(0);
  for (const field of readFields(buffer)) {
    if (field.kind !== "bytes") continue;
    if (field.number === 1) typeUrl = readString(field.bytes);
    else if (field.number === 2) value = field.bytes;
  }
  return { typeUrl, value };
}

function controlPlane(number: number, identifier = "") {
  return identifier === "" ? undefined : bytes(number, message(text(1, identifier)));
}

/** A map field's entry: key 1, value 2. */
function readMapEntry(buffer: Buffer): [string, string] {
  let key = "";
  let value = "";
  for (const field of readFields(buffer)) {
    if (field.kind !== "bytes") continue;
    if (field.number === 1) key = readString(field.bytes);
    else if (field.number === 2) value = readString(field.bytes);
  }
  return [key, value];
}

/** A message field that occurs several times is the merge of all, which is what the joined bytes decode to. */
function readNode(parts: readonly Buffer[]): { node?: Node } {
  if (parts.length === 0) return {};
  const strings = { id: "", cluster: "", userAgentName: "", userAgentVersion: "" };
  const metadataParts: Buffer[] = [];
  for (const field of readFields(joined(parts))) {
    if (field.kind !== "bytes") continue;
    if (field.number === 1) strings.id = nodeText(field.bytes);
    else if (field.number === 2) strings.cluster = nodeText(field.bytes);
    else if (field.number === 3) metadataParts.push(field.bytes);
    else if (field.number === 6) strings.userAgentName = nodeText(field.bytes);
    else if (field.number === 7) strings.userAgentVersion = nodeText(field.bytes);
  }
  const size = metadataParts.reduce((sum, part) => sum + part.length, 0);
  if (metadataParts.length === 0 || size > MAX_METADATA_BYTES) return { node: { ...strings, metadata: undefined } };
  // A copy: a view would keep the whole request alive for as long as the node.
  const undecoded = Buffer.concat(metadataParts, size);
  let metadata: PlainObject | undefined;
  const node = {
    ...strings,
    get metadata() {
      metadata ??= decodeStruct(undecoded);
      return metadata;
    },
  };
  return { node };
}

function readError(parts: readonly Buffer[]): { errorDetail?: ErrorDetail } {
  if (parts.length === 0) return {};
  let code = 0;
  let reason = "";
  for (const field of readFields(joined(parts))) {
    if (field.kind === "varint" && field.number === 1) code = field.value;
    else if (field.kind === "bytes" && field.number === 2) reason = errorText(field.bytes);
  }
  return { errorDetail: { code, message: reason } };
}

/** A node is kept for as long as its stream, and shown. */
function nodeText(untrusted: Buffer): string {
  return foreignText(readString(untrusted), MAX_NODE_TEXT);
}

/** Cut between characters, and lenient: Envoy cuts between bytes, so its text can end in half a character. */
function errorText(untrusted: Buffer): string {
  const text = foreignText(untrusted.subarray(0, MAX_ERROR_BYTES + 4).toString("utf8"), MAX_ERROR_BYTES + 4);
  const longer = Buffer.from(text);
  let end = Math.min(longer.length, MAX_ERROR_BYTES);
  while (((longer[end] ?? 0) & 0xc0) === 0x80) end--;
  return longer.toString("utf8", 0, end);
}

function joined(parts: readonly Buffer[]): Buffer {
  const [only] = parts;
  if (only === undefined) throw malformedMessage("nothing to join");
  return parts.length === 1 ? only : Buffer.concat(parts);
}
