/** What moves between the simulated clients and the server: connections, streams, messages, and who leaves when. */

import type { Consumer } from "../../../src/core/evidence/ledger-state.ts";
import { XDS_BUNDLE, XDS_LEAF } from "../../../src/core/evidence/secret-names.ts";
import { checkNames, checkRefused } from "./checks.ts";
import { Connection, refusal } from "./credentials.ts";
import { CONNECT_TIMEOUT_MS } from "./envoy.ts";
import { Link } from "./link.ts";
import { type MeshProxy, OUTBOUND, OWN_BUNDLE } from "./proxy.ts";
import type { Server } from "./server.ts";
import type { World } from "./world.ts";

/** Envoy's first back-off, and the agent's. */
const BACK_OFF_MS = 500;

/** The connection of this consumer that stands, or a new one made with the credentials of this moment; undefined: not now. */
function connectionOf(world: World, proxy: MeshProxy, consumer: Consumer): Connection | undefined {
  const standing = proxy.connections.get(consumer);
  if (standing !== undefined && !standing.gone) return standing;
  if (world.now < (proxy.retryAt.get(consumer) ?? 0)) return undefined;
  const held = consumer === "agent" ? proxy.folder.disk : proxy.folder.loaded;
  if (held === undefined) return undefined;
  const made = new Connection(proxy.index, consumer, held, world.now);
  proxy.connections.set(consumer, made);
  return made;
}

function openLink(world: World, link: Link, proxy: MeshProxy): Link {
  link.slow = proxy.lag;
  link.connection.links.push(link);
  world.links.push(link);
  return link;
}

/** The streams that this proxy would have and hasn't: the next of them, or all. False: there are none. */
export function connect(world: World, proxy: MeshProxy): boolean {
  if (!proxy.online || world.server === undefined) return false;
  const asAgent = proxy.agent?.alive === true && connectAgent(world, proxy);
  return (proxy.alive && connectEnvoy(world, proxy)) || asAgent;
}

/** One stream with both names, the bundle first: what the next certificate chains to should be trusted before it comes. */
function connectAgent(world: World, proxy: MeshProxy): boolean {
  if (world.links.some((link) => link.proxy === proxy.index && isOf(link, "agent"))) return false;
  const connection = connectionOf(world, proxy, "agent");
  if (connection === undefined) return false;
  const link = openLink(world, new Link(connection, "delta", false, ""), proxy);
  proxy.agent?.connected(proxy.folder.disk);
  link.ask([XDS_BUNDLE, XDS_LEAF], proxy.agent?.reported ?? new Map());
  return true;
}

function isOf(link: Link, consumer: Consumer): boolean {
  return link.connection.consumer === consumer && !link.clientGone;
}

function connectEnvoy(world: World, proxy: MeshProxy): boolean {
  const mine = world.links.filter((link) => link.proxy === proxy.index && isOf(link, "envoy"));
  const asked = proxy.order.slice(0, proxy.asking).filter((name) => proxy.outbound || name !== OUTBOUND);
  const wanted = asked.filter((name) => !mine.some((link) => link.names.includes(name)));
  if (wanted.length === 0) return false;
  const connection = connectionOf(world, proxy, "envoy");
  if (connection === undefined) return false;
  for (const name of wanted) {
    const open = proxy.ads ? mine[0] : undefined;
    const { accepted } = proxy.envoy;
    const version = proxy.ads ? [...accepted.values()].at(-1) : accepted.get(name);
    const link = open ?? openLink(world, new Link(connection, proxy.variant, proxy.ads, version ?? ""), proxy);
    const known = accepted.get(name);
    // A new stream of the aggregated kind begins with all its names.
    const names = proxy.ads && open === undefined ? wanted : [name];
    const initial = new Map([...accepted].filter(([other]) => names.includes(other)));
    link.ask(names, known === undefined && names.length === 1 ? new Map() : initial);
    if (names.length > 1 || !proxy.hasty) break;
  }
  return true;
}

/** The client leaves its stream. `told`: the server hears of it. */
export function leave(world: World, link: Link, told: boolean): void {
  if (link.clientGone) return;
  if (told) link.toServer.push("fin");
  link.clientGone = true;
  world.proxies[link.proxy]?.agent?.hangUp(link);
}

/** The client lets go of a connection, and of all its streams. */
export function hangUp(world: World, connection: Connection, told: boolean): void {
  connection.gone = true;
  for (const link of connection.links) leave(world, link, told);
}

/** The server has closed a connection. Whose connections are closed again and again waits before the next. */
function sendAway(world: World, connection: Connection, proxy: MeshProxy | undefined): void {
  if (connection.gone) return;
  hangUp(world, connection, true);
  const { consumer, openedAt = world.now } = connection;
  const inARow = world.now < openedAt + 1_000 ? (proxy?.shortLived.get(consumer) ?? 0) + 1 : 0;
  proxy?.shortLived.set(consumer, inARow);
  if (inARow > 2) proxy?.retryAt.set(consumer, world.now + BACK_OFF_MS);
}

/** Everything that this proxy, or one consumer of it, has open. */
export function hangUpAll(world: World, proxy: MeshProxy, told: boolean, consumer?: Consumer): void {
  for (const connection of proxy.connections.values())
    if (consumer === undefined || consumer === connection.consumer) hangUp(world, connection, told);
}

/** The server's keepalive finds that nobody is there any more. */
export function reap(world: World, link: Link): void {
  if (link.clientGone) closeAtServer(world, link);
}

function closeAtServer(world: World, link: Link): void {
  link.toServer.length = 0;
  if (!link.serverGone) link.call.emit("cancelled");
  link.serverGone = true;
  link.call.end();
  tidy(world);
}

function tidy(world: World): void {
  world.links = world.links.filter((link) => !(link.clientGone && link.serverGone));
}

/** Moves one message towards the server; false when there was none. */
export async function deliverToServer(world: World, link: Link): Promise<boolean> {
  if (link.serverGone) link.toServer.length = 0;
  const message = link.toServer.shift();
  if (message === undefined) return false;
  const { server } = world;
  const proxy = world.proxies[link.proxy];
  if (world.trace !== undefined)
    world.trace(`${labelOf(world, link)} -> ${message === "fin" ? "end" : message.words()}`);
  if (message === "fin" || server === undefined || proxy === undefined) closeAtServer(world, link);
  else if (link.stream === undefined && !admits(world, server, link, proxy)) {
    closeAtServer(world, link);
    hangUp(world, link.connection, true);
  } else {
    const { names = [], refused } = message.verdict ?? {};
    if (link.connection.consumer === "envoy" && link.call.open)
      for (const name of names)
        if (refused) proxy.refused.set(name, { noted: false });
        else proxy.refused.delete(name);
    link.call.emit("data", message.bytes);
    if (link.connection.consumer === "envoy" && link.reporting) proxy.cameBack = true;
  }
  await world.settle("a request");
  return true;
}

function labelOf(world: World, link: Link): string {
  const name = world.proxies[link.proxy]?.identity.serviceAccount ?? "?";
  return link.connection.consumer === "agent" ? `${name}'s agent` : name;
}

/**
 * A handshake, if this is the connection's first stream, and a new stream. C5: neither fails for a proxy that counts; one
 * with stale credentials gets new ones from an operator.
 */
function admits(world: World, server: Server, link: Link, proxy: MeshProxy): boolean {
  const { connection } = link;
  // Its client has given up on this one.
  if (connection.openedAt === undefined && world.now > connection.begunAt + CONNECT_TIMEOUT_MS) return false;
  const why =
    connection.openedAt === undefined ? refusal(connection.held, server.controller.trust, world.now) : undefined;
  if (why === undefined && server.accept(link, proxy.identity)) return true;
  // On a connection that is being closed, or by a client that has left, no new stream is missed.
  if (why === undefined || link.clientGone) return false;
  world.trace?.(`${labelOf(world, link)} is refused: ${why}`);
  if (why !== "expired") checkRefused(world, proxy, why, connection.held.leaf.root);
  proxy.retryAt.set(connection.consumer, world.now + BACK_OFF_MS);
  world.bootstrap(proxy);
  return false;
}

export async function deliverToClient(world: World, link: Link): Promise<boolean> {
  if (link.clientGone) {
    link.call.toClient.length = 0;
    return false;
  }
  const message = link.call.toClient.shift();
  if (message === undefined) return false;
  const proxy = world.proxies[link.proxy];
  if (message === "fin" || proxy === undefined) {
    link.clientGone = true;
    proxy?.agent?.hangUp(link);
    // The socket follows the streams that end on it (C4).
    if (link.connection.retired) sendAway(world, link.connection, proxy);
    tidy(world);
    return true;
  }
  const response = link.decode(message);
  if (world.trace !== undefined) world.trace(`${labelOf(world, link)} <- ${link.show(response)}`);
  if (link.connection.consumer === "agent") {
    if (proxy.agent?.take(link, response)) proxy.agent.answer();
    else hangUp(world, link.connection, true);
  } else {
    // A configuration is of the day on which it is first used: what comes later, only its operator can answer for.
    if (!proxy.envoy.stored.has(OWN_BUNDLE)) world.matchFormsOfNow(proxy);
    let error: string | undefined;
    for (const resource of response.resources) {
      const version = link.variant === "delta" ? resource.version : response.version;
      error ??= proxy.envoy.take(version, resource.any, link.names, world.now);
    }
    for (const name of response.removed) proxy.envoy.remove(name);
    link.answer(response, error);
    checkNames(world, proxy);
  }
  world.check(`proxy ${proxy.index} took a response`);
  return true;
}
