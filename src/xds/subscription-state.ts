/** The shape of a subscription, and what goes in and out of it. `step` moves it on. */

/** What the source says about a name now. `later`: nothing yet. `absent`: no such resource for this client. */
export type Offer =
  | {
      readonly version: string;
      /** Send it although this stream has this version (E5, E6). */
      readonly again?: boolean;
      /** The client says that it holds this version, and that will do: nothing is sent (E15, R57), in delta or in both variants. */
      readonly kept?: "always" | "delta";
    }
  | "later"
  | "absent";

export type OfferView = {
  /** `has`: the version that the client holds: sent on this stream, or else reported. */
  offer(name: string, has: string | undefined): Offer;
  /** Every name that there is for this client; asked for only where it subscribes to all. */
  all(): Iterable<string>;
};

/** plain: the usual encoding. unique: the same meaning in bytes never used before, which Envoy can't skip (E2). */
export type Bytes = "plain" | "unique";

export type Verdict = "acked" | "nacked" | "superseded" | "unknown";

/**
 * What goes into one response. `one`: one resource, so that a verdict is on that resource alone (R23). `changed`: all that
 * changed. `full`: in SotW always the whole subscription, because the client takes what is missing for deleted (clusters,
 * listeners); in delta the same as `changed`.
 */
export type Packing = "one" | "changed" | "full";

export type Item = { readonly name: string; readonly version: string; readonly bytes: Bytes };

export type Sent = {
  readonly nonce: string;
  /** SotW: `version_info`, which an ACK repeats. Empty in delta, where nothing repeats it (R52). */
  readonly version: string;
  readonly items: readonly Omit<Item, "bytes">[];
  readonly at: number;
  readonly verdict?: Verdict;
};

export type NameState = {
  /** To be sent even if unchanged: newly subscribed (R31, R54). */
  readonly due: boolean;
  /** The client did not ask for it by name: it is there because it asked for all. */
  readonly implicit: boolean;
  /** The version that the client reported to have accepted, before this stream sent anything (E3a). */
  readonly reported?: string;
  /** What this stream sent last. No nonce: the client kept what it reported (E15). */
  readonly sent?: { readonly nonce: string; readonly version: string };
  /** `removed_resources` has listed it (R56). */
  readonly removed: boolean;
};

/** State of the world, or delta. */
export type Variant = "sotw" | "delta";

export type SubscriptionOptions = {
  readonly variant: Variant;
  /** Nonces begin with it; it must differ between all streams of this process and its predecessors (R11). */
  readonly noncePrefix: string;
  readonly packing: Packing;
  /** Whether `*`, and a first request without names, mean all there is; else they mean nothing (R35, R36, R60). */
  readonly wildcard: boolean;
};

export type Subscription = SubscriptionOptions & {
  readonly counter: number;
  /** No request of this type has come on this stream yet. */
  readonly fresh: boolean;
  /** The client is subscribed to all there is. */
  readonly all: boolean;
  /** It has asked for a name, or for `*`, so that no names mean none (the legacy form of the wildcard is over). */
  readonly named: boolean;
  /** A subscription to all has had its first answer, which may be an empty one. */
  readonly begun: boolean;
  readonly names: ReadonlyMap<string, NameState>;
  readonly inFlight?: Sent;
  readonly latestNonce: string;
  /** Responses whose verdict may still come, by nonce; answered ones stay for as long as they are the latest. */
  readonly log: ReadonlyMap<string, Sent>;
};

export type RequestInput = {
  readonly type: "request";
  readonly nonce: string;
  readonly error?: { readonly code: number; readonly message: string };
  /** SotW: the whole set. */
  readonly names?: readonly string[];
  readonly version?: string;
  /** Delta. */
  readonly subscribe?: readonly string[];
  readonly unsubscribe?: readonly string[];
  readonly initialVersions?: ReadonlyMap<string, string>;
};

/** `overdue`: the response in flight is given up, because no answer came (R22) or nobody wants it any more (R33). */
export type Input = RequestInput | { readonly type: "changed" } | { readonly type: "overdue" };

export type Output =
  | {
      readonly type: "send";
      readonly nonce: string;
      readonly version: string;
      readonly items: readonly Item[];
      /** Delta: names that are gone. */
      readonly removed: readonly string[];
    }
  | { readonly type: "resumed"; readonly name: string; readonly version: string }
  | { readonly type: "asked"; readonly names: ReadonlySet<string>; readonly all: boolean }
  | { readonly type: "verdict"; readonly sent: Sent; readonly verdict: Verdict; readonly message?: string };

export function newSubscription(options: SubscriptionOptions): Subscription {
  return {
    ...options,
    counter: 0,
    fresh: true,
    all: false,
    named: false,
    begun: false,
    names: new Map(),
    latestNonce: "",
    log: new Map(),
  };
}
