/** Reads a Dockerfile, and plays its stages as folders on this machine. As much of the format as ours uses. */

import { execFile } from "node:child_process";
import { lstat, mkdir } from "node:fs/promises";
import { basename, dirname, join, resolve } from "node:path";
import { promisify } from "node:util";

export type Instruction = {
  readonly name: string;
  readonly value: string;
  readonly flags: Readonly<Record<string, string>>;
};
export type Stage = {
  readonly image: string;
  readonly alias: string | undefined;
  readonly instructions: readonly Instruction[];
};

export function parseDockerfile(text: string): Stage[] {
  const stages: { image: string; alias: string | undefined; instructions: Instruction[] }[] = [];
  for (const line of text.replaceAll(/\\\n/g, " ").split("\n")) {
    if (line.trim() === "" || line.startsWith("#")) continue;
    const [, name = "", flagText = "", value = ""] = /^([A-Z]+)((?:\s+--\S+)*)\s+(.*)$/.exec(line) ?? [];
    if (name === "") throw new Error(`not understood: ${line}`);
    if (name === "FROM") {
      const [image = "", , alias] = value.split(/\s+/);
      stages.push({ image, alias, instructions: [] });
      continue;
    }
    const flags = Object.fromEntries(
      [...flagText.matchAll(/--([a-z-]+)=(\S+)/g)].map(([, key, setting]) => [key ?? "", setting ?? ""]),
    );
    stages.at(-1)?.instructions.push({ name, value: value.trim(), flags });
  }
  return stages;
}

export function valuesOf(stage: Stage, name: string): string[] {
  return stage.instructions.filter((instruction) => instruction.name === name).map(({ value }) => value);
}

/** `ENV NAME=value`, one variable in each. */
export function environmentOf(stage: Stage): Record<string, string> {
  return Object.fromEntries(
    valuesOf(stage, "ENV").map((value) => [value.slice(0, value.indexOf("=")), value.slice(value.indexOf("=") + 1)]),
  );
}

export type Played = {
  /** The folder that stands for `/`. */
  readonly root: string;
  /** The folder that stands for the last WORKDIR. */
  readonly workDir: string;
};

/** Does what WORKDIR, COPY and RUN say, with `root` for `/`. `sources` are the build context ("") and earlier stages. */
export async function playStage(
  stage: Stage,
  root: string,
  sources: ReadonlyMap<string, string>,
  environment: NodeJS.ProcessEnv,
): Promise<Played> {
  let workDir = root;
  const inside = (path: string) => (path.startsWith("/") ? join(root, path) : resolve(workDir, path));
  for (const { name, value, flags } of stage.instructions) {
    if (name === "WORKDIR") {
      workDir = inside(value);
      await mkdir(workDir, { recursive: true });
    } else if (name === "COPY") {
      const from = sources.get(flags.from ?? "");
      if (from === undefined) throw new Error(`COPY from an unknown stage: ${flags.from}`);
      const paths = value.split(/\s+/);
      const target = paths.pop() ?? "";
      for (const path of paths) {
        const into = target.endsWith("/") ? join(inside(target), basename(path)) : inside(target);
        await copy(join(from, path), into);
      }
    } else if (name === "RUN") {
      await promisify(execFile)("sh", ["-c", value], { cwd: workDir, env: environment, maxBuffer: 64 * 1024 * 1024 });
    }
  }
  return { root, workDir };
}

/** A file, or all that is in a folder. Node's own `cp` takes seconds over a folder of packages. */
async function copy(from: string, into: string): Promise<void> {
  const isFolder = (await lstat(from)).isDirectory();
  await mkdir(isFolder ? into : dirname(into), { recursive: true });
  await promisify(execFile)("cp", ["-RP", isFolder ? `${from}/.` : from, into]);
}
