/** Starts an Envoy and looks after it until it ends. */

import { type ChildProcess, spawn } from "node:child_process";
import { closeSync, fstatSync, openSync, readFileSync } from "node:fs";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { MeshrootError } from "../core/errors.ts";
import { envoyAdmin } from "./admin.ts";

export type StartEnvoyOptions = {
  /** Path of the executable. */
  readonly binary: string;
  /** Its admin port should be 0: the address that Envoy really took is reported. */
  readonly bootstrapPath: string;
  /** For messages. */
  readonly name: string;
  /** As Envoy's `--log-level` (trace to critical); default `warning`. */
  readonly logLevel?: string;
  /** Envoy's log is appended here; without it only its last lines are kept, in memory. */
  readonly logPath?: string;
  /** Default true. False lets the data plane go on when this process ends. */
  readonly killOnExit?: boolean;
  /** Until the admin interface answers; default 30 s. Loading secrets does not count: Envoy's admin comes first. */
  readonly startTimeoutMs?: number;
  /** Working directory, which relative paths in the bootstrap refer to. */
  readonly cwd?: string;
  /** A session of its own: neither Ctrl-C in our terminal nor our end reaches it. Default false. */
  readonly detached?: boolean;
  /** Where Envoy writes the `host:port` of its admin interface, for whoever comes after us; default: nowhere that lasts. */
  readonly adminAddressPath?: string;
  /** Further arguments. Given, even if empty, Envoy's own default decides how many worker threads there are; else one. */
  readonly args?: readonly string[];
};

export type EnvoyExit = { readonly code: number | null; readonly signal: NodeJS.Signals | null };

export type EnvoyProcess = {
  readonly name: string;
  readonly pid: number;
  /** `host:port`. */
  readonly adminAddress: string;
  readonly exited: Promise<EnvoyExit>;
  /** The last lines of its log, oldest first. */
  logTail(): string[];
  /** SIGTERM, and SIGKILL after 5 s; also when paused. Returns once it has ended; calling it again is fine. */
  stop(): Promise<void>;
  /** SIGKILL at once, as a crash. Returns once it has ended. */
  kill(): Promise<void>;
  /** SIGSTOP: connections stay open and nothing answers. */
  pause(): void;
  /** SIGCONT. */
  resume(): void;
};

const START_TIMEOUT_MS = 30_000;
const STOP_TIMEOUT_MS = 5_000;
const POLL_MS = 25;
const TAIL_LINES = 20;

/**
 * Returns when the admin interface answers, which is before listeners have their secrets (`EnvoyAdmin.ready`).
 * Hot restart is off, so that Envoy neither needs a `--base-id` nor dies with its parent (X10 of
 * xds-protocol.md). Throws MR6002, with the last lines of Envoy's log, when it ends or stays silent.
 */
export async function startEnvoy(options: StartEnvoyOptions): Promise<EnvoyProcess> {
  const scratch = await mkdtemp(join(tmpdir(), "meshroot-envoy-"));
  const addressPath = options.adminAddressPath ?? join(scratch, "admin-address");
  // One that an earlier Envoy left would be taken for this one's.
  await rm(addressPath, { force: true });
  const { args: more = ["--concurrency", "1"] } = options;
  const args = ["-c", options.bootstrapPath, "--admin-address-path", addressPath, "--disable-hot-restart", ...more];
  if (!more.some((arg) => /^(-l|--log-level)(=|$)/.test(arg))) args.push("--log-level", options.logLevel ?? "warning");
  const { child, logTail } = spawnLogged(options, args);
  const end = watchEnd(child);
  if (options.killOnExit !== false) killWithParent(child);

  const kill = async () => {
    child.kill("SIGKILL");
    await end.exited;
  };
  const stop = async () => {
    child.kill("SIGCONT");
    child.kill("SIGTERM");
    const timer = setTimeout(() => child.kill("SIGKILL"), STOP_TIMEOUT_MS);
    await end.exited;
    clearTimeout(timer);
  };

  const deadline = Date.now() + (options.startTimeoutMs ?? START_TIMEOUT_MS);
  for (;;) {
    const why = end.reason() ?? (Date.now() > deadline ? "its admin interface does not answer" : undefined);
    if (why !== undefined) {
      await kill();
      await rm(scratch, { recursive: true, force: true });
      throw didNotStart(options, why, logTail());
    }
    const adminAddress = await answeringAdmin(addressPath);
    if (adminAddress !== undefined && child.pid !== undefined) {
      await rm(scratch, { recursive: true, force: true });
      return {
        name: options.name,
        pid: child.pid,
        adminAddress,
        exited: end.exited,
        logTail,
        stop,
        kill,
        pause: () => void child.kill("SIGSTOP"),
        resume: () => void child.kill("SIGCONT"),
      };
    }
    await sleep(POLL_MS);
  }
}

function didNotStart(options: StartEnvoyOptions, why: string, tail: readonly string[]): MeshrootError {
  const log = tail.length === 0 ? "It logged nothing." : `Its last lines:\n${tail.join("\n")}`;
  return new MeshrootError(
    "MR6002",
    `Envoy "${options.name}" did not start: ${why}`,
    `${log}\nCheck the bootstrap alone with: ${options.binary} --mode validate -c ${options.bootstrapPath}`,
  );
}

/** Undefined while the address is not written yet, or nothing answers there. Any answer will do. */
async function answeringAdmin(addressPath: string): Promise<string | undefined> {
  const address = (await readFile(addressPath, "utf8").catch(() => "")).trim();
  if (address === "") return undefined;
  return await envoyAdmin(address)
    .ready()
    .then(
      () => address,
      () => undefined,
    );
}

type Logged = { readonly child: ChildProcess; readonly logTail: () => string[] };

/** With a file, Envoy writes there itself: its log doesn't depend on this process being alive or quick. */
function spawnLogged(options: StartEnvoyOptions, args: string[]): Logged {
  const { logPath, cwd, detached = false } = options;
  const how = { detached, ...(cwd === undefined ? {} : { cwd }) };
  if (logPath !== undefined) {
    const log = openSync(logPath, "a", 0o600);
    // What stands there is an earlier Envoy's.
    const { size } = fstatSync(log);
    try {
      const child = spawn(options.binary, args, { stdio: ["ignore", log, log], ...how });
      return { child, logTail: () => lastLines(readFileSync(logPath).toString("utf8", size)) };
    } finally {
      closeSync(log);
    }
  }
  const child = spawn(options.binary, args, { stdio: ["ignore", "ignore", "pipe"], ...how });
  let text = "";
  child.stderr?.on("data", (chunk: Buffer) => {
    text = (text + chunk.toString()).slice(-16_384);
  });
  return { child, logTail: () => lastLines(text) };
}

function lastLines(text: string): string[] {
  return text
    .split("\n")
    .filter((line) => line !== "")
    .slice(-TAIL_LINES);
}

type End = { readonly exited: Promise<EnvoyExit>; readonly reason: () => string | undefined };

function watchEnd(child: ChildProcess): End {
  let reason: string | undefined;
  const exited = new Promise<EnvoyExit>((resolve) => {
    child.once("error", (error) => {
      reason = error.message;
      if (child.pid === undefined) resolve({ code: null, signal: null });
    });
    // `close`, not `exit`: the last log lines have arrived by then.
    child.once("close", (code, signal) => {
      reason ??= signal === null ? `it ended with exit code ${code}` : `it was ended by ${signal}`;
      resolve({ code, signal });
    });
  });
  return { exited, reason: () => reason };
}

const children = new Set<ChildProcess>();
const SIGNALS = ["SIGINT", "SIGTERM", "SIGHUP"] as const;

/** Node ends a child with nothing of its own, and a signal that nobody handles skips the `exit` event. */
function killWithParent(child: ChildProcess): void {
  children.add(child);
  if (children.size === 1) {
    process.on("exit", killAll);
    for (const signal of SIGNALS) process.on(signal, onSignal);
  }
  child.once("close", () => {
    children.delete(child);
    if (children.size > 0) return;
    process.off("exit", killAll);
    for (const signal of SIGNALS) process.off(signal, onSignal);
  });
}

function killAll(): void {
  for (const child of children) child.kill("SIGKILL");
}

/** Somebody else's handler decides; where there is none, the signal ends us as it would have without this one. */
function onSignal(signal: NodeJS.Signals): void {
  if (process.listenerCount(signal) > 1) return;
  killAll();
  process.off(signal, onSignal);
  process.kill(process.pid, signal);
}
