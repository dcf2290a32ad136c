/** Runs the command line as a user would: in this process, which is quick, or in one of its own. */

import { type ChildProcessByStdio, spawn } from "node:child_process";
import { Readable, type Writable } from "node:stream";
import type { TestContext } from "node:test";
import { fileURLToPath } from "node:url";
import { run } from "../../src/main.ts";

const BIN = fileURLToPath(new URL("../../bin/meshroot.js", import.meta.url));

export type Finished = { readonly code: number | null; readonly stdout: string; readonly stderr: string };

type Environment = Readonly<Record<string, string>>;
type Options = { readonly input?: string; readonly env?: Environment };

/**
 * In this process, on the real stores, with all that `main` does but to give it the process's own streams, environment and
 * signals. It never hears a signal.
 */
export async function runMeshroot(args: readonly string[], options: Options = {}): Promise<Finished> {
  const output = { stdout: "", stderr: "" };
  const stderr = (text: string) => {
    output.stderr += text;
  };
  const code = await run(args, {
    stdout: (text) => {
      output.stdout += text;
    },
    stderr,
    env: environment(options.env),
    logDestination: { write: stderr },
    untilSignal: () => new Promise(() => undefined),
    stdin: Readable.from([Buffer.from(options.input ?? "")]),
  });
  return { code, ...output };
}

/** `bin/meshroot.js` in a process of its own. `test/cli/process.test.ts` shows that it says and does the same. */
export async function spawnMeshroot(args: readonly string[], options: Options = {}): Promise<Finished> {
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

/** A process for a command that runs until it is told to end; killed with the test if it still runs then. */
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
  const child: ChildProcessByStdio<Writable, Readable, Readable> = spawn(process.execPath, [BIN, ...args], {
    env: environment(env),
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

/** Settings of whoever runs the tests are not theirs. */
function environment(more: Environment = {}): NodeJS.ProcessEnv {
  const inherited = Object.entries(process.env).filter(([name]) => !name.startsWith("MESHROOT_"));
  return { ...Object.fromEntries(inherited), ...more };
}
