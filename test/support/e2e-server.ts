/** A standalone server for end-to-end tests: in this process, or as a child that can be killed. */

import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { requestBootstrap, serverStatus } from "../../src/access/admin-client.ts";
import { type Config, flagName, loadConfig, type Setting } from "../../src/config.ts";
import type { RootProofs } from "../../src/controller/root-proofs.ts";
import { createLog } from "../../src/ops/log.ts";
import type { Clock } from "../../src/ports/clock.ts";
import { serve } from "../../src/serve/serve.ts";

export type TestServer = {
  readonly xdsPort: number;
  readonly httpPort: number;
  /** All that it has logged until now. */
  logText(): string;
  stop(): Promise<void>;
};

/** As on the command line, so durations are text such as `1s`. */
export type ServerSettings = Partial<Record<Setting, string>>;

export const TEST_SETTINGS = {
  xdsPort: "0",
  httpPort: "0",
  healthPort: "0",
  settleMs: "1s",
  drainWindowMs: "0s",
  logLevel: "debug",
  logFormat: "json",
} as const satisfies ServerSettings;

function withDefaults(dataDir: string, settings: ServerSettings): [Setting, string][] {
  return Object.entries({ ...TEST_SETTINGS, ...settings, dataDir }) as [Setting, string][];
}

/** What no setting allows: shorter lives, another clock. */
export type ServerExtras = {
  readonly config?: Partial<Config>;
  readonly clock?: Clock;
  readonly proofs?: RootProofs;
};

export async function serveHere(
  dataDir: string,
  settings: ServerSettings = {},
  extras: ServerExtras = {},
): Promise<TestServer> {
  // `--settle` of a flag is `settle` of commander's options: the same names that the CLI hands over.
  const flags = Object.fromEntries(
    withDefaults(dataDir, settings).map(([setting, value]) => [setting.replace(/Ms$/, ""), value]),
  );
  const lines: string[] = [];
  const { config: more, ...options } = extras;
  const config = { ...loadConfig(flags, {}), ...more };
  const destination = { write: (line: string) => void lines.push(line) };
  const log = createLog({ level: config.logLevel, format: config.logFormat, destination });
  const server = await serve(config, log, { version: "test", ...options });
  return { xdsPort: server.xdsPort, httpPort: server.httpPort, logText: () => lines.join(""), stop: server.stop };
}

export type ChildServer = {
  /** SIGKILL; returns once it has ended. */
  kill(): Promise<void>;
  logText(): string;
};

/** `meshroot serve` as its users start it. Returns when its admin socket answers; throws with its output if it ends before. */
export async function spawnServer(dataDir: string, settings: ServerSettings): Promise<ChildServer> {
  const bin = join(import.meta.dirname, "../../bin/meshroot.js");
  const flags = withDefaults(dataDir, settings).flatMap(([setting, value]) => [flagName(setting), value]);
  const child = spawn(process.execPath, [bin, "serve", ...flags], { stdio: ["ignore", "pipe", "pipe"] });
  let output = "";
  for (const stream of [child.stdout, child.stderr]) stream.on("data", (chunk: Buffer) => (output += chunk.toString()));
  const ended = once(child, "close");
  process.once("exit", () => child.kill("SIGKILL"));
  const deadline = Date.now() + 30_000;
  while (!(await answers(dataDir))) {
    if (isOver(child) || Date.now() > deadline) {
      child.kill("SIGKILL");
      throw new Error(`meshroot serve did not start:\n${output}`);
    }
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  return {
    logText: () => output,
    kill: async () => {
      child.kill("SIGKILL");
      await ended;
    },
  };
}

function isOver(child: ChildProcess): boolean {
  return child.exitCode !== null || child.signalCode !== null;
}

async function answers(dataDir: string): Promise<boolean> {
  return (await serverStatus(dataDir).catch(() => undefined)) !== undefined;
}

/** Credentials for one proxy; throws when no server runs. */
export async function bootstrapFrom(dataDir: string, request: Parameters<typeof requestBootstrap>[1]) {
  const answer = await requestBootstrap(dataDir, request);
  if (answer === undefined) throw new Error(`no server runs on ${dataDir}`);
  return answer;
}
