/**
 * Resources of several types that change together, from memory: clusters, listeners, routes and whatever else a proxy needs.
 * Each stream gets a change in steps, so that no resource ever names one that is not there (Envoy docs: xDS protocol,
 * "Eventual consistency considerations": make before break).
 */

import type { ResourceMapOptions } from "./resource-map.ts";
import { advance, NO_RESOURCES, newPart, offerOf, type Part, type Resources, type Target } from "./resource-steps.ts";
import type { ResourceSession, ResourceSource, XdsClient } from "./source.ts";
import type { Verdict } from "./subscription-state.ts";
import { tellAll } from "./tell-all.ts";
import { encodeAny } from "./wire.ts";

/** What a client made of one response. */
export type ResourceVerdict = {
  readonly client: XdsClient<unknown>;
  readonly typeUrl: string;
  readonly nonce: string;
  /** All that the response held. A refusal is about one of them or more; its message may say which. */
  readonly resources: readonly { readonly name: string; readonly version: string }[];
  readonly verdict: Verdict;
  /** Why it was refused, in the client's own words: text from outside, not fit for a terminal as it is. */
  readonly message: string | undefined;
};

export type ResourceSetOptions = {
  /**
   * Each after those that its resources name. For Envoy: endpoints, secrets, clusters, routes, listeners.
   */
  readonly types: readonly ResourceMapOptions[];
  readonly onVerdict?: (verdict: ResourceVerdict) => void;
  /** Calls back after so many milliseconds; returns the way to take that back. Default: `setTimeout`. */
  readonly after?: (ms: number, callback: () => void) => () => void;
};

export type ResourceSet = {
  /** For `XdsServer`, in this order. */
  readonly sources: readonly ResourceSource<unknown>[];
  /**
   * Replaces everything, by type URL and name; a type that is missing has no resources. A stream that asks for several types
   * (ADS) gets what is new or changed type by type, each once the client has ACKed the types before it, and loses what is gone
   * when all of that is ACKed. After a refusal it keeps what it has of the later types and loses nothing, until a `set` mends
   * it; a client that has nothing yet of a later type gets what there is. A client that comes back is no other: what it says that
   * it holds, and is gone, it loses last, once it has asked for all types or had a second to do so. (State of the world says only
   * a version: where this process has never sent that one, nobody knows what the client holds, and it loses that with the first
   * answer.) Before the first `set` nobody is answered: an empty answer would delete what a client has.
   * Throws TypeError for a type URL that is not among `types`.
   */
  set(next: ReadonlyMap<string, Resources>): void;
};

/** One stream: its types so far. */
type SetStream = {
  readonly id: string;
  readonly parts: Map<string, Part>;
  gathering: Gathering;
};

/** Whether a client that is back has had the time to ask for all its types. */
type Gathering =
  /** It brought nothing with it: there is nothing to wait for. */
  { readonly kind: "none" } | { readonly kind: "waiting"; readonly stop: () => void } | { readonly kind: "over" };

/** An Envoy that comes back asks for all its types at once, in requests of their own. */
const GATHER_MS = 1_000;
/** How many states of the world are remembered by their version. */
const REMEMBERED = 32;

/** Stands for all names while nobody knows them: as long as it is offered later, there is no first answer. */
const UNKNOWN = [""];

/** What all sessions of a set share. */
type Shared = {
  /** Undefined before the first `set`. */
  readonly target: (typeUrl: string) => Resources | undefined;
  readonly streams: ReturnType<typeof gatheredStreams>;
  /** What clients may come back with. */
  readonly memory: ReturnType<typeof statesOfTheWorld>;
  readonly wake: (stream: SetStream) => void;
  readonly onVerdict: (verdict: ResourceVerdict) => void;
};

export function resourceSet({ types, onVerdict = () => undefined, after = later }: ResourceSetOptions): ResourceSet {
  const order = types.map(({ typeUrl }) => typeUrl);
  let wanted: ReadonlyMap<string, Resources> | undefined;
  const target = (typeUrl: string) => wanted && (wanted.get(typeUrl) ?? NO_RESOURCES);
  const wake = inBatches(({ parts, gathering }: SetStream) => {
    const inOrder = order.flatMap((typeUrl): Target[] => {
      const [part, next] = [parts.get(typeUrl), target(typeUrl)];
      return part === undefined || next === undefined ? [] : [{ part, next }];
    });
    // What still stands in the way of a loss may be to come.
    advance(inOrder, () => gathering.kind !== "waiting" || parts.size === order.length);
  });
  const streams = gatheredStreams(after, wake);
  const shared: Shared = { target, streams, memory: statesOfTheWorld(), wake, onVerdict };
  return {
    sources: types.map((type) => sourceOf(type, shared)),
    set: (next) => {
      for (const typeUrl of next.keys())
        if (!order.includes(typeUrl)) throw new TypeError(`${typeUrl} is not among the types of this set`);
      wanted = next;
      for (const stream of streams.all()) wake(stream);
    },
  };
}

function sourceOf(
  { typeUrl, packing = "changed", wildcard = false }: ResourceMapOptions,
  shared: Shared,
): ResourceSource<unknown> {
  return {
    typeUrl,
    packing,
    wildcard,
    open: (client, changed, returning = false, version = "") => {
      const part = newPart(shared.memory.recall(typeUrl, version), returning, changed);
      const stream = shared.streams.enter(client.streamId, typeUrl, part);
      const tell = verdictTeller(client, typeUrl, shared.onVerdict);
      return sessionOf({ typeUrl, isWhole: packing === "full", part, stream, tell }, shared);
    },
  };
}

type SessionDeps = {
  readonly typeUrl: string;
  /** A response in state of the world holds all there is. */
  readonly isWhole: boolean;
  readonly part: Part;
  readonly stream: SetStream;
  readonly tell: ResourceSession["verdict"];
};

function sessionOf(
  { typeUrl, isWhole, part, stream, tell }: SessionDeps,
  { target, streams, memory, wake }: Shared,
): ResourceSession {
  return {
    asked: (names, all) => {
      part.names = names;
      part.all = all;
      for (const name of part.held.keys()) if (!all && !names.has(name)) part.held.delete(name);
      wake(stream);
    },
    all: () => {
      const next = target(typeUrl);
      return next === undefined ? UNKNOWN : new Set([...part.shown.keys(), ...next.keys()]);
    },
    offer: (name, has) => offerOf(part, target(typeUrl), name, has),
    resumed: (name, version) => {
      part.held.set(name, version);
      wake(stream);
    },
    sending: (_nonce, items, version) => {
      // Of a whole state of the world the version says what it holds.
      if (isWhole && part.all) memory.remember(typeUrl, version, part.shown);
      return {
        resources: items.map(({ name }) => encodeAny(typeUrl, part.shown.get(name)?.value ?? Buffer.alloc(0))),
        recorded: Promise.resolve(),
      };
    },
    verdict: (nonce, name, version, verdict, message) => {
      if (verdict === "acked") part.held.set(name, version);
      if (verdict === "nacked") part.refused.set(name, version);
      tell(nonce, name, version, verdict, message);
      wake(stream);
    },
    close: () => streams.leave(stream, typeUrl),
  };
}

/** `over`: called when a client that is back has had the time to ask for all its types. */
function gatheredStreams(after: NonNullable<ResourceSetOptions["after"]>, over: (stream: SetStream) => void) {
  const streams = new Map<string, SetStream>();
  /** It has so long from the newest of its types on. */
  const gather = (stream: SetStream): void => {
    if (stream.gathering.kind === "over") return;
    if (stream.gathering.kind === "waiting") stream.gathering.stop();
    const stop = after(GATHER_MS, () => {
      stream.gathering = { kind: "over" };
      over(stream);
    });
    stream.gathering = { kind: "waiting", stop };
  };
  return {
    all: () => streams.values(),
    enter: (id: string, typeUrl: string, part: Part): SetStream => {
      const stream = streams.get(id) ?? { id, parts: new Map(), gathering: { kind: "none" } };
      stream.parts.set(typeUrl, part);
      streams.set(id, stream);
      if (part.returning) gather(stream);
      return stream;
    },
    leave: (stream: SetStream, typeUrl: string): void => {
      stream.parts.delete(typeUrl);
      if (stream.parts.size > 0) return;
      if (stream.gathering.kind === "waiting") stream.gathering.stop();
      streams.delete(stream.id);
    },
  };
}

/** The newest ones, by type and version. */
function statesOfTheWorld() {
  const states = new Map<string, Resources>();
  return {
    recall: (typeUrl: string, version: string): Resources => states.get(`${typeUrl} ${version}`) ?? NO_RESOURCES,
    remember: (typeUrl: string, version: string, shown: Resources): void => {
      const key = `${typeUrl} ${version}`;
      states.delete(key);
      states.set(key, shown);
      const [oldest] = states.keys();
      if (states.size > REMEMBERED && oldest !== undefined) states.delete(oldest);
    },
  };
}

/** Once for all that one request says: an ACK may be about thousands of resources. */
function inBatches<One>(act: (one: One) => void): (one: One) => void {
  const awake = new Set<One>();
  return (one) => {
    if (awake.size === 0) {
      queueMicrotask(() => {
        const all = [...awake];
        awake.clear();
        tellAll(all.map((each) => () => act(each)));
      });
    }
    awake.add(one);
  };
}

/** Verdicts come one by one, all of a response in the same turn: they are told as one. */
function verdictTeller(
  client: XdsClient<unknown>,
  typeUrl: string,
  onVerdict: (verdict: ResourceVerdict) => void,
): ResourceSession["verdict"] {
  let latest: (ResourceVerdict & { readonly resources: { name: string; version: string }[] }) | undefined;
  return (nonce, name, version, verdict, message) => {
    if (latest?.nonce === nonce && latest.verdict === verdict) {
      latest.resources.push({ name, version });
      return;
    }
    const next = { client, typeUrl, nonce, resources: [{ name, version }], verdict, message };
    latest = next;
    queueMicrotask(() => onVerdict(next));
  };
}

function later(ms: number, callback: () => void): () => void {
  const timer = setTimeout(callback, ms);
  timer.unref();
  return () => clearTimeout(timer);
}
