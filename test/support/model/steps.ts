/** The steps that a history is made of. Each is a word and two numbers, so that fast-check can make and shrink them. */

import { ROLES } from "../../../src/core/roots/mesh-root.ts";
import { days, forget, gone, goneThough, longTime, operator, setLag, setOnline, sleepThrough } from "./absences.ts";
import { OWN } from "./envoy.ts";
import type { Link } from "./link.ts";
import type { MeshProxy } from "./proxy.ts";
import { forward, legalEdit, pick } from "./roles.ts";
import { deliverToClient, deliverToServer, hangUp, hangUpAll, leave, reap } from "./wires.ts";
import type { World } from "./world.ts";

export type Step = readonly [word: StepName, a: number, b: number];

export const STEPS = {
  forward: (world) => forward(world),
  edit: (world, a) => legalEdit(world, a),
  wrongEdit: (world, a, b) => {
    const root = pick(world.roots, a);
    const role = pick(ROLES, b);
    if (root && role) world.setRoots(world.roots.map((other) => (other === root ? { ...root, role } : other)));
  },
  second: (world) => world.pass(1_000),
  settle: async (world) => {
    for (let second = 0; second < 7; second += 1) await world.pass(1_000);
  },
  halfMinute: (world) => world.pass(29_000),
  minutes: (world, a) => longTime(world, (1 + (a % 24)) * 60_000),
  hours: (world, a) => longTime(world, (1 + (a % 3)) * 30 * 60_000),
  slow: (world, a, b) => withLink(world, a, (link) => link.slowDown(b)),
  lag: (world, a, b) => withProxy(world, a, (proxy) => setLag(proxy, b)),
  dropOutbound: (world, a) => withProxy(world, a, (proxy) => world.dropOutbound(proxy)),
  addOutbound: (world, a) => withProxy(world, a, (proxy) => addOutbound(proxy)),
  toServer: (world, a) => withLink(world, a, (link) => deliverToServer(world, link)),
  toClient: (world, a) => withLink(world, a, (link) => deliverToClient(world, link)),
  cut: (world, a) => withLink(world, a, (link) => leave(world, link, true)),
  hangUp: (world, a) => withLink(world, a, (link) => hangUp(world, link.connection, true)),
  vanish: (world, a) => withLink(world, a, (link) => hangUp(world, link.connection, false)),
  reap: (world, a) => withLink(world, a, (link) => reap(world, link)),
  offline: (world, a, b) => withProxy(world, a, (proxy) => setOnline(world, proxy, false, b % 2 === 0)),
  online: (world, a) => withProxy(world, a, (proxy) => setOnline(world, proxy, true, true)),
  poison: (world, a, b) => withProxy(world, a, (proxy) => proxy.envoy.poison(1 + (b % 3))),
  mend: (world, a) => withProxy(world, a, (proxy) => proxy.envoy.mend()),
  rebuild: (world, a) => withProxy(world, a, (proxy) => proxy.envoy.rebuild(world.now)),
  restart: (world, a) => withProxy(world, a, (proxy) => die(world, proxy, true)),
  kill: (world, a) => withProxy(world, a, (proxy) => die(world, proxy, false)),
  revive: (world, a) => withProxy(world, a, (proxy) => revive(proxy)),
  forget: (world, a) => withProxy(world, a, (proxy) => forget(world, proxy)),
  gone: (world, a) => withProxy(world, a, (proxy) => gone(world, proxy)),
  goneThough: (world, a, b) => withProxy(world, a, (proxy) => goneThough(world, proxy, b)),
  days: (world, a, b) => withProxy(world, a, (proxy) => days(world, proxy, b)),
  answerFor: (world, a) => withProxy(world, a, (proxy) => answerFor(world, proxy)),
  retry: (world, a) =>
    withProxy(world, a, (proxy) => operator(world, { type: "retry", proxy: proxy.identity.uuid, at: world.now })),
  bootstrap: (world, a) => withProxy(world, a, (proxy) => world.bootstrap(proxy)),
  slowPost: (world, a, b) => withProxy(world, a, (proxy) => setPost(world, proxy, b % 2 === 0)),
  slowFiles: (world, a, b) => withProxy(world, a, (proxy) => setFiles(proxy, b % 2 === 0)),
  loadFiles: (world, a) => withProxy(world, a, (proxy) => proxy.folder.load()),
  spoilFiles: (world, a, b) => withProxy(world, a, (proxy) => spoil(proxy, 1 + (b % 2))),
  killAgent: (world, a) => withProxy(world, a, (proxy) => killAgent(world, proxy)),
  reviveAgent: (world, a) => withProxy(world, a, (proxy) => reviveAgent(proxy)),
  sleepThrough: (world, a, b) => withProxy(world, a, (proxy) => sleepThrough(world, proxy, b)),
  proxy: (world, a) => world.addProxy(a),
  replace: (world, a, b) => withProxy(world, a, (proxy) => world.replace(proxy, b)),
  ask: (world, a) => withProxy(world, a, (proxy) => world.ask(proxy)),
  holdDisk: (world) => world.state.hold(),
  diskOne: (world) => world.state.finishOne(),
  disk: (world) => world.state.release(),
  failDisk: (world, a) => world.state.fail(a % 2 === 0 ? "late" : "early"),
  slowCa: (world) => world.authority.slow(),
  failCa: (world) => world.authority.fail(),
  ca: (world) => world.authority.heal(),
  crash: (world, a, b) => {
    world.crash(a);
    return b % 3 > 0 ? world.startServer() : undefined;
  },
  start: (world) => world.startServer(),
} satisfies Record<string, (world: World, a: number, b: number) => unknown>;

export type StepName = keyof typeof STEPS;

/** How often each step is chosen. */
export const WEIGHTS: Readonly<Record<StepName, number>> = {
  forward: 10,
  edit: 4,
  wrongEdit: 1,
  second: 6,
  settle: 12,
  halfMinute: 3,
  minutes: 2,
  hours: 2,
  slow: 8,
  lag: 3,
  dropOutbound: 2,
  addOutbound: 3,
  toServer: 5,
  toClient: 5,
  cut: 2,
  hangUp: 2,
  vanish: 2,
  reap: 2,
  offline: 3,
  online: 4,
  poison: 5,
  mend: 3,
  rebuild: 2,
  restart: 2,
  kill: 1,
  revive: 2,
  forget: 1,
  gone: 1,
  goneThough: 2,
  days: 1,
  answerFor: 2,
  retry: 1,
  bootstrap: 2,
  slowPost: 1,
  slowFiles: 2,
  loadFiles: 3,
  spoilFiles: 1,
  killAgent: 2,
  reviveAgent: 2,
  sleepThrough: 2,
  proxy: 3,
  replace: 1,
  ask: 5,
  holdDisk: 2,
  diskOne: 3,
  disk: 2,
  failDisk: 2,
  slowCa: 2,
  failCa: 1,
  ca: 4,
  crash: 2,
  start: 3,
};

async function withLink(world: World, a: number, action: (link: Link) => unknown): Promise<void> {
  const link = pick(world.links, a);
  if (link !== undefined) await action(link);
}

async function withProxy(world: World, a: number, action: (proxy: MeshProxy) => unknown): Promise<void> {
  const proxy = pick(world.proxies, a);
  if (proxy !== undefined) await action(proxy);
}

function setPost(world: World, proxy: MeshProxy, slow: boolean): void {
  proxy.slowPost = slow;
  if (!slow) world.receive(proxy);
}

function setFiles(proxy: MeshProxy, slow: boolean): void {
  proxy.folder.prompt = !slow;
  if (!slow) proxy.folder.load();
}

function spoil(proxy: MeshProxy, sets: number): void {
  proxy.folder.spoiled = sets;
}

function killAgent(world: World, proxy: MeshProxy): void {
  proxy.agent?.die();
  hangUpAll(world, proxy, true, "agent");
}

function reviveAgent(proxy: MeshProxy): void {
  if (proxy.agent !== undefined) proxy.agent.alive = true;
}

/** All that hinders it is over. */
export function recover(world: World, proxy: MeshProxy): void {
  proxy.online = true;
  proxy.lag = "no";
  proxy.envoy.mend();
  if (proxy.asking > 0) proxy.asking = proxy.order.length;
  spoil(proxy, 0);
  setFiles(proxy, false);
  setPost(world, proxy, false);
  if (proxy.alive) reviveAgent(proxy);
  else killAgent(world, proxy);
}

/** Only where it is needed: one that takes our matchers alone has nothing to answer for. */
export function answerFor(world: World, proxy: MeshProxy): void {
  if (proxy.envoy.shapes[OWN] !== undefined) world.answerFor(proxy);
}

function addOutbound(proxy: MeshProxy): void {
  proxy.outbound = true;
}

function revive(proxy: MeshProxy): void {
  if (!proxy.alive) proxy.folder.start();
  proxy.alive = true;
}

function die(world: World, proxy: MeshProxy, again: boolean): void {
  hangUpAll(world, proxy, true, "envoy");
  proxy.envoy.restart();
  proxy.lost = undefined;
  if (again) proxy.folder.start();
  else proxy.folder.stop();
  proxy.asking = 1;
  proxy.alive = again;
}
