/** How one stream of a `resourceSet` gets from what it is shown to what is wanted: make before break. */

import type { Resource } from "./resource-map.ts";
import type { Offer } from "./subscription-state.ts";

export type Resources = ReadonlyMap<string, Resource>;

export const NO_RESOURCES: Resources = new Map();

/** One type on one stream. */
export type Part = {
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

/** What is wanted of one type. */
export type Target = { readonly part: Part; readonly next: Resources };

export function newPart(shown: Resources, returning: boolean, changed: () => void): Part {
  return {
    ...{ shown, made: undefined, returning, parted: false, changed },
    ...{ names: new Set(), all: false, held: new Map(), refused: new Map() },
  };
}

/** Moves a stream on as far as its answers allow. `mayLose`: nothing may be to come that stands in the way of a loss. */
export function advance(inOrder: readonly Target[], mayLose: () => boolean): void {
  let isRefused = false;
  for (const { part, next } of inOrder) {
    const isFirst = part.made === undefined && !part.returning;
    if (part.made !== next && (!isRefused || isFirst)) show(part, next, together(part.shown, next));
    const state = stateOf(part, next);
    if (state === "waiting") return;
    isRefused ||= state === "refused";
  }
  if (isRefused || !mayLose()) return;
  for (const { part, next } of inOrder) {
    const hasLoss = part.shown !== next || (part.returning && !part.parted);
    part.parted = true;
    if (hasLoss) show(part, next, next);
  }
}

/** `next`: undefined before the first `set`. `has` as in `ResourceSession.offer`. */
export function offerOf(part: Part, next: Resources | undefined, name: string, has: string | undefined): Offer {
  // Its turn has not come, so that it keeps what it holds.
  if (part.made === undefined && (part.returning || next === undefined)) return "later";
  const version = part.shown.get(name)?.version;
  if (version === undefined && next?.has(name) === true) return "later";
  if (version === undefined) return has === undefined || part.parted ? "absent" : { version: has, kept: "delta" };
  // R57: what a delta client says that it holds is not sent again.
  return version === has ? { version, kept: "delta" } : { version };
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
