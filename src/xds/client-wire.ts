/** The client's half of the xDS wire: requests written to bytes, responses read from bytes. */

import { decodeAny, type ErrorDetail } from "./wire.ts";
import { readFields, readString } from "./wire-reader.ts";
import { bytes, integer, message, text, toBuffer } from "./wire-writer.ts";

/** What a client says about itself. */
export type ClientNode = { readonly id: string; readonly cluster?: string; readonly userAgentName?: string };

export type ClientSotwRequest = {
  readonly node?: ClientNode;
  readonly typeUrl?: string;
  readonly resourceNames?: readonly string[];
  readonly versionInfo?: string;
  readonly responseNonce?: string;
  readonly errorDetail?: ErrorDetail;
};

export type ClientDeltaRequest = {
  readonly node?: ClientNode;
  readonly typeUrl?: string;
  readonly subscribe?: readonly string[];
  readonly unsubscribe?: readonly string[];
  readonly initialResourceVersions?: ReadonlyMap<string, string>;
  readonly responseNonce?: string;
  readonly errorDetail?: ErrorDetail;
};

/** `any`: the bytes of a google.protobuf.Any. `name` and `version` are empty in SotW, where only delta says them. */
export type ReceivedResource = {
  readonly name: string;
  readonly version: string;
  readonly typeUrl: string;
  readonly any: Buffer;
};

export type ReceivedResponse = {
  readonly typeUrl: string;
  readonly nonce: string;
  /** `version_info` in SotW, `system_version_info` in delta. */
  readonly version: string;
  readonly resources: readonly ReceivedResource[];
  /** Delta only. */
  readonly removed: readonly string[];
  readonly controlPlane: string;
};

/** envoy.service.discovery.v3.DiscoveryRequest. */
export function encodeSotwRequest(request: ClientSotwRequest): Buffer {
  return toBuffer(
    message(
      text(1, request.versionInfo ?? ""),
      nodeField(2, request.node),
      ...(request.resourceNames ?? []).map((name) => bytes(3, name)),
      text(4, request.typeUrl ?? ""),
      text(5, request.responseNonce ?? ""),
      errorField(6, request.errorDetail),
    ),
  );
}

/** envoy.service.discovery.v3.DeltaDiscoveryRequest. */
export function encodeDeltaRequest(request: ClientDeltaRequest): Buffer {
  return toBuffer(
    message(
      nodeField(1, request.node),
      text(2, request.typeUrl ?? ""),
      ...(request.subscribe ?? []).map((name) => bytes(3, name)),
      ...(request.unsubscribe ?? []).map((name) => bytes(4, name)),
      ...[...(request.initialResourceVersions ?? [])].map(([name, version]) =>
        bytes(5, message(bytes(1, name), bytes(2, version))),
      ),
      text(6, request.responseNonce ?? ""),
      errorField(7, request.errorDetail),
    ),
  );
}

/** envoy.service.discovery.v3.DiscoveryResponse. Throws MR4002 on malformed bytes. */
export function decodeSotwResponse(buffer: Buffer): ReceivedResponse {
  const strings = { version: "", typeUrl: "", nonce: "", controlPlane: "" };
  const resources: ReceivedResource[] = [];
  for (const field of readFields(buffer)) {
    if (field.kind !== "bytes") continue;
    if (field.number === 1) strings.version = readString(field.bytes);
    else if (field.number === 2) resources.push(received(field.bytes));
    else if (field.number === 4) strings.typeUrl = readString(field.bytes);
    else if (field.number === 5) strings.nonce = readString(field.bytes);
    else if (field.number === 6) strings.controlPlane = readIdentifier(field.bytes);
  }
  return { ...strings, resources, removed: [] };
}

/** envoy.service.discovery.v3.DeltaDiscoveryResponse. Throws MR4002 on malformed bytes. */
export function decodeDeltaResponse(buffer: Buffer): ReceivedResponse {
  const strings = { version: "", typeUrl: "", nonce: "", controlPlane: "" };
  const resources: ReceivedResource[] = [];
  const removed: string[] = [];
  for (const field of readFields(buffer)) {
    if (field.kind !== "bytes") continue;
    if (field.number === 1) strings.version = readString(field.bytes);
    else if (field.number === 2) resources.push(readResource(field.bytes));
    else if (field.number === 4) strings.typeUrl = readString(field.bytes);
    else if (field.number === 5) strings.nonce = readString(field.bytes);
    else if (field.number === 6) removed.push(readString(field.bytes));
    else if (field.number === 7) strings.controlPlane = readIdentifier(field.bytes);
  }
  return { ...strings, resources, removed };
}

function nodeField(number: number, node: ClientNode | undefined) {
  if (node === undefined) return undefined;
  return bytes(number, message(text(1, node.id), text(2, node.cluster ?? ""), text(6, node.userAgentName ?? "")));
}

function errorField(number: number, error: ErrorDetail | undefined) {
  if (error === undefined) return undefined;
  return bytes(number, message(integer(1, error.code), text(2, error.message)));
}

function readResource(buffer: Buffer): ReceivedResource {
  let name = "";
  let version = "";
  let any: Buffer = Buffer.alloc(0);
  for (const field of readFields(buffer)) {
    if (field.kind !== "bytes") continue;
    if (field.number === 1) version = readString(field.bytes);
    else if (field.number === 2) any = field.bytes;
    else if (field.number === 3) name = readString(field.bytes);
  }
  return { ...received(any), name, version };
}

function received(any: Buffer): ReceivedResource {
  return { name: "", version: "", typeUrl: decodeAny(any).typeUrl, any };
}

function readIdentifier(buffer: Buffer): string {
  let identifier = "";
  for (const field of readFields(buffer)) {
    if (field.kind === "bytes" && field.number === 1) identifier = readString(field.bytes);
  }
  return identifier;
}
