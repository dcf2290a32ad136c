/**
 * What one stream has asked for, been sent and answered, for one resource type: a pure value, moved on by `step`.
 *
 * It knows the protocol (the R-rules of the requirements) and which bytes may go out (evidence.md E3); it knows nothing of
 * what a resource means. Invariants: at most one response is unanswered (R22), it holds one resource (R23), and its nonce
 * was never used before on any stream of this process (R11).
 */

/** What the source says about a name now. `later`: nothing yet. `absent`: no such resource for this client. */
export type Offer =
  | {
      readonly version: string;
      /** Send it although this stream has this version (E5, E6). */
      readonly again?: boolean;
      /** The client says that it holds this version, and that will do: nothing is sent (E15), in delta or in both variants. */
      readonly kept?: "always" | "delta";
    }
  | "later"
  | "absent";

/** `has`: the version that the client holds: sent on this stream, or else reported. */
export type View = (name: string, has: string | undefined) => Offer;

/** plain: the usual encoding. unique: the same meaning in bytes never used before, which Envoy can't skip (E2). */
export type Bytes = "plain" | "unique";

export type Verdict = "acked" | "nacked" | "superseded" | "unknown";

export type Sent = {
  readonly nonce: string;
  readonly name: string;
  readonly version: string;
  readonly at: number;
  readonly verdict?: Verdict;
};

type NameState = {
  /** To be sent even if unchanged: newly subscribed (R31, R54). */
  readonly due: boolean;
  /** The version that the client reported to have accepted, before this stream sent anything (E3a). */
  readonly reported?: string;
  /** What this stream sent last. */
  readonly sent?: { readonly nonce: string; readonly version: string };
  /** `removed_resources` has listed it (R56). */
  readonly removed: boolean;
};

export type Subscription = {
  readonly variant: "sotw" | "delta";
  readonly noncePrefix: string;
  readonly counter: number;
  /** No request of this type has come on this stream yet. */
  readonly fresh: boolean;
  readonly names: ReadonlyMap<string, NameState>;
  readonly inFlight?: Sent;
  readonly latestNonce: string;
  /** Responses whose verdict may still come, by nonce; answered ones stay for as long as they are the latest. */
  readonly log: ReadonlyMap<string, Sent>;
};

export type Request = {
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

/** How many older responses are remembered for a verdict that comes late (R17). */
const LATE_VERDICTS = 8;

export type Input = Request | { readonly type: "changed" } | { readonly type: "overdue" };

export type Output =
  | {
      readonly type: "send";
      readonly nonce: string;
      readonly name: string;
      readonly version: string;
      readonly bytes: Bytes;
    }
  | { readonly type: "remove"; readonly nonce: string; readonly names: readonly string[] }
  | { readonly type: "resumed"; readonly name: string; readonly version: string }
  | { readonly type: "asked"; readonly names: ReadonlySet<string> }
  | { readonly type: "verdict"; readonly sent: Sent; readonly verdict: Verdict; readonly message?: string };

/** Nonces of a stream: `noncePrefix` must differ between all streams of this process and its predecessors. */
export function newSubscription(variant: Subscription["variant"], noncePrefix: string): Subscription {
  return { variant, noncePrefix, counter: 0, fresh: true, names: new Map(), latestNonce: "", log: new Map() };
}

/**
 * `now` in milliseconds since the epoch. The caller acts on the outputs in their order. Only `changed` asks `view` and sends:
 * after a request the caller records what was said, then steps with `changed`, so that an offer knows of every verdict.
 */
export function step(
  state: Subscription,
  input: Input,
  view: View,
  now: number,
): { state: Subscription; outputs: Output[] } {
  const outputs: Output[] = [];
  let next = state;
  if (input.type === "request") next = answered(next, input, outputs);
  if (input.type === "overdue" && next.inFlight !== undefined)
    next = settle(next, next.inFlight, "superseded", undefined, outputs);
  if (input.type === "changed") next = sendNext(next, view, now, outputs);
  return { state: next, outputs };
}

function answered(state: Subscription, request: Request, outputs: Output[]): Subscription {
  const sent = request.nonce === "" ? undefined : state.log.get(request.nonce);
  let next = state;
  // A nonce that this stream never issued, on its first request, is a leftover of an earlier stream (R18, R25).
  if (sent !== undefined) next = judge(next, sent, request, outputs);
  next = state.variant === "sotw" ? subscribeSotw(next, request) : subscribeDelta(next, request);
  if (next.fresh) next = { ...next, fresh: false };
  if (state.fresh || !sameNames(state.names, next.names))
    outputs.push({ type: "asked", names: new Set(next.names.keys()) });
  return next;
}

/** R14-R17: the first verdict on a nonce stands (E4). */
function judge(state: Subscription, sent: Sent, request: Request, outputs: Output[]): Subscription {
  if (sent.verdict !== undefined && sent.verdict !== "superseded") return state;
  if (request.error !== undefined) return settle(state, sent, "nacked", request.error.message, outputs);
  if (state.variant === "sotw" && sent.version !== "" && request.version !== sent.version)
    return settle(state, sent, "unknown", undefined, outputs);
  return settle(state, sent, "acked", undefined, outputs);
}

function settle(
  state: Subscription,
  sent: Sent,
  verdict: Verdict,
  message: string | undefined,
  outputs: Output[],
): Subscription {
  outputs.push({ type: "verdict", sent, verdict, ...(message === undefined ? {} : { message }) });
  const log = new Map(state.log).set(sent.nonce, { ...sent, verdict });
  const old = [...log.values()].slice(0, -LATE_VERDICTS);
  for (const response of old) {
    if (response.nonce !== state.latestNonce && !lastOf(state, response)) log.delete(response.nonce);
  }
  const { inFlight, ...rest } = state;
  return inFlight === undefined || inFlight.nonce === sent.nonce ? { ...rest, log } : { ...rest, log, inFlight };
}

/** This response is the last one that its name got on this stream. */
function lastOf(state: Subscription, sent: Sent): boolean {
  return state.names.get(sent.name)?.sent?.nonce === sent.nonce;
}

function subscribeSotw(state: Subscription, request: Request): Subscription {
  // R17-R19: an empty nonce is never stale; an older or foreign one carries an outdated list of names.
  if (!state.fresh && request.nonce !== "" && request.nonce !== state.latestNonce) return state;
  const wanted = new Set((request.names ?? []).filter((name) => name !== "" && name !== "*"));
  const only = wanted.size === 1;
  const names = new Map<string, NameState>();
  for (const name of wanted) {
    const reported = state.fresh && only && request.version ? { reported: request.version } : {};
    names.set(name, state.names.get(name) ?? { due: true, removed: false, ...reported });
  }
  return { ...state, names };
}

function subscribeDelta(state: Subscription, request: Request): Subscription {
  const subscribe = (request.subscribe ?? []).filter((name) => name !== "" && name !== "*");
  if (subscribe.length === 0 && (request.unsubscribe ?? []).length === 0) return state;
  const names = new Map(state.names);
  for (const name of subscribe) {
    const reported = state.fresh ? request.initialVersions?.get(name) : undefined;
    const old = names.get(name);
    names.set(name, { ...old, due: true, removed: false, ...(reported === undefined ? {} : { reported }) });
  }
  // The same name in both lists: subscribe first, then unsubscribe (R55).
  for (const name of request.unsubscribe ?? []) names.delete(name);
  return { ...state, names };
}

function sameNames(a: ReadonlyMap<string, unknown>, b: ReadonlyMap<string, unknown>): boolean {
  return a.size === b.size && [...a.keys()].every((name) => b.has(name));
}

function sendNext(state: Subscription, view: View, now: number, outputs: Output[]): Subscription {
  if (state.inFlight !== undefined) return state;
  if (state.variant === "delta") {
    const gone = [...state.names]
      .filter(([name, entry]) => !entry.removed && view(name, held(entry)) === "absent")
      .map(([name]) => name);
    if (gone.length > 0) return sendRemoval(state, gone, now, outputs);
  }
  let next = state;
  for (const [name, entry] of state.names) {
    const offer = view(name, held(entry));
    if (typeof offer === "string") continue;
    if (offer.kept === "always" || (offer.kept === "delta" && state.variant === "delta")) {
      if (entry.sent === undefined) next = resume(next, name, offer.version, outputs);
      continue;
    }
    if (!entry.due && entry.sent?.version === offer.version && offer.again !== true) continue;
    const nonce = `${state.noncePrefix}${state.counter + 1}`;
    const sent: Sent = { nonce, name, version: offer.version, at: now };
    outputs.push({
      type: "send",
      nonce,
      name,
      version: offer.version,
      bytes: bytesFor(state, entry, offer.version, offer.again === true),
    });
    const names = new Map(next.names).set(name, {
      due: false,
      removed: false,
      sent: { nonce, version: offer.version },
    });
    return issued({ ...next, names }, sent);
  }
  return next;
}

/** What the client has by now. A name that it subscribes to again is one that it wants sent again (R54). */
function held(entry: NameState): string | undefined {
  if (entry.sent === undefined) return entry.reported;
  return entry.due ? undefined : entry.sent.version;
}

/** No nonce: no verdict can come, and the next bytes of this name are unique ones (E15). */
function resume(state: Subscription, name: string, version: string, outputs: Output[]): Subscription {
  outputs.push({ type: "resumed", name, version });
  const entry: NameState = { due: false, removed: false, sent: { nonce: "", version } };
  return { ...state, names: new Map(state.names).set(name, entry) };
}

function sendRemoval(state: Subscription, gone: readonly string[], now: number, outputs: Output[]): Subscription {
  const nonce = `${state.noncePrefix}${state.counter + 1}`;
  const names = new Map(state.names);
  for (const name of gone) names.set(name, { due: false, removed: true });
  outputs.push({ type: "remove", nonce, names: gone });
  return issued({ ...state, names }, { nonce, name: "", version: "", at: now });
}

function issued(state: Subscription, sent: Sent): Subscription {
  return {
    ...state,
    counter: state.counter + 1,
    latestNonce: sent.nonce,
    inFlight: sent,
    log: new Map(state.log).set(sent.nonce, sent),
  };
}

/** E3: plain bytes only where the client can't hold the same bytes refused. */
function bytesFor(state: Subscription, entry: NameState, version: string, again: boolean): Bytes {
  if (again) return "unique";
  if (entry.sent === undefined) return entry.reported === version ? "plain" : "unique";
  return state.log.get(entry.sent.nonce)?.verdict === "acked" ? "plain" : "unique";
}
