/** A server that is killed between any two writes, and started again each time; see crash-child.ts. */

import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import type { TestContext } from "node:test";
import type { Message, Orders } from "./crash-child.ts";
import type { LogLine } from "./server.ts";

/** One process of the server. */
export type Life = {
  readonly startedAt: number;
  readonly log: readonly LogLine[];
  /** Whether it has served. */
  ready: boolean;
  /** Where it was killed. */
  place?: string;
};

export type CrashingServer = {
  readonly lives: readonly Life[];
  /** Names the step of the rotation: a place that lasts counts anew in each of them. */
  phase(name: string): void;
  /** SIGKILL at this moment; returns when it has ended. */
  kill(): Promise<void>;
  /** Rejects when a process ends otherwise than by a planned crash, or when a check throws. */
  readonly failed: Promise<never>;
  stop(): Promise<void>;
};

export type CrashOptions = {
  readonly dir: string;
  /** As on the command line, in camel case; the ports too. */
  readonly flags: Readonly<Record<string, string>>;
  readonly depth: number;
  readonly only?: readonly string[];
  readonly clockSpeed: number;
  /** Called while no server runs, after a crash. */
  readonly afterCrash: () => Promise<void>;
};

const CHILD = join(import.meta.dirname, "crash-child.ts");
/** So long before the wall clock's time a quick clock begins: what it dates must not lie in the future. */
const HEAD_START_MS = 24 * 3_600_000;

/** Starts it, and starts it again after every crash until `stop`. Each place is crashed at once. */
export function startCrashingServer(t: TestContext, options: CrashOptions): CrashingServer {
  const { dir, clockSpeed, afterCrash, ...rest } = options;
  const report = join(dir, "crashed-at");
  const covered: string[] = [];
  const lives: Life[] = [];
  const at = Date.now();
  let phase = "start";
  let stopped = false;
  let killed = false;
  let running: ChildProcess | undefined;
  let spare = forkChild();
  const tell = (child: ChildProcess | undefined, message: Message) => {
    if (child?.connected) child.send(message);
  };

  const live = async (): Promise<void> => {
    const child = spare;
    spare = forkChild();
    running = child;
    const log: LogLine[] = [];
    const life: Life = { startedAt: Date.now(), log, ready: false };
    lives.push(life);
    const output = collect(child, log);
    child.once("message", () => {
      life.ready = true;
    });
    const clock = { from: clockSpeed === 1 ? at : at - HEAD_START_MS, at, speed: clockSpeed };
    const start: Orders = { ...rest, report, covered, clock, phase };
    tell(child, { start });
    const [code, signal] = (await once(child, "close")) as [number | null, NodeJS.Signals | null];
    if (stopped) return;
    const place = await readFile(report, "utf8").catch(() => undefined);
    if (signal !== "SIGKILL" || (place === undefined && !killed))
      throw new Error(`the server ended by itself (${code ?? signal}) in ${phase}:\n${output()}`);
    killed = false;
    life.place = place ?? `killed from outside in ${phase}`;
    if (place !== undefined) covered.push(place);
    await rm(report, { force: true });
    await afterCrash();
  };
  const failed = (async (): Promise<never> => {
    while (!stopped) await live();
    return new Promise(() => undefined);
  })();
  failed.catch(() => undefined);

  const stop = async () => {
    stopped = true;
    const ends = [running, spare].map(async (child) => {
      if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
      child.kill("SIGKILL");
      await once(child, "close");
    });
    await Promise.all(ends);
  };
  t.after(stop);
  return {
    lives,
    failed,
    stop,
    async kill() {
      const child = running;
      if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
      killed = true;
      child.kill("SIGKILL");
      await once(child, "close");
    },
    phase(name) {
      phase = name;
      tell(running, { phase });
    },
  };
}

function forkChild(): ChildProcess {
  return fork(CHILD, [], { execArgv: [], stdio: ["ignore", "pipe", "pipe", "ipc"] });
}

function collect(child: ChildProcess, log: LogLine[]): () => string {
  let output = "";
  let rest = "";
  child.stderr?.on("data", (chunk: Buffer) => (output += chunk.toString()));
  child.stdout?.setEncoding("utf8").on("data", (chunk: string) => {
    output += chunk;
    const lines = (rest + chunk).split("\n");
    rest = lines.pop() ?? "";
    for (const line of lines) log.push(JSON.parse(line) as LogLine);
  });
  return () => output.slice(-4_000);
}
