/** Composition root: gives the commands the real stores, clock and streams. */

import { createReadStream, readFileSync } from "node:fs";
import { openMesh } from "./access/open-mesh.ts";
import type { CliContext } from "./cli/context.ts";
import { runCli } from "./cli/program.ts";
import { untilSignal } from "./cli/until-signal.ts";
import { MeshrootError } from "./core/errors.ts";
import { readAtMost } from "./runtime/read-at-most.ts";
import { decodeText, MAX_FILE_BYTES } from "./runtime/read-text.ts";

/** What commands share with the process that they run in. */
export type Surroundings = Pick<CliContext, "stdout" | "stderr" | "env" | "logDestination" | "untilSignal"> & {
  readonly stdin: AsyncIterable<Buffer>;
};

/** Runs the command line (without `node` and script name); sets the exit code of the process. */
export async function main(argv: readonly string[]): Promise<void> {
  // A reader that has seen enough (`| head`) is no error.
  process.stdout.on("error", (error: NodeJS.ErrnoException) => {
    if (error.code !== "EPIPE") throw error;
  });
  process.exitCode = await run(argv, {
    stdout: (text) => void process.stdout.write(text),
    stderr: (text) => void process.stderr.write(text),
    env: process.env,
    logDestination: undefined,
    untilSignal,
    stdin: process.stdin,
  });
}

/** Runs one command line on the real stores, anywhere; returns its exit code. */
export function run(argv: readonly string[], { stdin, ...surroundings }: Surroundings): Promise<number> {
  return runCli(argv, {
    ...surroundings,
    version: packageVersion(),
    now: Date.now,
    readInput: (path) => readInput(path, stdin),
    openMesh: (at) => openMesh(at, surroundings.env),
  });
}

/** From src/ as well as from dist/, the package is one directory up. */
function packageVersion(): string {
  const manifest = JSON.parse(readFileSync(new URL("../package.json", import.meta.url), "utf8")) as { version: string };
  return manifest.version;
}

async function readInput(path: string, stdin: AsyncIterable<Buffer>): Promise<string> {
  try {
    // Also from pipes, which have no size to look at: `-f <(kubectl get mrc -o yaml)`.
    const stream: AsyncIterable<Buffer> = path === "-" ? stdin : createReadStream(path);
    return decodeText(await readAtMost(stream, MAX_FILE_BYTES, `it is larger than ${MAX_FILE_BYTES / 1024} KiB`));
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error);
    throw new MeshrootError("MR5005", `can't read ${path}: ${message}`, "Check the path given with -f.", error);
  }
}
