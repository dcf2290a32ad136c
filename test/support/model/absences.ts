/** Proxies that are out of reach for a while, or for ever, and what operators say of them. */

import { isConnected } from "../../../src/core/evidence/ledger-queries.ts";
import { lose } from "./losses.ts";
import type { MeshProxy } from "./proxy.ts";
import { forward } from "./roles.ts";
import { hangUpAll, reap } from "./wires.ts";
import type { World } from "./world.ts";

/** Envoy's back-off, TCP and keepalive end within a minute what a history may leave half done. */
export async function longTime(world: World, ms: number): Promise<void> {
  world.state.release();
  for (const link of [...world.links]) {
    link.slow = "no";
    reap(world, link);
  }
  for (const proxy of world.proxies) {
    proxy.lag = "no";
    if (proxy.asking > 0) proxy.asking = proxy.order.length;
  }
  await world.pump();
  await world.pass(ms);
}

export function setOnline(world: World, proxy: MeshProxy, online: boolean, told: boolean): void {
  proxy.online = online;
  if (!online) hangUpAll(world, proxy, told);
}

export function setLag(proxy: MeshProxy, how: number): void {
  proxy.lag = (["answers", "both", "no"] as const)[how % 3] ?? "no";
}

/** A machine is suspended while the mesh rotates, for longer than its leaf lives, and wakes up with what it had. */
export async function sleepThrough(world: World, proxy: MeshProxy, how: number): Promise<void> {
  setOnline(world, proxy, false, true);
  for (let edit = how % 5; edit >= 0; edit -= 1) {
    forward(world);
    for (let second = 0; second < 7; second += 1) await world.pass(1_000);
  }
  for (let part = 0; part < 2; part += 1) await longTime(world, 35 * 60_000);
  setLag(proxy, Math.floor(how / 5));
  setOnline(world, proxy, true, true);
}

/** Its leaf expires, and then its credentials, and its row leaves the ledger; then it is there again, with what it had. */
export async function days(world: World, proxy: MeshProxy, how: number): Promise<void> {
  setOnline(world, proxy, false, true);
  for (let edit = how % 5; edit >= 0; edit -= 1) {
    forward(world);
    for (let second = 0; second < 7; second += 1) await world.pass(1_000);
  }
  for (let part = 0; part < 28; part += 1) await longTime(world, 30 * 60_000);
  setLag(proxy, Math.floor(how / 5));
  setOnline(world, proxy, true, true);
}

/** `forget --gone`, right or wrong. */
export function gone(world: World, proxy: MeshProxy): void {
  const { uuid } = proxy.identity;
  const row = world.server?.controller.ledger.proxies.get(uuid);
  if (row === undefined || isConnected(row)) return;
  operator(world, { type: "retire", proxy: uuid, at: world.now });
  lose(proxy, proxy.alive);
}

/** An operator takes a proxy that is out of reach for gone; sooner or later it is there again. */
export async function goneThough(world: World, proxy: MeshProxy, how: number): Promise<void> {
  setOnline(world, proxy, false, true);
  await world.pump();
  gone(world, proxy);
  for (let edit = how % 3; edit > 0; edit -= 1) {
    forward(world);
    for (let second = 0; second < 7; second += 1) await world.pass(1_000);
  }
  if (how % 4 === 0) for (let part = 0; part < 2; part += 1) await longTime(world, 35 * 60_000);
  setLag(proxy, Math.floor(how / 12));
  setOnline(world, proxy, true, true);
}

/** Only of a process that is gone: E13 warns of the rest. */
export function forget(world: World, proxy: MeshProxy): void {
  if (!proxy.alive)
    operator(world, { type: "forget", proxy: proxy.identity.uuid, reason: "its process is gone", at: world.now });
}

/** Of those that departed: who never had a leaf can't stop counting by itself where it may have one from elsewhere (E13). */
export function forgetDeparted(world: World): void {
  for (const proxy of world.departed) {
    const row = world.server?.controller.ledger.proxies.get(proxy);
    if (row !== undefined && !row.hadLeaf && row.forgotten === undefined)
      operator(world, { type: "forget", proxy, reason: "its process is gone", at: world.now });
  }
}

export function operator(
  world: World,
  event: Parameters<NonNullable<World["server"]>["controller"]["observe"]>[0],
): void {
  world.server?.controller.observe(event);
}
