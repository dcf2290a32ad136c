/** What goes out next on a subscription, and in which bytes. */

import { createHash } from "node:crypto";
import type {
  Bytes,
  Item,
  NameState,
  Offer,
  OfferView,
  Output,
  Packing,
  Sent,
  Subscription,
} from "./subscription-state.ts";

const IMPLICIT: NameState = { due: false, implicit: true, removed: false };

/** What one look at all names has found. */
type Found = {
  readonly changed: Item[];
  /** Everything that can be delivered, changed or not. */
  readonly present: Item[];
  /** Names that the client was told of, or has asked for, and that there are none of. */
  readonly gone: string[];
  readonly resumed: Omit<Item, "bytes">[];
  /** Something is still being made. */
  pending: boolean;
};

export function sendNext(state: Subscription, view: OfferView, now: number, outputs: Output[]): Subscription {
  if (state.inFlight !== undefined) return state;
  const found = lookAround(state, view);
  const next = found.resumed.length === 0 ? state : resume(state, found.resumed, outputs);
  // The first answer to whoever asks for all is taken for all there is.
  const isFirst = next.all && !next.begun && !found.pending;
  if (next.packing === "full" && next.variant === "sotw") {
    const isSmaller = found.gone.some((name) => next.names.get(name)?.sent !== undefined);
    if (!isFirst && !isSmaller && found.changed.length === 0) return next;
    return send(dropped(next, found.gone), found.present, [], now, outputs);
  }
  const gone = next.variant === "delta" ? found.gone : [];
  if (next.packing === "one") {
    const [first] = found.changed;
    if (gone.length > 0) return send(next, [], gone, now, outputs);
    if (first !== undefined) return send(next, [first], [], now, outputs);
  } else if (found.changed.length > 0 || gone.length > 0) {
    return send(next, found.changed, gone, now, outputs);
  }
  // Whoever asks for all learns that there is nothing; nobody else is sent an empty response (R4, R37, R59).
  return isFirst && found.present.length === 0 ? send(next, [], [], now, outputs) : next;
}

function lookAround(state: Subscription, view: OfferView): Found {
  const found: Found = { changed: [], present: [], gone: [], resumed: [], pending: false };
  const look = (name: string, entry: NameState) => {
    const offer = view.offer(name, held(entry));
    if (offer === "later") {
      found.pending = true;
      return;
    }
    if (offer === "absent") {
      // An implicit name of which the client has never heard is no loss to it; one that it takes back is answered (R60).
      const isKnown = !entry.implicit || entry.due || entry.sent !== undefined || entry.reported !== undefined;
      if (!entry.removed && isKnown) found.gone.push(name);
      return;
    }
    const { version } = offer;
    if (isKept(state, offer)) {
      if (entry.sent === undefined) found.resumed.push({ name, version });
      return;
    }
    const item = { name, version, bytes: bytesFor(state, entry, version, offer.again === true) };
    found.present.push(item);
    if (entry.due || entry.sent?.version !== version || offer.again === true) found.changed.push(item);
  };
  for (const [name, entry] of state.names) {
    look(name, entry);
    // The rest can wait: one resource goes out at a time.
    if (state.packing === "one" && found.changed.length > 0 && state.variant === "sotw") return found;
  }
  if (state.all) for (const name of view.all()) if (!state.names.has(name)) look(name, IMPLICIT);
  return found;
}

function isKept(state: Subscription, { kept }: Exclude<Offer, string>): boolean {
  return kept === "always" || (kept === "delta" && state.variant === "delta");
}

/** What the client has by now. A name that it subscribes to again is one that it wants sent again (R54). */
function held(entry: NameState): string | undefined {
  if (entry.sent === undefined) return entry.reported;
  return entry.due ? undefined : entry.sent.version;
}

/** No nonce: no verdict can come, and the next bytes of this name are unique ones (E15). */
function resume(state: Subscription, resumed: Found["resumed"], outputs: Output[]): Subscription {
  const names = new Map(state.names);
  for (const { name, version } of resumed) {
    outputs.push({ type: "resumed", name, version });
    names.set(name, { ...(names.get(name) ?? IMPLICIT), due: false, removed: false, sent: { nonce: "", version } });
  }
  return { ...state, names };
}

/** A full SotW response says by their absence that names are gone. */
function dropped(state: Subscription, gone: readonly string[]): Subscription {
  const names = new Map(state.names);
  for (const name of gone) {
    const entry = names.get(name);
    if (entry?.implicit === true) names.delete(name);
    else if (entry !== undefined) names.set(name, { due: false, implicit: false, removed: true });
  }
  return { ...state, names };
}

function send(
  state: Subscription,
  items: readonly Item[],
  removed: readonly string[],
  now: number,
  outputs: Output[],
): Subscription {
  const nonce = `${state.noncePrefix}${state.counter + 1}`;
  const names = new Map(state.names);
  for (const { name, version } of items) {
    const implicit = names.get(name)?.implicit ?? true;
    names.set(name, { due: false, implicit, removed: false, sent: { nonce, version } });
  }
  for (const name of removed) {
    if (names.get(name)?.implicit === true) names.delete(name);
    else names.set(name, { due: false, implicit: false, removed: true });
  }
  const version = versionOf(state.packing, items);
  outputs.push({ type: "send", nonce, version, items, removed });
  const sent: Sent = { nonce, version, items: items.map(({ name, version: of }) => ({ name, version: of })), at: now };
  const log = new Map(state.log).set(nonce, sent);
  return { ...state, names, counter: state.counter + 1, latestNonce: nonce, inFlight: sent, begun: true, log };
}

/** R12: of one resource its own version; of several a name for exactly these, the same on every replica. */
export function versionOf(packing: Packing, items: readonly Item[]): string {
  if (packing === "one") return items[0]?.version ?? "";
  const pairs = items.map(({ name, version }) => [name, version]).toSorted(([a = ""], [b = ""]) => (a < b ? -1 : 1));
  return createHash("sha256").update(JSON.stringify(pairs)).digest("hex").slice(0, 16);
}

/** E3: plain bytes only where the client can't hold the same bytes refused. */
function bytesFor(state: Subscription, entry: NameState, version: string, again: boolean): Bytes {
  if (again) return "unique";
  if (entry.sent === undefined) return entry.reported === version ? "plain" : "unique";
  return state.log.get(entry.sent.nonce)?.verdict === "acked" ? "plain" : "unique";
}
