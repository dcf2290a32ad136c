/** State of the world and delta: the same conversation in two sets of messages. */

import type { Item, RequestInput, Variant } from "./subscription-state.ts";
import {
  type AnyResource,
  decodeDeltaRequest,
  decodeSotwRequest,
  encodeDeltaResponse,
  encodeSotwResponse,
  type Node,
} from "./wire.ts";

type ReadRequest = { readonly node: Node | undefined; readonly typeUrl: string; readonly request: RequestInput };

/** Throws MR4002 for bytes that are no request. */
export function readRequest(variant: Variant, bytes: Buffer): ReadRequest {
  const message = variant === "sotw" ? decodeSotwRequest(bytes) : decodeDeltaRequest(bytes);
  const { node, typeUrl, responseNonce: nonce, errorDetail: error } = message;
  const said =
    "resourceNames" in message
      ? { names: message.resourceNames, version: message.versionInfo }
      : {
          subscribe: message.subscribe,
          unsubscribe: message.unsubscribe,
          initialVersions: message.initialResourceVersions,
        };
  return { node, typeUrl, request: { type: "request", nonce, ...said, ...(error ? { error } : {}) } };
}

export type OutgoingResponse = {
  readonly typeUrl: string;
  readonly version: string;
  readonly nonce: string;
  readonly items: readonly Item[];
  /** One for each item, in their order. */
  readonly resources: readonly AnyResource[];
  /** Delta only: state of the world says by their absence that resources are gone. */
  readonly removed: readonly string[];
};

export function writeResponse(variant: Variant, response: OutgoingResponse): Buffer {
  const { typeUrl, version, nonce, items, resources, removed } = response;
  if (variant === "sotw") return encodeSotwResponse({ typeUrl, versionInfo: version, nonce, resources });
  const named = items.map((item, index) => ({
    name: item.name,
    version: item.version,
    any: resources[index] as AnyResource,
  }));
  return encodeDeltaResponse({ typeUrl, systemVersion: version, nonce, resources: named, removed });
}
