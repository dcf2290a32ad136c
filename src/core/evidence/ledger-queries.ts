/** Questions to the ledger. All are pure; evidence.md gives the rules by number. */

import type { RootId } from "../roots/trust.ts";
import { assumes } from "./assumptions.ts";
import { type Content, isLeaf, isUnknown, type LeafContent, mayBeUnder } from "./content.ts";
import {
  type Consumer,
  type Evidence,
  HANDED_OUT,
  type Ledger,
  type LiveStream,
  type ProxyRow,
  type Slot,
  type SlotEvidence,
} from "./ledger-state.ts";
import { standingRefusals } from "./refusals.ts";

export type AbsentPolicy = "until-leaf-expiry" | "wait";

/** How long what ended beside another stream counts at least: longer than Envoy's longest reconnect back-off (E6). */
export const OVERLAP_MS = 5 * 60_000;
/** How long a proxy may take a leaf from us but no bundle before its trust is called "not ours to prove" (E8). */
export const UNPROVEN_AFTER_MS = 45_000;
/** By when a living Envoy has asked again for all its names after a break: longer than its longest back-off (E10). */
export const RESUBSCRIBED_AFTER_MS = 45_000;
/** How long two live streams of one slot are taken for a reconnect (`TwoStreams` in waiting.md). */
export const TWO_STREAMS_AFTER_MS = 60_000;

/** The contents that some TLS context behind this slot may hold (E6), each once. */
export function mayRun(slot: SlotEvidence): Content[] {
  const contents = new Map<string, Content>();
  for (const line of slot.lines) for (const entry of line.entries) contents.set(entry.content.version, entry.content);
  return [...contents.values()];
}

function meshSlots<Some extends SlotEvidence>(row: Evidence<Some>, kind: "leaf" | "bundle"): Some[] {
  return [...row.slots.values()].filter((slot) => slot.consumer === "envoy" && slot.kind === kind);
}

/**
 * E8: every bundle that this proxy's Envoy may run holds `root`. A slot that was never sent anything blocks nothing; of a stranger
 * nobody knows which slots there are.
 */
export function trusts(row: Evidence, root: RootId): boolean {
  if (row.stranger !== undefined) return false;
  return meshSlots(row, "bundle").every((slot) => mayRun(slot).every((content) => holds(content, root)));
}

function holds(content: Content, root: RootId): boolean {
  return !isLeaf(content) && content.roots.includes(root);
}

/** E9: some unexpired leaf that this proxy may run chains to `root`. */
export function presents(row: Evidence, root: RootId, now: number): boolean {
  if (row.stranger !== undefined && row.stranger.leafUntil > now) return true;
  return leaves(row).some((leaf) => mayBeUnder(leaf, root) && leaf.notAfter > now);
}

export function leaves(row: Evidence): LeafContent[] {
  return meshSlots(row, "leaf").flatMap((slot) => mayRun(slot).filter(isLeaf));
}

export function isConnected(row: ProxyRow): boolean {
  return row.session.streams.size > 0;
}

/** Which of its two sides have a stream open. */
export function sidesHere(row: ProxyRow): Set<Consumer> {
  return new Set([...row.session.streams.values()].map((stream) => stream.consumer));
}

/** E13: does this proxy count at the gates? `countsUntil` says when time alone will stop it from counting. */
export function counts(row: ProxyRow, now: number, policy: AbsentPolicy): boolean {
  if (isConnected(row)) return true;
  if (row.forgotten !== undefined) return false;
  const until = countsUntil(row, policy);
  return until === undefined || now < until;
}

/**
 * When a disconnected proxy stops counting by itself: as its last leaf expires, and at once where it never came to have one.
 * Undefined: never.
 */
export function countsUntil(row: ProxyRow, policy: AbsentPolicy): number | undefined {
  if (isConnected(row) || policy === "wait") return undefined;
  if (!row.hadLeaf && !row.cutShort && row.stranger === undefined) return undefined;
  return Math.max(row.stranger?.leafUntil ?? 0, ...leaves(row).map((leaf) => leaf.notAfter));
}

/** E14: has every proxy been heard on a stream of this process since its start? */
export function unheard(ledger: Ledger): ProxyRow[] {
  return [...ledger.proxies.values()].filter((row) => !row.session.heard);
}

/**
 * C5: is it proven that this proxy's Envoy trusts `root` on its connection to us? Its agent ACKs only what Envoy has loaded
 * (C3); before the first ACK the bundle of the bootstrap runs, of which the ledger knows nothing. Where no agent has spoken, a
 * handshake under `root` proves it, because a credential is handed out in one set with a bundle that holds its root (C2); what
 * an agent was sent comes in halves. What was handed out and not used yet may replace it all by a bundle without `root`.
 */
export function trustsOnXds(row: Evidence, root: RootId): boolean {
  if (row.stranger !== undefined) return false;
  if (isHandedOutWithout(row, root)) return false;
  const slots = [...row.slots.values()].filter(({ kind }) => kind === "xdsBundle");
  const isProven = slots.length === 0 ? row.auth.envoy === root : slots.every(({ acked }) => acked !== undefined);
  return isProven && slots.every((slot) => mayRun(slot).every((content) => holds(content, root)));
}

/** Something was handed out, and not used yet, whose bundle lacks `root`. */
export function isHandedOutWithout(row: Evidence, root: RootId): boolean {
  return row.issued.some(({ bundle }) => !holds(bundle, root));
}

/** An agent has been seen beside its Envoy. */
export function hasAgent(row: Evidence): boolean {
  return row.auth.agent !== undefined;
}

/** Of the reasons of `authenticatesWith` the one that nobody can answer for: the Envoy is here, and uses it. */
export const ENVOY_USED_IT = "its Envoy last authenticated with it";

/** C5: which of its sides may come to us with a credential under `root`, in words; undefined: none. */
export function authenticatesWith(row: Evidence, root: RootId, now: number): string | undefined {
  if (row.auth.envoy === root) return ENVOY_USED_IT;
  // An operator may answer for an agent that is gone for good.
  if (row.auth.agent === root && !assumes(row, "xds-credentials", root)) return "its agent last authenticated with it";
  if (row.issued.some((one) => one.root === root)) return "it was handed one that it has not used yet";
  const sent = [...row.slots.values()].filter((slot) => slot.kind === "xdsLeaf").flatMap((slot) => mayRun(slot));
  const some = sent.some((content) => isLeaf(content) && mayBeUnder(content, root) && content.notAfter > now);
  return some ? "its folder may hold one that its agent was sent, or that was handed out" : undefined;
}

/** Names that live streams of this consumer ask for, each with its streams. */
function askedNames(row: ProxyRow, consumer: Consumer): Map<string, LiveStream[]> {
  const names = new Map<string, LiveStream[]>();
  for (const stream of row.session.streams.values()) {
    if (stream.consumer !== consumer) continue;
    for (const name of stream.names) {
      const streams = names.get(name);
      if (streams === undefined) names.set(name, [stream]);
      else streams.push(stream);
    }
  }
  return names;
}

/** Since when two live streams of this proxy share a name, with that name. */
export function sharedSince(row: ProxyRow): { name: string; at: number } | undefined {
  for (const [name, streams] of askedNames(row, "envoy")) {
    if (streams.length < 2) continue;
    const starts = streams.flatMap((stream) => stream.shared.get(name) ?? []);
    // The second smallest start would be exacter with three streams; the latest is when the present pair met.
    return { name, at: Math.max(...starts) };
  }
  return undefined;
}

/** E8: since when this proxy has taken a leaf from us while it never asked for a bundle. */
export function leafOnlySince(row: ProxyRow): number | undefined {
  if (meshSlots(row, "bundle").length > 0 || meshSlots(row, "leaf").length === 0) return undefined;
  return row.session.leafFirstSentAt;
}

/** By its name for listeners, which take every identity of the mesh. */
const WITHOUT_NAMES = "root-cert-for-mtls-inbound";

/**
 * E8, slot by slot: a bundle that its Envoy takes from us without our SAN matchers, so that it may stand beside others of its own.
 * Bundles with matchers that the same Envoy takes for other clusters say nothing of that one (V).
 */
export function matchesByItself(row: Evidence): boolean {
  return meshSlots(row, "bundle").some(({ matchers, name }) => !matchers && name !== WITHOUT_NAMES);
}

/**
 * E10: may this proxy be given a leaf whose signer and peers are under `needed`? Yes when each bundle that it may run holds
 * those roots, or was answered on a live stream in a content that holds them. This takes in bundles that it has not asked
 * for again yet: the context that runs them would get the leaf, too. A stranger has to have had the time to ask for all of them.
 *
 * `successorAt`: the time now, if the client is known to be another process than the one that those bundles were sent to.
 * Then one that it has not asked for since longer than any back-off is its predecessor's: Envoy starts its listeners once its
 * clusters are done, which wait for this leaf, so it asks for the listeners' bundle only after it (V: both waited for ever).
 */
export function readyForLeaf(row: ProxyRow, needed: readonly RootId[], successorAt: number | undefined): boolean {
  if (row.stranger !== undefined) return false;
  const asked = askedNames(row, "envoy");
  const isLeftBehind = ({ name, session }: Slot) =>
    successorAt !== undefined &&
    !asked.has(name) &&
    successorAt >= Math.max(row.session.presentSince, session.lastAskedAt) + RESUBSCRIBED_AFTER_MS;
  return meshSlots(row, "bundle").every(
    (slot) =>
      isLeftBehind(slot) ||
      needed.every(
        (root) =>
          mayRun(slot).every((content) => holds(content, root)) || slot.session.answered?.roots.includes(root) === true,
      ),
  );
}

/** The client had a leaf once: it ACKed one, or reported one that the ledger does not know. */
export function hasHadLeaf(slot: SlotEvidence | undefined): boolean {
  return slot !== undefined && (slot.acked !== undefined || mayRun(slot).some(isUnknown));
}

/**
 * Those of `roots` under which some known proxy may present an unexpired leaf, on connections begun up to `settleMs` ago, too:
 * those go on with what was loaded before the ACK (E11).
 */
export function presentedRoots(
  ledger: Ledger,
  roots: readonly RootId[],
  now: number,
  settleMs: number,
  earliest = now,
): RootId[] {
  const presented = new Set([...ledger.replacedAt].flatMap(([root, at]) => (now < at + settleMs ? [root] : [])));
  for (const row of ledger.proxies.values()) {
    if (row.stranger !== undefined && row.stranger.leafUntil > earliest) return [...roots];
    for (const leaf of leaves(row)) {
      if (leaf.notAfter <= earliest) continue;
      if (isUnknown(leaf)) return [...roots];
      presented.add(leaf.root);
    }
  }
  return roots.filter((root) => presented.has(root));
}

/** E12: the client has said yes to `version`, and to nothing else since; nothing that was sent waits for its answer. */
export function isInSync({ acked, lines, refusal }: SlotEvidence, version: string): boolean {
  const isOpen = lines.some(({ ended, unanswered }) => ended === undefined && unanswered !== undefined);
  return acked?.version === version && refusal === undefined && !isOpen;
}

export type SyncState = "SYNCED" | "NOT SENT" | "STALE" | "ERROR" | "UNKNOWN";

/**
 * E12. `wanted` gives the version that a name should be at, or undefined for a name that can't be delivered now (it does
 * not exist, or is not the proxy's): such a name blocks nothing (R86).
 */
export function syncState(row: ProxyRow, wanted: (name: string, consumer: Consumer) => string | undefined): SyncState {
  // Its agent can't speak for an Envoy that is away.
  if (!sidesHere(row).has("envoy")) return row.error ? "ERROR" : "UNKNOWN";
  const pairs = (["envoy", "agent"] as const).flatMap((consumer) =>
    [...askedNames(row, consumer).keys()].flatMap((name) => {
      const version = wanted(name, consumer);
      return version === undefined ? [] : [{ slot: row.slots.get(`${consumer}|${name}`), version }];
    }),
  );
  // A refusal outlives the stream that brought it; of a name that can't be had any more nobody will answer.
  const isRefused = standingRefusals(row).some(({ name, consumer }) => wanted(name, consumer) !== undefined);
  if (!isRefused && pairs.every(({ slot, version }) => slot !== undefined && isInSync(slot, version))) return "SYNCED";
  if (row.error !== undefined) return "ERROR";
  return pairs.some(({ slot }) => slot === undefined) ? "NOT SENT" : "STALE";
}

/**
 * E15: what a client that reports `version` may go on with, unsent: the slot may run that content alone, its last answer was
 * an ACK of it, and no refusal stands. Undefined: it has to be sent.
 */
export function resumable(slot: SlotEvidence, version: string): Content | undefined {
  const [only, ...more] = mayRun(slot);
  if (only?.version !== version || more.length > 0) return undefined;
  return slot.acked?.version === version && slot.refusal === undefined ? only : undefined;
}

/**
 * The slot has an ended stream whose deliveries nothing sent since has superseded, so that only another answer can tell
 * what runs: the newest live stream has to be asked once more, in unique bytes. Not where all streams brought one and the same
 * content, and it was ACKed: whichever came last, that is what runs.
 */
export function needsProof(slot: SlotEvidence): boolean {
  const [only, ...more] = mayRun(slot);
  const isHandedOut = slot.lines.some(({ stream }) => stream === HANDED_OUT);
  if (more.length === 0 && only?.version === slot.acked?.version && !isHandedOut) return false;
  const lastSent = Math.max(
    0,
    ...slot.lines.filter((line) => !line.ended).flatMap((line) => line.entries.map((entry) => entry.seq)),
  );
  // A stream that resumes was sent nothing, and only what was handed out since can have taken the place of that.
  return slot.lines.some(
    ({ stream, ended, superseded }) =>
      ended !== undefined && !superseded && ended.seq >= lastSent && (lastSent > 0 || stream === HANDED_OUT),
  );
}
