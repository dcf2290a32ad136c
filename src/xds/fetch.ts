/**
 * One answer without a stream: `FetchSecrets` and its kin (R66, R67). To the source it is a stream that ends unanswered: what
 * was fetched may run from then on, and no ACK will ever tell (evidence.md E6).
 */

import { status } from "@grpc/grpc-js";
import { callError } from "./call-error.ts";
import type { ResourceSession, ResourceSource, XdsClient } from "./source.ts";
import { versionOf } from "./subscription-sends.ts";
import type { Item } from "./subscription-state.ts";
import { decodeSotwRequest, encodeSotwResponse } from "./wire.ts";

/** How long to wait for what is being made. */
const WAIT_MS = 2_000;

/**
 * envoy.service.discovery.v3.DiscoveryRequest to DiscoveryResponse. Rejects with a `CallError`: INVALID_ARGUMENT for a request
 * that can't be meant, NOT_FOUND where nothing can be delivered, for whatever reason, UNAVAILABLE where nothing can be recorded.
 */
export async function fetchResources<Identity>(
  source: ResourceSource<Identity>,
  { identity, streamId }: Pick<XdsClient<Identity>, "identity" | "streamId">,
  bytes: Buffer,
): Promise<Buffer> {
  const { typeUrl } = source;
  const request = decoded(bytes);
  const { node } = request;
  if (!node?.id) throw callError(status.INVALID_ARGUMENT, "missing node information");
  if (request.typeUrl !== "" && request.typeUrl !== typeUrl)
    throw callError(status.INVALID_ARGUMENT, `this service serves ${typeUrl}, not ${request.typeUrl}`);
  const named = new Set(request.resourceNames.filter((name) => name !== "" && !(source.wildcard && name === "*")));
  const all = source.wildcard && (named.size === 0 || request.resourceNames.includes("*"));
  if (named.size === 0 && !all) throw callError(status.INVALID_ARGUMENT, "resource_names is empty: name what to fetch");

  let wake: () => void = () => undefined;
  const session = source.open({ identity, streamId, node }, () => wake());
  try {
    session.asked(named, all);
    const names = () => (all ? new Set([...session.all(), ...named]) : named);
    let found = look(session, names());
    for (const end = performance.now() + WAIT_MS; found.pending && performance.now() < end; ) {
      await new Promise<void>((resolve) => {
        wake = resolve;
        setTimeout(resolve, end - performance.now()).unref();
      });
      found = look(session, names());
    }
    const { items } = found;
    if (items.length === 0) throw callError(status.NOT_FOUND, "there is none of these resources for this client");
    const versionInfo = versionOf(items.length === 1 ? "one" : "changed", items);
    const { resources, recorded } = session.sending(streamId, items, versionInfo);
    await recorded.catch(() => {
      throw callError(status.UNAVAILABLE, "the state could not be written: see the server's log");
    });
    return encodeSotwResponse({
      typeUrl,
      versionInfo,
      nonce: "",
      resources,
    });
  } finally {
    session.close();
  }
}

function look(session: ResourceSession, names: ReadonlySet<string>): { items: Item[]; pending: boolean } {
  const items: Item[] = [];
  let pending = false;
  for (const name of names) {
    const offer = session.offer(name, undefined);
    if (offer === "later") pending = true;
    // Unique bytes: nobody knows which ones this client may have refused (E3).
    else if (offer !== "absent") items.push({ name, version: offer.version, bytes: "unique" });
  }
  return { items, pending };
}

function decoded(bytes: Buffer): ReturnType<typeof decodeSotwRequest> {
  try {
    return decodeSotwRequest(bytes);
  } catch (error) {
    throw callError(status.INVALID_ARGUMENT, (error as Error).message);
  }
}
