/** Random histories: made of steps, run from a seed, ended by a calm in which the mesh must come to what is desired. */

import { createHash } from "node:crypto";
import { syncState } from "../../../src/core/evidence/ledger-queries.ts";
import fc from "../property.ts";
import { forget, forgetDeparted } from "./absences.ts";
import { Breach } from "./checks.ts";
import type { MeshProxy } from "./proxy.ts";
import { answerFor, recover, STEPS, type Step, type StepName, WEIGHTS } from "./steps.ts";
import { reap } from "./wires.ts";
import { World } from "./world.ts";

export type History = {
  readonly varied: boolean;
  readonly proxies: readonly number[];
  readonly steps: readonly Step[];
};

/** Longer than what a gate settles for. */
const SETTLED_MS = 6_000;

const number = fc.nat(255);

/**
 * What takes a few kinds of steps, each often, is rare among all kinds: so a history is made of all of them, or of what one of
 * these draws has left, which is about a half. What moves a rotation is always there.
 */
const DRAWS = 63;
const ALWAYS: readonly StepName[] = ["forward", "edit", "settle", "second", "ask"];

function stepOf(draw: number): fc.Arbitrary<Step> {
  const names = Object.keys(WEIGHTS) as StepName[];
  const coins = createHash("sha256").update(`draw ${draw}`).digest();
  const isLeft = (name: StepName, index: number) =>
    ALWAYS.includes(name) || ((coins[index % coins.length] ?? 0) & (index < coins.length ? 1 : 2)) > 0;
  const left = draw === 0 ? names : names.filter(isLeft);
  const word = fc.oneof(...left.map((name) => ({ weight: WEIGHTS[name], arbitrary: fc.constant(name) })));
  return fc.tuple(word, number, number);
}

const steps = Array.from({ length: DRAWS + 1 }, (_, draw) => ({
  weight: draw === 0 ? DRAWS : 1,
  arbitrary: fc.array(stepOf(draw), { minLength: 8, maxLength: 60, size: "max" }),
}));

export const histories: fc.Arbitrary<History> = fc.record({
  varied: fc.boolean(),
  proxies: fc.array(number, { minLength: 2, maxLength: 3 }),
  steps: fc.oneof(...steps),
});

/** Runs one history; throws `Breach` at the first moment at which something is wrong. */
export async function runHistory(history: History, trace?: (line: string) => void): Promise<World> {
  const world = new World(history.varied);
  world.trace = trace;
  const leave = world.turns.install();
  try {
    await world.startServer();
    for (const style of history.proxies) world.addProxy(style);
    for (const proxy of world.proxies) world.ask(proxy);
    await world.pump();
    for (const [name, a, b] of history.steps) {
      trace?.(`--- ${name} ${a} ${b} (t+${world.now - Date.UTC(2026, 0, 1)} ms)`);
      await STEPS[name](world, a, b);
      await world.pump();
    }
    if (process.env.MESHROOT_CHECK === "traffic") return world;
    trace?.("--- calm");
    await calm(world);
    return world;
  } finally {
    leave();
  }
}

/** The storm is over: what is desired must come about, everyone be SYNCED, and then nothing move any more. */
async function calm(world: World): Promise<void> {
  world.state.release();
  world.authority.heal();
  if (world.roots.length === 0) world.addRoot("active");
  if (world.roots.filter((root) => root.role === "active").length !== 1 || inUse(world).length > 2) {
    const signer = world.roots.find((root) => root.role === "active") ?? world.roots[0];
    world.setRoots(world.roots.map((root) => ({ ...root, role: root === signer ? "active" : "inactive" })));
  }
  await world.startServer();
  for (const link of [...world.links]) {
    link.slow = "no";
    reap(world, link);
  }
  for (const proxy of world.proxies) {
    recover(world, proxy);
    forget(world, proxy);
  }
  let why: string | undefined = "not looked at";
  for (let round = 0; round < 80 && why !== undefined; round += 1) {
    await world.pass(round < 8 ? SETTLED_MS : 60_000);
    for (const proxy of world.proxies) {
      forget(world, proxy);
      if (isHeldFor(world, proxy)) world.bootstrap(proxy);
      if (isUnproven(world, proxy)) answerFor(world, proxy);
    }
    forgetDeparted(world);
    why = unfinished(world);
  }
  if (why !== undefined) throw new Breach(`comes to rest: ${why}`);
  const trust = world.server?.controller.trust;
  for (let again = 0; again < 3; again += 1) await world.pass(1_000);
  const still = unfinished(world);
  if (still !== undefined) throw new Breach(`stays at rest: ${still}`);
  if (trust?.mesh !== world.server?.controller.trust.mesh || trust?.signer !== world.server?.controller.trust.signer)
    throw new Breach("replanning is a fixed point");
}

/** The xDS port waits for this proxy, and no agent can help: an operator has to. */
function isHeldFor(world: World, proxy: MeshProxy): boolean {
  const row = world.server?.controller.ledger.proxies.get(proxy.identity.uuid);
  if (!proxy.alive || (proxy.agent !== undefined && row?.issued.length === 0)) return false;
  const holds = world.server?.controller.holds ?? [];
  return holds.some(
    ({ gate, waitingFor }) =>
      (gate === "xdsControlPlane" || gate === "bootstrap") &&
      waitingFor.some((one) => one.proxy === proxy.identity.uuid),
  );
}

/** The signer waits for what nobody but its operator can know (E8). */
function isUnproven(world: World, proxy: MeshProxy): boolean {
  const holds = world.server?.controller.holds ?? [];
  return holds.some(
    ({ reason, waitingFor }) =>
      reason === "TrustNotOursToProve" && waitingFor.some((one) => one.proxy === proxy.identity.uuid),
  );
}

function inUse(world: World) {
  return world.roots.filter((root) => root.role !== "inactive");
}

function unfinished(world: World): string | undefined {
  const { server } = world;
  if (server === undefined) return "no server";
  const { trust, holds, ledger } = server.controller;
  const [hold] = holds;
  if (hold !== undefined)
    return `held: ${hold.wants}: ${hold.reason}: ${hold.message} ${hold.waitingFor.map(({ detail }) => detail)}`;
  const names = (ids: readonly string[]) => ids.map((id) => trust.roots[id]?.name ?? id).sort();
  const signer = world.roots.find((root) => root.role === "active")?.name;
  if (names([trust.signer])[0] !== signer) return `the signer is ${names([trust.signer])}, not ${signer}`;
  const desired = inUse(world).map((root) => root.name);
  if (names(trust.mesh).join() !== desired.sort().join()) return `trusted are ${names(trust.mesh)}, not ${desired}`;
  if (trust.xds.some((id) => !trust.mesh.includes(id))) return "a root that has left the mesh is still on the xDS port";
  for (const proxy of world.proxies) {
    if (!proxy.alive || proxy.asking === 0) continue;
    const { uuid } = proxy.identity;
    const row = ledger.proxies.get(uuid);
    const state = row && syncState(row, (name, consumer) => server.secrets.wanted(uuid, name, consumer));
    if (state !== "SYNCED") return `proxy ${proxy.index} is ${state}`;
  }
  return undefined;
}
