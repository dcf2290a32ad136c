/** What the xDS layer serves: resources of one type, behind one interface. The layer knows nothing of their meaning. */

import type { Bytes, Offer, Verdict } from "./subscription.ts";
import type { AnyResource } from "./wire.ts";

/** Who is at the other end of a stream, as its transport proved it, with what it says about itself. */
export type XdsClient<Identity> = {
  readonly identity: Identity;
  readonly streamId: string;
  readonly node: { readonly id: string; readonly cluster: string; readonly userAgentName: string };
};

export type ResourceSource<Identity> = {
  readonly typeUrl: string;
  /** One session for each stream that asks for this type. `changed` is to be called when an offer may have changed. */
  open(client: XdsClient<Identity>, changed: () => void): ResourceSession;
};

export type ResourceSession = {
  /** The names that the stream asks for now: the whole set. */
  asked(names: ReadonlySet<string>): void;
  /** `has`: the version that the client holds, as far as this stream knows. */
  offer(name: string, has: string | undefined): Offer;
  /** The client goes on with what it held before this stream; nothing was sent (E15). */
  resumed(name: string, version: string): void;
  /**
   * This version goes out next. Called in the same turn of the event loop as the `offer` that it follows from, so that a
   * source can record it as one step. Returns the `google.protobuf.Any`; `recorded` resolves when it may be
   * written.
   */
  sending(
    nonce: string,
    name: string,
    version: string,
    bytes: Bytes,
  ): { readonly any: AnyResource; readonly recorded: Promise<void> };
  verdict(nonce: string, name: string, version: string, verdict: Verdict, message: string | undefined): void;
  close(): void;
};
