/** The YAML-folder example as a user has it: a copy of the folder beside the built package, certificates as its README says. */

import { type ChildProcess, execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { cp, mkdir, readdir, readFile, symlink, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import type { TestContext } from "node:test";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { temporaryDirectory } from "./data-dir.ts";
import { eventually } from "./envoy.ts";
import { plainEnvironment } from "./product.ts";

const REPOSITORY = fileURLToPath(new URL("../../", import.meta.url));
const EXAMPLE = join(REPOSITORY, "envoy-examples", "yaml-folder");
const exec = promisify(execFile);

export type YamlFolder = {
  readonly dir: string;
  readonly port: number;
  /** What the server has said so far, on both outputs. */
  output(): string;
  /** Changes one of its files in one write; throws when nothing changes. */
  edit(file: string, change: (text: string) => string): Promise<void>;
  /** Waits until the server has said this after all that it had said when `edit` or `says` was last called. */
  says(what: RegExp): Promise<void>;
  /** SIGTERM. Returns the exit code. */
  stop(): Promise<number | null>;
  /** Starts it again, after `stop`, on the same port. */
  start(): Promise<void>;
};

/** `edit`: of the files before the server starts, by name. Stopped by the test. */
export async function startYamlFolder(
  t: TestContext,
  edit: (file: string, text: string) => string = (_, text) => text,
): Promise<YamlFolder> {
  const dir = await temporaryDirectory(t);
  await cp(EXAMPLE, dir, { recursive: true, filter: (path) => !path.includes("node_modules") });
  await install(dir);
  for (const line of await readmeCommands(/^(mkdir|openssl) /)) await exec("sh", ["-c", line], { cwd: dir });
  for (const file of await readdir(dir)) {
    if (!file.endsWith(".yaml")) continue;
    await writeFile(join(dir, file), edit(file, await readFile(join(dir, file), "utf8")));
  }

  let child: ChildProcess | undefined;
  let output = "";
  let read = 0;
  const launch = (port: number) => {
    const args = ["server.ts", "--port", String(port)];
    const env = plainEnvironment(dirname(process.execPath));
    const started = spawn(process.execPath, args, { cwd: dir, env, stdio: ["ignore", "pipe", "pipe"] });
    for (const stream of [started.stdout, started.stderr])
      stream.setEncoding("utf8").on("data", (chunk: string) => {
        output += chunk;
      });
    t.after(() => stop(started, "SIGKILL"));
    read = output.length;
    child = started;
    return says(/^listening on /m);
  };
  const says = async (what: RegExp) => {
    const from = read;
    await eventually(`the example says ${what}`, () => {
      if (child?.exitCode !== null) throw new Error("the example has ended");
      return what.test(output.slice(from));
    }).catch((error: Error) => {
      throw new Error(`${error.message}; it said:\n${output}`);
    });
    read = output.length;
  };
  await launch(0);
  const port = Number(/^listening on .*:(\d+)$/m.exec(output)?.[1]);
  return {
    dir,
    port,
    output: () => output,
    says,
    edit: async (file, change) => {
      const before = await readFile(join(dir, file), "utf8");
      const after = change(before);
      if (after === before) throw new Error(`nothing was edited in ${file}`);
      read = output.length;
      await writeFile(join(dir, file), after);
    },
    stop: async () => (child === undefined ? null : stop(child, "SIGTERM")),
    start: () => launch(port),
  };
}

/** Lines of shell in the example's README. */
async function readmeCommands(which: RegExp): Promise<string[]> {
  const readme = await readFile(join(EXAMPLE, "README.md"), "utf8");
  return readme.split("\n").filter((line) => which.test(line));
}

/** As `npm install meshroot` would, with what the example needs beside it. */
async function install(dir: string): Promise<void> {
  const modules = join(dir, "node_modules");
  const meshroot = join(modules, "meshroot");
  await mkdir(meshroot, { recursive: true });
  await cp(join(REPOSITORY, "package.json"), join(meshroot, "package.json"));
  await exec(join(REPOSITORY, "node_modules", ".bin", "tsc"), [
    ...["-p", join(REPOSITORY, "tsconfig.build.json"), "--outDir", join(meshroot, "dist")],
    ...["--sourceMap", "false", "--inlineSources", "false"],
  ]);
  await symlink(join(REPOSITORY, "node_modules"), join(meshroot, "node_modules"));
  for (const name of ["@bufbuild", "@grpc", "protobufjs", "yaml"])
    await symlink(join(REPOSITORY, "node_modules", name), join(modules, name));
}

async function stop(child: ChildProcess, signal: NodeJS.Signals): Promise<number | null> {
  if (child.exitCode === null && child.signalCode === null) {
    const ended = once(child, "exit");
    child.kill(signal);
    await ended;
  }
  return child.exitCode;
}
