/** Keeps one Envoy running for a proxy's folder: adopts the one that runs, starts it where none does, and again when it dies. */

import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { type BackOff, steadyPauseAfter } from "../core/back-off.ts";
import { MeshrootError } from "../core/errors.ts";
import { envoyAdmin } from "../envoy/admin.ts";
import { startEnvoy } from "../envoy/process.ts";
import type { Log } from "../ports/log.ts";
import type { EnvoyState } from "./loading.ts";
import type { ProxyFolder } from "./proxy-folder.ts";
import { BACK_OFF } from "./waits.ts";

export type SupervisorOptions = {
  readonly folder: Pick<ProxyFolder, "dir" | "bootstrapPath" | "nodeId" | "adminAddress">;
  /** Path of the executable. */
  readonly binary: string;
  readonly args: readonly string[];
  readonly log: Log;
  /** Between two starts; default `BACK_OFF`. */
  readonly restart?: BackOff;
};

export type EnvoySupervisor = {
  /** Returns when an Envoy of this proxy runs. Throws MR5003 when another one has its admin address, MR6002 when it does not start. */
  start(): Promise<void>;
  /** `host:port`; undefined while none runs. */
  adminAddress(): string | undefined;
  state(): EnvoyState;
  /** Envoys that were started, and whether the first one ran already. */
  counts(): { readonly started: number; readonly adopted: number };
  /** SIGTERM, and SIGKILL after 5 s; one that was adopted is asked to quit. */
  stop(): Promise<void>;
};

type RunningEnvoy = {
  /** The number of the process is known of a child of ours alone. */
  readonly origin: { readonly kind: "started"; readonly pid: number } | { readonly kind: "adopted" };
  readonly adminAddress: string;
  /** Resolves with words when it has ended. */
  readonly ended: Promise<string>;
  stop(): Promise<void>;
};

type Supervised =
  /** Before anything is read by it: from here on only its own /certs can say what it holds. */
  | { readonly kind: "starting" }
  | { readonly kind: "running"; readonly envoy: RunningEnvoy }
  | { readonly kind: "stopped" };

/** One that has run for so long did not fail at its start: the next pause is a short one again. */
const HEALTHY_MS = 60_000;
const WATCH_MS = 500;
const QUIT_WITHIN_MS = 10_000;
/** Kept after us, so that the next supervisor finds an Envoy that took any free port. */
const ADMIN_ADDRESS_FILE = "envoy-admin-address";

export function envoySupervisor(options: SupervisorOptions): EnvoySupervisor {
  const { log, restart = BACK_OFF } = options;
  const abort = new AbortController();
  const { signal } = abort;
  const counts = { started: 0, adopted: 0 };
  let supervised: Supervised = { kind: "starting" };
  let done: Promise<void> = Promise.resolve();

  const begin = async (): Promise<RunningEnvoy> => {
    supervised = { kind: "starting" };
    const found = await adopt(options, signal);
    counts[found === undefined ? "started" : "adopted"] += 1;
    const envoy = found ?? (await launch(options));
    supervised = { kind: "running", envoy };
    announce(envoy, options);
    return envoy;
  };

  /** Undefined where it could not be started. */
  const beginAgain = async (): Promise<RunningEnvoy | undefined> => {
    try {
      return await begin();
    } catch (error) {
      supervised = { kind: "stopped" };
      const fields = error instanceof MeshrootError ? { code: error.code, hint: error.hint } : { err: error };
      log.error({ component: "envoy", ...fields }, `Envoy is not running: ${(error as Error).message}`);
      return undefined;
    }
  };

  const keep = async (first: RunningEnvoy): Promise<void> => {
    let current: RunningEnvoy | undefined = first;
    let failures = 0;
    while (!signal.aborted) {
      const since = performance.now();
      if (current !== undefined) {
        const how = await current.ended;
        supervised = { kind: "stopped" };
        if (signal.aborted) return;
        if (performance.now() - since >= HEALTHY_MS) failures = 0;
        log.error({ component: "envoy" }, `Envoy has ended: ${how}`);
      }
      await sleep(steadyPauseAfter(failures + 1, restart, Math.random()), undefined, { signal }).catch(() => undefined);
      failures += 1;
      if (signal.aborted) return;
      current = await beginAgain();
    }
    // Stopped while it was being started.
    await current?.stop();
  };

  return {
    start: async () => {
      const first = await begin();
      done = keep(first);
    },
    adminAddress: () => (supervised.kind === "running" ? supervised.envoy.adminAddress : undefined),
    state: () => (supervised.kind === "stopped" ? "stopped" : "unknown"),
    counts: () => ({ ...counts }),
    stop: async () => {
      abort.abort();
      if (supervised.kind === "running") await supervised.envoy.stop();
      await done;
    },
  };
}

function announce({ origin, adminAddress }: RunningEnvoy, { log, args }: SupervisorOptions): void {
  const fields = { component: "envoy", admin: adminAddress };
  if (origin.kind === "started") {
    log.info({ ...fields, pid: origin.pid }, "Envoy started");
    return;
  }
  log.info(fields, "Envoy adopted: it was running already");
  if (args.length === 0) return;
  log.warn(
    { component: "envoy", hint: "End that Envoy to have it started with them." },
    `the adopted Envoy goes on with the arguments that it had, not with: ${args.join(" ")}`,
  );
}

/** A session of its own and its log in a file: it lives on when we are killed, and needs nothing of us. */
async function launch({ folder, binary, args }: SupervisorOptions): Promise<RunningEnvoy> {
  const envoy = await startEnvoy({
    binary,
    args,
    bootstrapPath: folder.bootstrapPath,
    name: folder.nodeId,
    logPath: join(folder.dir, "envoy.log"),
    adminAddressPath: join(folder.dir, ADMIN_ADDRESS_FILE),
    killOnExit: false,
    detached: true,
  });
  const ended = envoy.exited.then(({ code, signal }) => (signal === null ? `exit code ${code}` : signal));
  const origin = { kind: "started", pid: envoy.pid } as const;
  return { origin, adminAddress: envoy.adminAddress, ended, stop: envoy.stop };
}

/** Undefined where no Envoy of this proxy runs. Throws MR5003 where another node's has the bootstrap's admin address. */
async function adopt({ folder, log }: SupervisorOptions, signal: AbortSignal): Promise<RunningEnvoy | undefined> {
  const written = (await readFile(join(folder.dir, ADMIN_ADDRESS_FILE), "utf8").catch(() => "")).trim();
  for (const address of new Set([written, folder.adminAddress ?? ""])) {
    if (address === "") continue;
    const node = await nodeAt(address);
    if (node === folder.nodeId) return adopted(address, log, signal);
    if (node === undefined || address !== folder.adminAddress) continue;
    const hint = "Stop that one, or give this proxy another admin address in its bootstrap.";
    throw new MeshrootError("MR5003", `the admin address ${address} is that of another Envoy (node ${node})`, hint);
  }
  return undefined;
}

/**
 * `node.id` of the Envoy at this address, undefined where none is. Throws MR5003 where somebody listens and says nothing, as a
 * paused Envoy does: a second one beside it would have the same certificate, and take its requests.
 */
async function nodeAt(address: string): Promise<string | undefined> {
  try {
    const info = JSON.parse(await envoyAdmin(address).get("/server_info")) as {
      readonly node?: { readonly id?: string };
    };
    return info.node?.id ?? "(none)";
  } catch (error) {
    if (!isSilence(error)) return undefined;
    const hint = "Is it this proxy's, and paused? Let it go on (SIGCONT), or end it.";
    throw new MeshrootError("MR5003", `an Envoy at ${address} takes connections and does not answer`, hint, error);
  }
}

/** It is no child of ours, so its end shows by nobody listening any more: a paused one still does. */
function adopted(adminAddress: string, log: Log, signal: AbortSignal): RunningEnvoy {
  const admin = envoyAdmin(adminAddress);
  const isGone = () => admin.ready().then(() => false, isRefused);
  let quitting = false;
  const ended = (async () => {
    while (!(await isGone())) {
      if (signal.aborted && !quitting) break;
      await sleep(WATCH_MS);
    }
    return "nobody listens at its admin address any more";
  })();
  const stop = async () => {
    quitting = true;
    const deadline = performance.now() + QUIT_WITHIN_MS;
    await admin.quit().catch(() => undefined);
    while (!(await isGone())) {
      if (performance.now() > deadline) {
        const hint = "It was started by another process than this one: end it by its process number.";
        log.error({ component: "envoy", hint }, `the Envoy at ${adminAddress} does not quit`);
        quitting = false;
        return;
      }
      await sleep(50);
    }
  };
  return { origin: { kind: "adopted" }, adminAddress, ended, stop };
}

function isRefused(error: unknown): boolean {
  return causeOf(error)?.code === "ECONNREFUSED";
}

/** The admin client's own deadline has passed: nothing else fails there without a code. */
function isSilence(error: unknown): boolean {
  const cause = causeOf(error);
  return cause !== undefined && cause.code === undefined;
}

function causeOf(error: unknown): NodeJS.ErrnoException | undefined {
  return error instanceof Error ? (error.cause as NodeJS.ErrnoException | undefined) : undefined;
}
