/** What must hold at every moment of every history. A breach throws `Breach` with the name of what was broken. */

import type { LeafKind } from "../../../src/controller/leaf-cache.ts";
import { type Content, isLeaf } from "../../../src/core/evidence/content.ts";
import { counts, syncState } from "../../../src/core/evidence/ledger-queries.ts";
import type { Line, ProxyRow } from "../../../src/core/evidence/ledger-state.ts";
import { XDS_BUNDLE, XDS_LEAF } from "../../../src/core/evidence/secret-names.ts";
import type { TrustInForce } from "../../../src/core/roots/trust.ts";
import type { Held } from "./credentials.ts";
import { CONNECT_TIMEOUT_MS, type Context, type LoadedBundle, OWN } from "./envoy.ts";
import { checkRetired, mayHoldAnything, noteDoubts, noteLoss } from "./losses.ts";
import { LEAF, type MeshProxy } from "./proxy.ts";
import { LEAF_MS, SETTINGS, XDS_LEAF_MS } from "./server.ts";
import type { World } from "./world.ts";

export class Breach extends Error {
  override readonly name = "Breach";
}

/** What the checks remember of earlier moments; outlives crashes of the server. */
export type Memory = {
  trust: TrustInForce | undefined;
  /** What each generation and each version meant when it was first seen. */
  readonly meanings: Map<string, string>;
  handshakes: number;
  /** A leaf that need not have been made (E15). */
  wasted: string | undefined;
  /** Secrets that were resumed by servers that are gone. */
  resumed: number;
  /** The contexts and the time that traffic was checked for last. */
  traffic: string;
  /** Proxies that counted when nothing was on its way to the disk. */
  counting: ReadonlySet<string>;
  /** The same, when each root of clients left the xDS port last (by fingerprint), and when the server's certificate moved last. */
  readonly countingAt: { readonly client: Map<string, ReadonlySet<string>>; server: ReadonlySet<string> };
};

export function newMemory(): Memory {
  return {
    trust: undefined,
    meanings: new Map(),
    handshakes: 0,
    resumed: 0,
    wasted: undefined,
    traffic: "",
    counting: new Set(),
    countingAt: { client: new Map(), server: new Set() },
  };
}

/** For saboteurs: does a defect break what users see, or only what we promise beyond that? */
const TRAFFIC_ONLY = process.env.MESHROOT_CHECK === "traffic";

export function checkMoment(world: World, what: string): void {
  const complain = (rule: string, detail: string): never => {
    throw new Breach(`${rule}: ${detail} (when ${what}, t+${world.now - Date.UTC(2026, 0, 1)} ms)`);
  };
  const { server } = world;
  if (world.memory.wasted !== undefined) complain("reconnecting costs no leaf (E15)", world.memory.wasted);
  if (server !== undefined && !TRAFFIC_ONLY) {
    if (server.errors.length > 0) complain("server error", describe(server.errors[0]));
    checkTrust(world, server.controller.trust, complain);
    for (const proxy of world.proxies) checkMayRun(world, proxy, complain);
  }
  checkTraffic(world, complain);
}

export type Complain = (rule: string, detail: string) => never;

function describe(error: unknown): string {
  const inner = (error as { err?: unknown }).err;
  return inner instanceof Error ? (inner.stack ?? inner.message) : JSON.stringify(error);
}

function checkTrust(world: World, trust: TrustInForce, complain: Complain): void {
  const { memory, server } = world;
  if (memory.trust === trust) return;
  const before = memory.trust;
  memory.trust = trust;
  if (!trust.mesh.includes(trust.signer)) complain("signer in mesh", trust.signer);
  for (const id of [...trust.mesh, trust.xdsServer]) if (!trust.xds.includes(id)) complain("mesh in xds", id);
  const meaning = JSON.stringify([trust.signer, trust.mesh, trust.xds, trust.xdsServer]);
  const known = memory.meanings.get(`generation ${trust.generation}`);
  if (known !== undefined && known !== meaning) complain("one generation, one content", `${known} and ${meaning}`);
  memory.meanings.set(`generation ${trust.generation}`, meaning);
  if (before !== undefined && trust.generation < before.generation)
    complain("generation rises", `${before.generation} to ${trust.generation}`);
  if (world.state.generation < trust.generation) complain("persist, then publish", `${trust.generation}`);
  if (before === undefined || server === undefined || before.generation === trust.generation) return;
  for (const id of before.xds.filter((one) => !trust.xds.includes(one)))
    memory.countingAt.client.set(before.roots[id]?.fingerprint ?? id, memory.counting);
  if (before.xdsServer !== trust.xdsServer) memory.countingAt.server = memory.counting;
  const roleOf = (id: string) => world.roots.find((root) => root.name === before.roots[id]?.name)?.role;
  if (world.rolesSeen && before.signer !== trust.signer && roleOf(before.signer) === "active")
    complain("the incumbent keeps signing", `${before.signer} to ${trust.signer}`);
  if (before.signer !== trust.signer) {
    checkNobodyRefuses(world, complain);
    // Who does not count is not waited for: that matchers of its own fit when it returns is its operator's matter.
    for (const proxy of world.proxies) if (!countedAndCounts(world, proxy)) world.matchFormsOfNow(proxy);
  }
  const gate = before.signer !== trust.signer || before.mesh.some((id) => !trust.mesh.includes(id));
  if (gate) noteDoubts(world);
  // The first look at a new process may show what its predecessor decided just before its death.
  if (!gate || world.now >= server.startedAt + SETTINGS.recoveryMs || server.controller.trust !== trust) return;
  if (server.firstTrust === trust) return;
  // Whose row has left meanwhile is nobody to wait for.
  const { proxies } = server.controller.ledger;
  const missing = [...server.inherited].filter((uuid) => !server.heard.has(uuid) && proxies.has(uuid));
  if (missing.length > 0) complain("no gate opens during recovery (E14)", missing.join(", "));
}

function countedAndCounts({ memory, now, server }: World, { identity: { uuid } }: MeshProxy): boolean {
  const row = server?.controller.ledger.proxies.get(uuid);
  return memory.counting.has(uuid) && row !== undefined && counts(row, now, SETTINGS.absentPolicy);
}

/** E12: the signer moves past nobody who counts and refuses his secrets, whatever became of the stream that said so. */
function checkNobodyRefuses(world: World, complain: Complain): void {
  for (const proxy of world.proxies) {
    const [name] = [...proxy.refused].find(([, { noted }]) => noted) ?? [];
    if (name !== undefined && countedAndCounts(world, proxy))
      complain(
        "a refusal stands until it is answered (E12)",
        `the signer moves, and proxy ${proxy.index} refuses ${name}`,
      );
  }
}

/** E6: what runs, and what is stored and so may run at any time, is in the ledger. */
function checkMayRun(world: World, proxy: MeshProxy, complain: Complain): void {
  if (!proxy.alive) return;
  const row = world.server?.controller.ledger.proxies.get(proxy.identity.uuid);
  if (row === undefined && proxy.lost === undefined) checkRetired(world, proxy, complain);
  if (!proxy.agentLost) checkCredentials(proxy, row, world.now, complain);
  if (proxy.lost !== undefined || row?.stranger !== undefined) return;
  const { envoy } = proxy;
  const check = (name: string, version: string) => {
    const lines = row?.slots.get(`envoy|${name}`)?.lines ?? [];
    if (holds(lines, version) || mayHoldAnything(lines)) return;
    complain("may-run holds what runs (E6)", `proxy ${proxy.index} has ${name} ${version}`);
  };
  for (const [name, { content }] of envoy.stored) check(name, content.version);
  for (const key in envoy.shapes) {
    const context = envoy.live(key);
    const shape = envoy.shapes[key];
    if (context === undefined || shape === undefined) continue;
    check(shape.leaf, context.leaf.version);
    check(shape.bundle, context.bundle.version);
  }
}

/** The same for what its agent's stream has brought into the folder, and so to Envoy. */
function checkCredentials(
  { index, folder }: MeshProxy,
  row: ProxyRow | undefined,
  now: number,
  complain: Complain,
): void {
  for (const held of folder.disk === folder.loaded ? [folder.disk] : [folder.disk, folder.loaded]) {
    for (const [name, version] of held?.versions ?? []) {
      const lines = row?.slots.get(`agent|${name}`)?.lines ?? [];
      if (!holds(lines, version))
        complain("may-run holds what runs (E6)", `the agent of proxy ${index} has ${name} ${version}`);
    }
    if (row !== undefined && held !== undefined) checkXdsBundle(index, held, row, now, complain);
  }
}

/** C5: once an agent has proven one bundle, each that Envoy may load since is known, also where it was handed out. */
function checkXdsBundle(index: number, { leaf, roots }: Held, row: ProxyRow, now: number, complain: Complain): void {
  // With what has expired nobody comes.
  if (leaf.notAfter <= now) return;
  const slot = row.slots.get(`agent|${XDS_BUNDLE}`);
  if (slot?.acked === undefined) return;
  const entered = slot.lines.flatMap(({ entries }) => entries.map(({ content }) => content));
  const isSame = (bundle: Content) =>
    !isLeaf(bundle) &&
    bundle.roots.length === roots.length &&
    bundle.roots.every((id) => roots.includes(id.slice(0, id.indexOf("/"))));
  if (![...entered, ...row.issued.map(({ bundle }) => bundle)].some(isSame))
    complain("the ledger knows every bundle for the xDS port (C5)", `the folder of proxy ${index} has ${roots}`);
}

function holds(lines: readonly Line[], version: string): boolean {
  for (const { entries } of lines) for (const { content } of entries) if (content.version === version) return true;
  const meaning = meaningOf(version);
  return lines.some(({ entries }) => entries.some(({ content }) => meaningOf(content.version) === meaning));
}

/** Bundles of two generations may be equal to the byte; Envoy then skips the second and runs on under the first name. */
function meaningOf(version: string): string {
  return version.startsWith("leaf") ? version : version.slice(version.indexOf("-"));
}

/** E1: a version never names two contents. Looked at when a proxy takes one. */
export function checkNames(world: World, proxy: MeshProxy): void {
  for (const [name, { content }] of proxy.envoy.stored) {
    if (proxy.named.get(name) === content) continue;
    proxy.named.set(name, content);
    const { version, ...rest } = content;
    const meaning = JSON.stringify(rest);
    const key = `${content.kind === "leaf" ? "leaf" : name} ${version}`;
    const known = world.memory.meanings.get(key);
    if (known === undefined) world.memory.meanings.set(key, meaning);
    else if (known !== meaning) throw new Breach(`one version, one content (E1): ${key}: ${known} and ${meaning}`);
  }
}

/** The promise: any two proxies that take part can talk, in both directions, with all that they may use right now. */
function checkTraffic(world: World, complain: Complain): void {
  let changes = 0;
  for (const { envoy } of world.proxies) changes += envoy.changes;
  const moment = `${world.now} ${world.proxies.length} ${changes}`;
  if (moment === world.memory.traffic) return;
  world.memory.traffic = moment;
  const certain = world.proxies.filter(({ doubtedUntil }) => world.now >= doubtedUntil);
  for (const client of certain) {
    for (const server of certain) {
      const { contexts } = client.envoy;
      const dialling = [...(contexts.get("outbound") ?? contexts.get("inbound") ?? []), ...(contexts.get(OWN) ?? [])];
      const accepting = server.envoy.contexts.get("inbound") ?? [];
      for (const a of dialling) for (const b of accepting) checkHandshake(world, client, a, server, b, complain);
    }
  }
}

function checkHandshake(
  world: World,
  client: MeshProxy,
  a: Context,
  server: MeshProxy,
  b: Context,
  complain: Complain,
): void {
  const { now } = world;
  if (a.leaf.notAfter <= now || b.leaf.notAfter <= now) return;
  // The client took its context at t0, the server at t1: now - timeout < t0 <= t1 <= now.
  const earliest = Math.max(a.since, now - CONNECT_TIMEOUT_MS);
  if (a.until <= earliest || b.until <= Math.max(b.since, earliest)) return;
  world.memory.handshakes += 1;
  const why = refuses(a.bundle, b) ?? refuses(b.bundle, a);
  if (why === undefined) return;
  const show = (proxy: MeshProxy, context: Context) =>
    `proxy ${proxy.index}${context.until <= now ? " (handshake begun before its ACK)" : ""} with ${context.leaf.version} under ${context.leaf.root} and ${context.bundle.version} [${context.bundle.roots.join(" ")}]`;
  complain("traffic", `${why}: ${show(client, a)} to ${show(server, b)}`);
}

function refuses(bundle: LoadedBundle, peer: Context): string | undefined {
  if (!bundle.roots.includes(peer.leaf.root)) return "fail_verify_error";
  if (bundle.sans.length > 0 && !bundle.sans.includes(peer.leaf.san)) return "fail_verify_san";
  return undefined;
}

/** E15: no leaf is made for who says on every stream that it holds a good one, which nothing else may have replaced. */
export function checkIssuing(world: World, kind: LeafKind, uuid: string, root: string): void {
  const { server, now } = world;
  const proxy = world.proxies.find(({ identity }) => identity.uuid === uuid);
  if (proxy === undefined || server === undefined || TRAFFIC_ONLY) return;
  const [consumer, name] = kind === "leaf" ? (["envoy", LEAF] as const) : (["agent", XDS_LEAF] as const);
  const slot = server.controller.ledger.proxies.get(uuid)?.slots.get(`${consumer}|${name}`);
  const contents = (slot?.lines ?? []).flatMap(({ entries }) => entries.map(({ content }) => content));
  const [held] = contents;
  if (slot?.refusal !== undefined || held?.kind !== kind || held.root !== root) return;
  if (slot?.acked?.version !== held.version || contents.some(({ version }) => version !== held.version)) return;
  const lifetime = kind === "leaf" ? LEAF_MS : XDS_LEAF_MS;
  if (now >= held.notAfter - lifetime / 3) return;
  const links = world.links.filter(
    (link) =>
      link.proxy === proxy.index &&
      link.connection.consumer === consumer &&
      link.stream !== undefined &&
      !link.serverGone &&
      link.names.includes(name),
  );
  if (links.length > 0 && links.every((link) => link.reports.get(name) === held.version))
    world.memory.wasted ??= `a ${kind} is made for proxy ${proxy.index}, which holds ${held.version}`;
}

/** Called when all is quiet: who counts then must have been seen by what is decided next. */
export function noteCounting(world: World): void {
  const rows = world.server?.controller.ledger.proxies ?? new Map<string, ProxyRow>();
  const counting = [...rows].filter(([, row]) => counts(row, world.now, SETTINGS.absentPolicy));
  world.memory.counting = new Set(counting.map(([uuid]) => uuid));
  noteRefusals(world, rows);
  for (const proxy of world.proxies) noteLoss(world, proxy, rows.get(proxy.identity.uuid));
}

/** E12: nobody is called SYNCED who has refused a secret and not accepted it since. */
function noteRefusals({ proxies, server }: World, rows: ReadonlyMap<string, ProxyRow>): void {
  for (const { identity, index, refused } of proxies) {
    const { uuid } = identity;
    const row = rows.get(uuid);
    if (refused.size === 0 || row === undefined || server === undefined || TRAFFIC_ONLY) continue;
    for (const one of refused.values()) one.noted = true;
    if (syncState(row, (name, consumer) => server.secrets.wanted(uuid, name, consumer)) === "SYNCED")
      throw new Breach(
        `a refusal stands until it is answered (E12): proxy ${index} is SYNCED, and refuses ${[...refused.keys()]}`,
      );
  }
}

/**
 * C5: nobody who counts is turned away at the xDS port, nor turns away. One who comes back between a decision and its
 * publication did not count when it was taken, and is as late as one who comes back after it. `root`: fingerprint of the one that
 * the client is under; what it may be refused for was decided when that one left, and not when another did.
 */
export function checkRefused(world: World, proxy: MeshProxy, why: "client" | "server", root: string): void {
  const { uuid } = proxy.identity;
  const row = world.server?.controller.ledger.proxies.get(uuid);
  const { client, server } = world.memory.countingAt;
  const counted = why === "client" ? client.get(root) : server;
  if (TRAFFIC_ONLY || row === undefined || counted?.has(uuid) !== true || proxy.agentLost) return;
  const what = { client: "is refused", server: "does not trust the server" }[why];
  if (counts(row, world.now, SETTINGS.absentPolicy))
    throw new Breach(`xDS port (C5): a proxy that counts ${what}: ${proxy.index}`);
}
