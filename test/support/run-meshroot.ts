/** Runs the real command line in a process of its own, as a user would. */

import { spawn } from "node:child_process";
import { fileURLToPath } from "node:url";

const BIN = fileURLToPath(new URL("../../bin/meshroot.js", import.meta.url));

export type Finished = { readonly code: number | null; readonly stdout: string; readonly stderr: string };

export async function runMeshroot(
  args: readonly string[],
  options: { readonly input?: string; readonly env?: Readonly<Record<string, string>> } = {},
): Promise<Finished> {
  const inherited = Object.entries(process.env).filter(([name]) => !name.startsWith("MESHROOT_"));
  const child = spawn(process.execPath, [BIN, ...args], { env: { ...Object.fromEntries(inherited), ...options.env } });
  child.stdin.end(options.input ?? "");
  const output = { stdout: "", stderr: "" };
  child.stdout.setEncoding("utf8").on("data", (chunk) => {
    output.stdout += chunk;
  });
  child.stderr.setEncoding("utf8").on("data", (chunk) => {
    output.stderr += chunk;
  });
  return new Promise((resolve, reject) => {
    child.on("error", reject).on("close", (code) => resolve({ code, ...output }));
  });
}
