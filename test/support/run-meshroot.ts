/** Runs the real command line in a process of its own, as a user would. */

import { type ChildProcessByStdio, spawn } from "node:child_process";
import type { Readable, Writable } from "node:stream";
import type { TestContext } from "node:test";
import { fileURLToPath } from "node:url";

const BIN = fileURLToPath(new URL("../../bin/meshroot.js", import.meta.url));

export type Finished = { readonly code: number | null; readonly stdout: string; readonly stderr: string };

type Environment = Readonly<Record<string, string>>;

export async function runMeshroot(
  args: readonly string[],
  options: { readonly input?: string; readonly env?: Environment } = {},
): Promise<Finished> {
  const { child, finished } = launch(args, options.env);
  child.stdin.end(options.input ?? "");
  return finished;
}

export type StartedMeshroot = {
  /** So far. */
  readonly output: { readonly stdout: string; readonly stderr: string };
  signal(name: NodeJS.Signals): void;
  readonly finished: Promise<Finished>;
};

/** For a command that runs until it is told to end; killed with the test if it still runs then. */
export function startMeshroot(t: TestContext, args: readonly string[], env?: Environment): StartedMeshroot {
  const { child, output, finished } = launch(args, env);
  child.stdin.end();
  t.after(() => {
    child.kill("SIGKILL");
    return finished;
  });
  return { output, signal: (name) => void child.kill(name), finished };
}

function launch(args: readonly string[], env: Environment = {}) {
  const inherited = Object.entries(process.env).filter(([name]) => !name.startsWith("MESHROOT_"));
  const child: ChildProcessByStdio<Writable, Readable, Readable> = spawn(process.execPath, [BIN, ...args], {
    env: { ...Object.fromEntries(inherited), ...env },
    stdio: "pipe",
  });
  const output = { stdout: "", stderr: "" };
  child.stdout.setEncoding("utf8").on("data", (chunk) => {
    output.stdout += chunk;
  });
  child.stderr.setEncoding("utf8").on("data", (chunk) => {
    output.stderr += chunk;
  });
  const finished = new Promise<Finished>((resolve, reject) => {
    child.on("error", reject).on("close", (code) => resolve({ code, ...output }));
  });
  return { child, output, finished };
}
