/**
 * Resources of several types that change together, from memory: clusters, listeners, routes and whatever else a proxy needs.
 * Each stream gets a change in steps, so that no resource ever names one that is not there (Envoy docs: xDS protocol,
 * "Eventual consistency considerations": make before break).
 */

import type { Resource, ResourceMapOptions } from "./resource-map.ts";
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

type Resources = ReadonlyMap<string, Resource>;

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

/** One type on one stream. */
type Part = {
  /** What this stream is offered now. */
  shown: Resources;
  /** All of these are in `shown`, with or without others. */
  made: Resources | undefined;
  /** The client had resources of this type when the stream began: there is something to break. */
  readonly returning: boolean;
  names: ReadonlySet<string>;
  all: boolean;
  /** Versions that were ACKed, or that the client brought with it (R57). */
  readonly held: Map<string, string>;
  /** Versions that the client refused last, alone or with others. */
  readonly refused: Map<string, string>;
  /** What the client brought with it and is gone was taken away. */
  parted: boolean;
  readonly changed: () => void;
};

/** One stream: its types so far. */
type Parts = Map<string, Part> & {
  /** It has had the time to ask for the rest. */
  gathered?: boolean;
  stopWaiting?: () => void;
};

/** An Envoy that comes back asks for all its types at once, in requests of their own. */
const GATHER_MS = 1_000;
/** How many states of the world are remembered by their version. */
const REMEMBERED = 32;

const NONE: Resources = new Map();
/** Stands for all names while nobody knows them: as long as it is offered later, there is no first answer. */
const UNKNOWN = [""];

export function resourceSet({ types, onVerdict = () => undefined, after = later }: ResourceSetOptions): ResourceSet {
  const order = types.map(({ typeUrl }) => typeUrl);
  const streams = new Map<string, Parts>();
  const awake = new Set<Parts>();
  /** What clients may come back with, by type and version. */
  const sent = new Map<string, Resources>();
  let wanted: ReadonlyMap<string, Resources> | undefined;
  const target = (typeUrl: string): Resources => wanted?.get(typeUrl) ?? NONE;

  /** Moves a stream on as far as its answers allow. */
  const advance = (parts: Parts): void => {
    if (wanted === undefined) return;
    const inOrder = order.flatMap((typeUrl) => {
      const part = parts.get(typeUrl);
      return part === undefined ? [] : [{ part, next: target(typeUrl) }];
    });
    let isRefused = false;
    for (const { part, next } of inOrder) {
      const isFirst = part.made === undefined && !part.returning;
      if (part.made !== next && (!isRefused || isFirst)) show(part, next, together(part.shown, next));
      const state = stateOf(part, next);
      if (state === "waiting") return;
      isRefused ||= state === "refused";
    }
    if (isRefused || isGathering(parts)) return;
    for (const { part, next } of inOrder) {
      const mayLose = part.shown !== next || (part.returning && !part.parted);
      part.parted = true;
      if (mayLose) show(part, next, next);
    }
  };

  /** A client is back, and has not asked for all its types yet: what still stands in the way of a loss may be to come. */
  const isGathering = (parts: Parts): boolean =>
    parts.size < order.length && parts.gathered !== true && [...parts.values()].some(({ returning }) => returning);

  const remember = (key: string, shown: Resources): void => {
    sent.delete(key);
    sent.set(key, shown);
    const [oldest] = sent.keys();
    if (sent.size > REMEMBERED && oldest !== undefined) sent.delete(oldest);
  };

  /** Once for all that one request says: an ACK may be about thousands of resources. */
  const wake = (parts: Parts): void => {
    if (awake.size === 0) {
      queueMicrotask(() => {
        const all = [...awake];
        awake.clear();
        tellAll(all.map((one) => () => advance(one)));
      });
    }
    awake.add(parts);
  };

  const open = (
    typeUrl: string,
    isWhole: boolean,
    ...[client, changed, returning = false, has = ""]: Parameters<ResourceSource<unknown>["open"]>
  ): ResourceSession => {
    const parts: Parts = streams.get(client.streamId) ?? new Map();
    const shown = sent.get(`${typeUrl} ${has}`) ?? NONE;
    const part: Part = {
      ...{ shown, made: undefined, returning, parted: false, changed },
      ...{ names: new Set(), all: false, held: new Map(), refused: new Map() },
    };
    parts.set(typeUrl, part);
    streams.set(client.streamId, parts);
    if (returning) {
      parts.stopWaiting?.();
      parts.stopWaiting = after(GATHER_MS, () => {
        parts.gathered = true;
        wake(parts);
      });
    }
    /** The latest: verdicts come one by one, all of a response in the same turn. */
    let answer: (ResourceVerdict & { readonly resources: { name: string; version: string }[] }) | undefined;
    return {
      asked: (names, all) => {
        part.names = names;
        part.all = all;
        for (const name of part.held.keys()) if (!all && !names.has(name)) part.held.delete(name);
        wake(parts);
      },
      all: () => (wanted === undefined ? UNKNOWN : new Set([...part.shown.keys(), ...target(typeUrl).keys()])),
      offer: (name, has) => {
        // Its turn has not come, so that it keeps what it holds.
        if (part.made === undefined && (returning || wanted === undefined)) return "later";
        const version = part.shown.get(name)?.version;
        if (version === undefined && target(typeUrl).has(name)) return "later";
        if (version === undefined) return has === undefined || part.parted ? "absent" : { version: has, kept: "delta" };
        // R57: what a delta client says that it holds is not sent again.
        return version === has ? { version, kept: "delta" } : { version };
      },
      resumed: (name, version) => {
        part.held.set(name, version);
        wake(parts);
      },
      sending: (_nonce, items, version) => {
        // Of a whole state of the world the version says what it holds.
        if (isWhole && part.all) remember(`${typeUrl} ${version}`, part.shown);
        return {
          resources: items.map(({ name }) => encodeAny(typeUrl, part.shown.get(name)?.value ?? Buffer.alloc(0))),
          recorded: Promise.resolve(),
        };
      },
      verdict: (nonce, name, version, verdict, message) => {
        if (verdict === "acked") part.held.set(name, version);
        if (verdict === "nacked") part.refused.set(name, version);
        if (answer?.nonce === nonce && answer.verdict === verdict) {
          answer.resources.push({ name, version });
        } else {
          const next = { client, typeUrl, nonce, resources: [{ name, version }], verdict, message };
          answer = next;
          queueMicrotask(() => onVerdict(next));
        }
        wake(parts);
      },
      close: () => {
        parts.delete(typeUrl);
        if (parts.size > 0) return;
        parts.stopWaiting?.();
        streams.delete(client.streamId);
      },
    };
  };

  return {
    sources: types.map(({ typeUrl, packing = "changed", wildcard = false }) => ({
      typeUrl,
      packing,
      wildcard,
      open: (client, changed, returning, version) =>
        open(typeUrl, packing === "full", client, changed, returning, version),
    })),
    set: (next) => {
      for (const typeUrl of next.keys())
        if (!order.includes(typeUrl)) throw new TypeError(`${typeUrl} is not among the types of this set`);
      wanted = next;
      for (const parts of streams.values()) wake(parts);
    },
  };
}

function later(ms: number, callback: () => void): () => void {
  const timer = setTimeout(callback, ms);
  timer.unref();
  return () => clearTimeout(timer);
}

function show(part: Part, made: Resources, shown: Resources): void {
  part.made = made;
  part.shown = shown;
  part.changed();
}

function together(old: Resources, next: Resources): Resources {
  for (const name of old.keys()) if (!next.has(name)) return new Map([...old, ...next]);
  return next;
}

/**
 * `settled`: the client has, by its own word, all that it asks for. `waiting`: an answer is missing. What is on its way out
 * does not count, so that a refused resource can be taken back.
 */
function stateOf({ shown, names, all, held, refused }: Part, next: Resources): "settled" | "refused" | "waiting" {
  let state: "settled" | "refused" = "settled";
  for (const [name, { version }] of shown) {
    if (held.get(name) === version || !(all || names.has(name)) || !next.has(name)) continue;
    if (refused.get(name) !== version) return "waiting";
    state = "refused";
  }
  return state;
}
