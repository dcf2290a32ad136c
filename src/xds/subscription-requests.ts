/** What a request does to a subscription: a verdict on a response, and a change of what is subscribed to. */

import type { NameState, Output, RequestInput, Sent, Subscription, Verdict } from "./subscription-state.ts";

/** How many older responses are remembered for a verdict that comes late (R17). */
const LATE_VERDICTS = 8;
const ALL = "*";
const NEW: NameState = { due: true, implicit: false, removed: false };

export function answered(state: Subscription, request: RequestInput, outputs: Output[]): Subscription {
  const sent = request.nonce === "" ? undefined : state.log.get(request.nonce);
  let next = state;
  // A nonce that this stream never issued, on its first request, is a leftover of an earlier stream (R18, R25).
  if (sent !== undefined) next = judge(next, sent, request, outputs);
  next = state.variant === "sotw" ? subscribeSotw(next, request) : subscribeDelta(next, request);
  if (next.fresh) next = { ...next, fresh: false };
  if (state.fresh || state.all !== next.all || !sameNames(state.names, next.names))
    outputs.push({ type: "asked", names: explicit(next), all: next.all });
  return next;
}

/** R14-R17: the first verdict on a nonce stands (E4). */
function judge(state: Subscription, sent: Sent, request: RequestInput, outputs: Output[]): Subscription {
  if (sent.verdict !== undefined && sent.verdict !== "superseded") return state;
  if (request.error !== undefined) return settle(state, sent, "nacked", request.error.message, outputs);
  if (state.variant === "sotw" && request.version !== sent.version)
    return settle(state, sent, "unknown", undefined, outputs);
  return settle(state, sent, "acked", undefined, outputs);
}

export function settle(
  state: Subscription,
  sent: Sent,
  verdict: Verdict,
  message: string | undefined,
  outputs: Output[],
): Subscription {
  outputs.push({ type: "verdict", sent, verdict, ...(message === undefined ? {} : { message }) });
  const log = new Map(state.log).set(sent.nonce, { ...sent, verdict });
  if (log.size > LATE_VERDICTS) {
    for (const response of [...log.values()].slice(0, -LATE_VERDICTS))
      if (response.nonce !== state.latestNonce && !lastOfSome(state, response)) log.delete(response.nonce);
  }
  const { inFlight, ...rest } = state;
  return inFlight === undefined || inFlight.nonce === sent.nonce ? { ...rest, log } : { ...rest, log, inFlight };
}

/** This response is the last one that one of its names got on this stream. */
function lastOfSome(state: Subscription, sent: Sent): boolean {
  return sent.items.some(({ name }) => state.names.get(name)?.sent?.nonce === sent.nonce);
}

function subscribeSotw(state: Subscription, request: RequestInput): Subscription {
  // R17-R19: an empty nonce is never stale; an older or foreign one carries an outdated list of names.
  if (!state.fresh && request.nonce !== "" && request.nonce !== state.latestNonce) return state;
  const wanted = new Set((request.names ?? []).filter((name) => name !== ""));
  const star = wanted.delete(ALL);
  const named = state.named || star || wanted.size > 0;
  const all = state.wildcard && (star || !named);
  const only = wanted.size === 1 && !all;
  const names = new Map<string, NameState>();
  if (all) for (const [name, entry] of state.names) names.set(name, { ...entry, implicit: true });
  for (const name of wanted) {
    const reported = state.fresh && only && request.version ? { reported: request.version } : {};
    const old = state.names.get(name);
    names.set(name, old === undefined || old.implicit ? { ...old, ...NEW, ...reported } : old);
  }
  return { ...state, names, all, named, begun: state.begun && all && state.all };
}

function subscribeDelta(state: Subscription, request: RequestInput): Subscription {
  const subscribe = (request.subscribe ?? []).filter((name) => name !== "");
  const unsubscribe = request.unsubscribe ?? [];
  if (!state.fresh && subscribe.length === 0 && unsubscribe.length === 0) return state;
  const legacy = state.fresh && subscribe.length === 0;
  const star = subscribe.includes(ALL);
  // The same name in both lists: subscribe first, then unsubscribe (R55).
  const all = state.wildcard && (state.all || star || legacy) && !unsubscribe.includes(ALL);
  const initial = state.fresh ? request.initialVersions : undefined;
  const names = new Map(state.names);
  const enter = (name: string, entry: NameState) => {
    const reported = initial?.get(name);
    names.set(name, reported === undefined ? entry : { ...entry, reported });
  };
  if (all) for (const name of initial?.keys() ?? []) enter(name, { ...NEW, due: false, implicit: true });
  for (const name of subscribe) if (name !== ALL) enter(name, { ...names.get(name), ...NEW });
  for (const name of unsubscribe) {
    const entry = names.get(name);
    // R60: while all is subscribed to, a name that is taken back is answered once more.
    if (entry !== undefined && all && !entry.implicit)
      names.set(name, { ...entry, due: true, implicit: true, removed: false });
    else if (!all || entry?.implicit !== true) names.delete(name);
  }
  if (!all) for (const [name, entry] of names) if (entry.implicit) names.delete(name);
  return { ...state, names, all, named: true, begun: state.begun && all && state.all };
}

function explicit({ names }: Subscription): Set<string> {
  return new Set([...names].flatMap(([name, entry]) => (entry.implicit ? [] : [name])));
}

function sameNames(a: ReadonlyMap<string, NameState>, b: ReadonlyMap<string, NameState>): boolean {
  if (a === b) return true;
  return a.size === b.size && [...a].every(([name, entry]) => b.get(name)?.implicit === entry.implicit);
}
