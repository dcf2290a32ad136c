/** The steps that a history is made of. Each is a word and two numbers, so that fast-check can make and shrink them. */

import { type MeshRoot, ROLES } from "../../../src/core/roots/mesh-root.ts";
import { checkCreate, checkDelete, checkUpdate } from "../../../src/core/roots/mesh-root-rules.ts";
import { OWN } from "./envoy.ts";
import type { Link } from "./link.ts";
import type { MeshProxy } from "./proxy.ts";
import { deliverToClient, deliverToServer, hangUp, hangUpAll, leave, reap } from "./wires.ts";
import type { World } from "./world.ts";

const NAMESPACE = "osm-system";

export type Step = readonly [word: StepName, a: number, b: number];

function pick<Value>(list: readonly Value[], number: number): Value | undefined {
  return list[number % Math.max(1, list.length)];
}

/** A role edit that the API would accept: a walk through the step table, forward or back. */
function legalEdit(world: World, a: number): void {
  const { roots } = world;
  const edits: (() => void)[] = [];
  for (const root of roots) {
    for (const role of ROLES) {
      const after: MeshRoot = { ...root, role };
      if (role === root.role || checkUpdate(roots, root, after, NAMESPACE)) continue;
      edits.push(() => world.setRoots(roots.map((other) => (other === root ? after : other))));
    }
    if (checkDelete(roots, root, NAMESPACE) === undefined)
      edits.push(() => world.setRoots(roots.filter((other) => other !== root)));
  }
  if (roots.length < 4) {
    const passive: MeshRoot = { ...(roots[0] as MeshRoot), name: "probe", role: "passive", provider: PROBE };
    if (roots.length > 0 && checkCreate(roots, passive, NAMESPACE) === undefined)
      edits.push(() => world.addRoot("passive"));
  }
  pick(edits, a)?.();
}

const PROBE = { kind: "tresor", secretRef: { name: "probe", namespace: NAMESPACE } } as const;

/** Straight on to the next row of the step table, so that many histories get through a rotation. */
function forward(world: World): void {
  const used = world.roots.filter((root) => root.role !== "inactive");
  const [older, newer] = used;
  const become = (root: MeshRoot, role: MeshRoot["role"]) =>
    world.setRoots(world.roots.map((other) => (other === root ? { ...root, role } : other)));
  if (older === undefined) return;
  if (newer === undefined) {
    const gone = world.roots.find((root) => root.role === "inactive");
    if (gone !== undefined) world.setRoots(world.roots.filter((root) => root !== gone));
    else world.addRoot("passive");
  } else if (older.role === "active" && newer.role === "passive") become(newer, "active");
  else if (older.role === "active" && newer.role === "active") become(older, "passive");
  else if (older.role === "passive") become(older, "inactive");
}

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

/** Envoy's back-off, TCP and keepalive end within a minute what a history may leave half done. */
async function longTime(world: World, ms: number): Promise<void> {
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

function setOnline(world: World, proxy: MeshProxy, online: boolean, told: boolean): void {
  proxy.online = online;
  if (!online) hangUpAll(world, proxy, told);
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

function setLag(proxy: MeshProxy, how: number): void {
  proxy.lag = (["answers", "both", "no"] as const)[how % 3] ?? "no";
}

function addOutbound(proxy: MeshProxy): void {
  proxy.outbound = true;
}

function revive(proxy: MeshProxy): void {
  if (!proxy.alive) proxy.folder.start();
  proxy.alive = true;
}

/** A machine is suspended while the mesh rotates, for longer than its leaf lives, and wakes up with what it had. */
async function sleepThrough(world: World, proxy: MeshProxy, how: number): Promise<void> {
  setOnline(world, proxy, false, true);
  for (let edit = how % 5; edit >= 0; edit -= 1) {
    forward(world);
    for (let second = 0; second < 7; second += 1) await world.pass(1_000);
  }
  for (let part = 0; part < 2; part += 1) await longTime(world, 35 * 60_000);
  setLag(proxy, Math.floor(how / 5));
  setOnline(world, proxy, true, true);
}

function die(world: World, proxy: MeshProxy, again: boolean): void {
  hangUpAll(world, proxy, true, "envoy");
  proxy.envoy.restart();
  if (again) proxy.folder.start();
  else proxy.folder.stop();
  proxy.asking = 1;
  proxy.alive = again;
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

function operator(world: World, event: Parameters<NonNullable<World["server"]>["controller"]["observe"]>[0]): void {
  world.server?.controller.observe(event);
}
