/**
 * The shape of the ledger: for every proxy that we know, what it may be running (evidence.md E6). `record` changes it.
 *
 * Each row has two halves. The evidence is durable (E7), and is what a mesh with several servers takes the union of. The session is
 * what this process alone knows of streams that it serves itself, and of when they said something; it ends with the process.
 */

import type { ProxyIdentity } from "../identity.ts";
import type { RootId } from "../roots/trust.ts";
import type { BundleContent, Content, SecretKind } from "./content.ts";

export type ProxyId = string;
export type StreamId = string;
/** Whose stream it is. A claim of the client; it changes only that proxy's own row. */
export type Consumer = "envoy" | "agent";

/** One content on its way to a slot. `seq` orders all sends of this process. */
export type Entry = { readonly seq: number; readonly content: Content };

/** What one stream delivered into a slot. An ended line with entries is what evidence.md calls an orphan (E6). */
export type Line = {
  readonly stream: StreamId;
  entries: Entry[];
  /** Another stream of the slot was open at the same time, so the order of their deliveries is not known. */
  overlapped: boolean;
  ended?: { readonly at: number; readonly seq: number };
  /** A send made after its end has been ACKed. */
  superseded: boolean;
  /** The last send that the client has not answered yet (E12). */
  unanswered?: number | undefined;
};

/**
 * A refused content and when it may be sent again (E5). Belongs to the slot, outlives its streams: only an answer, or the end of
 * the slot, ends it (E12).
 */
export type Refusal = {
  readonly version: string;
  readonly at: number;
  readonly attempts: number;
  readonly retryAt: number;
  /** The client's own words. Undefined in what an earlier version stored. */
  readonly message?: string;
  /** Who refused it: while that stream lives, another one can't answer for it. */
  readonly stream?: StreamId;
};

export type SlotEvidence = {
  readonly consumer: Consumer;
  readonly name: string;
  readonly kind: SecretKind;
  /** The bundle carries SAN matchers of its own. */
  readonly matchers: boolean;
  lines: Line[];
  /** The last content that was ACKed; `seq` keeps a late ACK of an older send from overwriting it (R17). */
  acked: { readonly version: string; readonly seq: number } | undefined;
  refusal: Refusal | undefined;
  /** On a stream that went on, the client said that it wants this name no more, and no stream of it asks for it since. */
  withdrawn: boolean;
};

/** What this process has heard of a slot. */
export type SlotSession = {
  lastAskedAt: number;
  /** When `acked` was heard, in milliseconds since the epoch; 0 where an earlier process heard it, or nobody has. */
  ackedAt: number;
  /** A bundle was ACKed or NACKed on a live stream, and so is stored: the roots it held (E10). */
  answered: { readonly stream: StreamId; readonly roots: readonly RootId[] } | undefined;
};

export type Slot = SlotEvidence & { readonly session: SlotSession };

/** Envoy's own words about a set of secrets that it refused (E12). */
export type ProxyError = {
  readonly answering: string;
  readonly message: string;
  readonly at: number;
  /** All names sent since the proxy was last SYNCED: the verdict is on the set. */
  readonly names: readonly string[];
};

export type LiveStream = {
  readonly consumer: Consumer;
  readonly openedAt: number;
  names: ReadonlySet<string>;
  /** Names that another open stream of the proxy asked for too, at some time of this stream's life, and since when. */
  readonly shared: Map<string, number>;
};

/** What we know of the certificate behind an xDS connection. */
export type XdsCredential = {
  /** SHA-256 of the certificate's DER, 64 lower-case hex digits, as in the version of an xDS leaf. */
  readonly fingerprint: string;
  /** The root that it chains to. */
  readonly root: RootId;
  /** Milliseconds since the epoch, as `notAfter`. */
  readonly notBefore: number;
  readonly notAfter: number;
};

/** What was handed out for a proxy: a credential, and the bundle that gets into its folder with it (C2, C5). */
export type HandedOut = XdsCredential & { readonly bundle: BundleContent };

/** In the place of a stream: what was handed out, and has been seen in use. */
export const HANDED_OUT = "handed-out";

/** The durable half of a row. `Some`: with what it knows of each slot. */
export type Evidence<Some extends SlotEvidence = SlotEvidence> = {
  /** As its last credential said: the trust domain changes with a rotation, the uuid never. */
  identity: ProxyIdentity;
  readonly slots: Map<string, Some>;
  lastContactAt: number;
  /**
   * It takes its leaf from us: it was sent one, or has asked for one, which is all that a proxy killed in the middle of its
   * start has done. Without an unexpired one it can't take part in the mesh (E13).
   */
  hadLeaf: boolean;
  /**
   * It went away so soon after it was first seen that it may not have come to ask for its leaf: Envoy's streams begin up to a
   * back-off apart (V). One that stayed, and asked for none, has its leaf from elsewhere.
   */
  cutShort: boolean;
  error: ProxyError | undefined;
  /** Under which root its Envoy and its agent last authenticated (C5). */
  auth: { envoy?: RootId; agent?: RootId };
  /** When the last of the credentials that they came with expires. Undefined in what an earlier version stored. */
  credentialsUntil: number | undefined;
  /** Since its Envoy last came it has shown that it holds a leaf, and so will say so when it comes back (E13). */
  showsLeaf: boolean;
  /**
   * Its Envoy is older than what the ledger knows of it, and may run anything, in names that it has not come to ask for, too (E13).
   * `leafUntil`: a leaf that it holds expires by then.
   */
  stranger: { readonly leafUntil: number } | undefined;
  /** What was handed out for it, may still come to its folder and has not expired, in that order; `seq` as of a send. */
  issued: readonly (HandedOut & { readonly seq: number })[];
  assumed: Assumption | undefined;
  forgotten: OperatorsWord | undefined;
};

/** What this process alone knows of a proxy. */
export type Session = {
  readonly streams: Map<StreamId, LiveStream>;
  /** Long ago, if this process did not see it. */
  readonly firstSeenAt: number;
  /** Start of the present unbroken presence of its Envoy. */
  presentSince: number;
  /** Its Envoy has ACKed or resumed on a stream of this process (E14). */
  heard: boolean;
  leafFirstSentAt: number | undefined;
  sentSinceSynced: Set<string>;
  /** The last credential that was handed out, and when. */
  lastIssued: { readonly fingerprint: string; readonly at: number } | undefined;
};

export type ProxyRow = Evidence<Slot> & { readonly session: Session };

/**
 * mesh-trust: its Envoy trusts the roots in force on connections of the mesh. xds-trust: on its connection to us. xds-credentials:
 * what its absent agent used last does not come again.
 */
export const ASSUMED_FOR = ["mesh-trust", "xds-trust", "xds-credentials"] as const;
export type AssumedFor = (typeof ASSUMED_FOR)[number];

export type OperatorsWord = { readonly reason: string; readonly at: number };

/**
 * `for`: undefined in what an earlier version stored, which meant all. `roots`: those that were in force when it was given, on the
 * mesh or on the xDS port; undefined there, too, until the first look.
 */
export type Assumption = OperatorsWord & {
  readonly for?: readonly AssumedFor[] | undefined;
  readonly roots?: readonly RootId[] | undefined;
  /** Those in the mesh's bundle then: a word for mesh-trust is about these alone. Undefined in what an earlier version stored. */
  readonly mesh?: readonly RootId[] | undefined;
};

export type Ledger = {
  readonly proxies: Map<ProxyId, ProxyRow>;
  seq: number;
  /** When time was looked at last, milliseconds since the epoch. */
  tickedAt: number | undefined;
  /** When the last leaf under a root was replaced at some proxy: connections begun just before may still present it (E11). */
  readonly replacedAt: Map<RootId, number>;
};

export function emptyLedger(): Ledger {
  return { proxies: new Map(), seq: 0, tickedAt: undefined, replacedAt: new Map() };
}

export function slotKey(consumer: Consumer, name: string): string {
  return `${consumer}|${name}`;
}

export function newSlot(what: Pick<Slot, "consumer" | "name" | "kind" | "matchers">, at: number): Slot {
  return {
    ...what,
    lines: [],
    acked: undefined,
    refusal: undefined,
    withdrawn: false,
    session: newSlotSession(at),
  };
}

export function newSlotSession(at: number): SlotSession {
  return { lastAskedAt: at, ackedAt: 0, answered: undefined };
}

export function newRow(identity: ProxyIdentity, at: number): ProxyRow {
  return {
    identity,
    slots: new Map(),
    lastContactAt: at,
    hadLeaf: false,
    cutShort: false,
    error: undefined,
    auth: {},
    credentialsUntil: undefined,
    showsLeaf: false,
    stranger: undefined,
    issued: [],
    assumed: undefined,
    forgotten: undefined,
    session: newSession(at, at),
  };
}

export function newSession(at: number, firstSeenAt: number): Session {
  return {
    streams: new Map(),
    firstSeenAt,
    presentSince: at,
    heard: false,
    leafFirstSentAt: undefined,
    sentSinceSynced: new Set(),
    lastIssued: undefined,
  };
}
