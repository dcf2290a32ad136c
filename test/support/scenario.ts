/**
 * Runs the transcripts of test/scenarios: operators' words in, what they would see out, with the real controller and
 * simulated proxies in between. A block prints the lines of the status that it changed; `show-wire` adds the messages.
 */

import { syncState } from "../../src/core/evidence/ledger-queries.ts";
import type { MeshRoot, Role } from "../../src/core/roots/mesh-root.ts";
import type { MeshProxy } from "./model/proxy.ts";
import { hangUpAll, reap } from "./model/wires.ts";
import { World } from "./model/world.ts";
import { root } from "./roots.ts";

export type Block = { readonly comments: string; readonly commands: readonly string[]; readonly output: string };

/** Blocks are `command`s, `----`, output, an empty line. Lines with # in front are for the reader. */
export function parseTranscript(text: string): Block[] {
  return text
    .trim()
    .split(/\n\n+/)
    .map((block) => {
      const [head = "", output = ""] = block.split(/^----\n?/m);
      const lines = head.split("\n").filter((line) => line !== "");
      const isComment = (line: string) => line.startsWith("#");
      return {
        comments: lines.filter(isComment).join("\n"),
        commands: lines.filter((line) => !isComment(line)),
        output: output.trimEnd(),
      };
    });
}

export function printTranscript(blocks: readonly Block[]): string {
  return `${blocks
    .map(({ comments, commands, output }) =>
      [comments, ...commands, ...(commands.length === 0 ? [] : ["----", output])]
        .filter((part) => part !== "")
        .join("\n"),
    )
    .join("\n\n")}\n`;
}

/** Runs the commands of all blocks in one mesh; returns the blocks with what was really printed. */
export async function playTranscript(blocks: readonly Block[]): Promise<Block[]> {
  const world = new World(false);
  world.roots = [];
  const leave = world.turns.install();
  try {
    const played: Block[] = [];
    let before = new Map<string, string>();
    const wire: string[] = [];
    for (const block of blocks) {
      wire.length = 0;
      const shows = block.commands.includes("show-wire");
      world.trace = shows ? (line) => void (line.startsWith("TRUST") || wire.push(line)) : undefined;
      for (const command of block.commands) await obey(world, command.split(/\s+/));
      const now = status(world);
      const changed = [...now].filter(([key, line]) => before.get(key) !== line).map(([, line]) => line);
      const gone = [...before.keys()].filter((key) => !now.has(key)).map((key) => `${key}: gone`);
      before = now;
      played.push({ ...block, output: [...wire, ...changed, ...gone].join("\n") || "nothing changes" });
    }
    return played;
  } finally {
    leave();
  }
}

type Command = (world: World, args: readonly string[]) => unknown;

const COMMANDS: Readonly<Record<string, Command>> = {
  roots: (world, args) => setRoots(world, args),
  proxy: (world, [name = "", ...how]) => addProxy(world, name, how),
  wait: (world, [time = ""]) => wait(world, time),
  "hold-answers": (world, [name]) => slow(world, name, "answers"),
  answer: (world, [name]) => slow(world, name, "no"),
  refuse: (world, [name, count = "1"]) => find(world, name).envoy.poison(Number(count)),
  mend: (world, [name]) => find(world, name).envoy.mend(),
  offline: (world, [name]) => disconnect(world, name),
  online: (world, [name]) => {
    find(world, name).online = true;
  },
  stop: (world, [name]) => {
    disconnect(world, name);
    find(world, name).alive = false;
    find(world, name).envoy.restart();
    find(world, name).folder.stop();
  },
  revive: (world, [name]) => {
    find(world, name).online = true;
    find(world, name).alive = true;
    find(world, name).folder.start();
  },
  forget: (world, [name, ...reason]) => operator(world, "forget", name, reason),
  assume: (world, [name, ...reason]) => operator(world, "assume", name, reason),
  retry: (world, [name, ...reason]) => operator(world, "retry", name, reason),
  "show-wire": () => undefined,
  crash: (world) => world.crash(0),
  start: (world) => world.startServer(),
  "hold-disk": (world) => world.state.hold(),
  disk: (world) => world.state.release(),
  "fail-disk": (world) => world.state.fail("late"),
};

async function obey(world: World, [word = "", ...args]: readonly string[]): Promise<void> {
  const command = COMMANDS[word];
  if (command === undefined) throw new Error(`no command ${word}; there are ${Object.keys(COMMANDS).join(", ")}`);
  await command(world, args);
  await world.pump();
}

function find(world: World, name: string | undefined): MeshProxy {
  const proxy = world.proxies.find((one) => one.identity.serviceAccount === name);
  if (proxy === undefined) throw new Error(`no proxy ${name}`);
  return proxy;
}

async function setRoots(world: World, args: readonly string[]): Promise<void> {
  const roots = args.map((arg): MeshRoot => {
    const [name = "", role = ""] = arg.split("=");
    return root(name, role as Role, { createdAt: name.charCodeAt(0) });
  });
  world.setRoots(roots);
  await world.startServer();
}

function addProxy(world: World, name: string, how: readonly string[]): void {
  const style =
    (how.includes("delta") ? 1 : 0) + (how.includes("ads") ? 2 : 0) + (how.includes("two-contexts") ? 4 : 0);
  world.addProxy(style, name, how.includes("leaf-only"));
  const proxy = find(world, name);
  proxy.asking = proxy.order.length;
}

const UNITS: Readonly<Record<string, number>> = { s: 1_000, m: 60_000, h: 3_600_000 };

/** Second by second while seconds matter, then in minutes. */
async function wait(world: World, time: string): Promise<void> {
  let left = Number(time.slice(0, -1)) * (UNITS[time.slice(-1)] ?? 0);
  while (left > 0) {
    const leap = Math.min(left, left > 60_000 ? 60_000 : 1_000);
    await world.pass(leap);
    left -= leap;
  }
}

function slow(world: World, name: string | undefined, how: "answers" | "no"): void {
  const proxy = find(world, name);
  proxy.lag = how;
  for (const link of world.links) if (link.proxy === proxy.index) link.slow = how;
}

function disconnect(world: World, name: string | undefined): void {
  const proxy = find(world, name);
  proxy.online = false;
  hangUpAll(world, proxy, false);
  for (const link of world.links.filter((one) => one.proxy === proxy.index)) reap(world, link);
}

function operator(
  world: World,
  type: "forget" | "assume" | "retry",
  name: string | undefined,
  reason: readonly string[],
): void {
  const proxy = find(world, name).identity.uuid;
  world.server?.controller.observe({ type, proxy, reason: reason.join(" "), at: world.now });
}

/** What `meshroot status` would say, and what each Envoy really runs. */
function status(world: World): Map<string, string> {
  const lines = new Map<string, string>();
  const { server } = world;
  if (server === undefined) lines.set("server", "server: down");
  else {
    const { trust, holds } = server.controller;
    const name = (id: string) => trust.roots[id]?.name ?? id;
    lines.set(
      "server",
      `generation ${trust.generation}  signer ${name(trust.signer)}  trusted ${trust.mesh.map(name).join(",")}`,
    );
    for (const hold of holds.filter(({ gate }) => gate !== "bootstrap" && gate !== "xdsControlPlane")) {
      const details = hold.waitingFor.map(({ identity, detail }) => `\n  ${identity}: ${detail}`);
      lines.set(`hold ${hold.wants}`, `hold ${hold.wants}: ${hold.message}${details.join("")}`);
    }
  }
  for (const proxy of world.proxies) {
    const { uuid, serviceAccount } = proxy.identity;
    const row = server?.controller.ledger.proxies.get(uuid);
    const state = row && server && syncState(row, (name, consumer) => server.secrets.wanted(uuid, name, consumer));
    lines.set(serviceAccount, `${serviceAccount}  ${state ?? "unknown"}  ${running(world, proxy)}`);
  }
  return lines;
}

function running(world: World, proxy: MeshProxy): string {
  if (!proxy.alive) return "stopped";
  const context = proxy.envoy.live("inbound");
  if (context === undefined) {
    const names = [...proxy.envoy.stored.keys()];
    return names.length === 0 ? "runs nothing" : `runs nothing, has ${names.join(",")}`;
  }
  const short = (fingerprint: string) => fingerprint.replace(/-ca#\d+$/, "");
  const expired = context.leaf.notAfter <= world.now ? " (expired)" : "";
  return `leaf ${short(context.leaf.root)}${expired}  trusts ${context.bundle.roots.map(short).toSorted().join(",")}`;
}
