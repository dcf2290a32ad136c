/** What the xDS layer serves: resources of one type, behind one interface. The layer knows nothing of their meaning. */

import type { Item, Offer, Packing, Verdict } from "./subscription-state.ts";
import type { AnyResource, Node } from "./wire.ts";

/** Who is at the other end of a stream, as its transport proved it, with what it says about itself. */
export type XdsClient<Identity> = {
  readonly identity: Identity;
  readonly streamId: string;
  readonly node: Node;
};

export type ResourceSource<Identity> = {
  /** `type.googleapis.com/` and the name of the message. */
  readonly typeUrl: string;
  readonly packing: Packing;
  /** See `SubscriptionOptions.wildcard`. */
  readonly wildcard: boolean;
  /**
   * One session for each stream that asks for this type. `changed` is to be called when an offer may have changed.
   * `returning`: the client's first request says that it holds resources of this type from an earlier stream; `version`: which
   * state of the world, where it says one.
   */
  open(client: XdsClient<Identity>, changed: () => void, returning?: boolean, version?: string): ResourceSession;
};

export type ResourceSession = {
  /**
   * What the stream asks for now: these names, and everything where `all`. `reported`: which versions of them its client says to
   * hold, where it says so by name.
   */
  asked(names: ReadonlySet<string>, all: boolean, reported?: ReadonlyMap<string, string>): void;
  /** `has`: the version that the client holds, as far as this stream knows. */
  offer(name: string, has: string | undefined): Offer;
  /** Every name that there is for this client. Only sources with `wildcard` are asked. */
  all(): Iterable<string>;
  /** The client goes on with what it held before this stream; nothing was sent (E15). */
  resumed(name: string, version: string): void;
  /**
   * These versions go out next, in one response; `version` is that of the response. Called in the same turn of the event loop as the offers that they follow
   * from, so that a source can record it as one step. Returns one `google.protobuf.Any` per item, in their order;
   * `recorded` resolves when they may be written.
   */
  sending(
    nonce: string,
    items: readonly Item[],
    version: string,
  ): { readonly resources: readonly AnyResource[]; readonly recorded: Promise<void> };
  /** What became of one resource of the response with this nonce. */
  verdict(nonce: string, name: string, version: string, verdict: Verdict, message: string | undefined): void;
  close(): void;
};
