/** The agent beside an Envoy: keeps the certificate and the bundle of its xDS connection fresh (evidence.md C1-C6). */

import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { type BackOff, steadyPauseAfter } from "../core/back-off.ts";
import { MeshrootError } from "../core/errors.ts";
import { complainer } from "../ops/complainer.ts";
import type { Log } from "../ports/log.ts";
import { type FileLock, takeLock } from "../runtime/file-lock.ts";
import type { ReceivedResponse } from "../xds/client-wire.ts";
import { attempt } from "./attempt.ts";
import type { Answer } from "./exchange.ts";
import { type HeldCredentials, readHeld } from "./held-credentials.ts";
import { type EnvoyState, type Loading, watchLoading } from "./loading.ts";
import { FIRST_PACE, paceAfter } from "./pace.ts";
import { type ProxyFolder, readProxyFolder } from "./proxy-folder.ts";
import { type AgentWaits, BACK_OFF, WAITS } from "./waits.ts";

export type AgentOptions = {
  /** What `meshroot proxy bootstrap` wrote. */
  readonly dir: string;
  readonly log: Log;
  /** `host:port`; default: what the bootstrap says. */
  readonly xdsAddress?: string;
  /** `host:port`; default: what the bootstrap says. A function is asked each time. */
  readonly adminAddress?: string | (() => string | undefined);
  /** Only a supervisor knows that no Envoy runs; default: nobody does. */
  readonly envoyState?: () => EnvoyState;
  /** Milliseconds since the epoch; default the system's clock. */
  readonly now?: () => number;
  /** Between two attempts to connect; default `BACK_OFF`. */
  readonly retry?: BackOff;
  /** What is left out is as in `WAITS`. */
  readonly waits?: Partial<AgentWaits>;
};

/** Whether the agent is connected to the server. */
export type Link =
  | { readonly kind: "stands" }
  /** Not yet, or not for now: nothing is wrong. */
  | { readonly kind: "down" }
  /** `trouble`: why the last attempt failed. It lasts until a connection stands. */
  | { readonly kind: "failing"; readonly trouble: string };

export type AgentState = {
  readonly link: Link;
  /** Connections that stood, until now. */
  readonly connections: number;
  /** Versions that Envoy has loaded and the server was told so, by secret name. */
  readonly loaded: Readonly<Record<string, string>>;
  /** The last refusal; undefined once an answer was none. */
  readonly refused: string | undefined;
};

export type RunningAgent = {
  readonly folder: ProxyFolder;
  state(): AgentState;
  /** Ends the stream and gives back the lock. Envoy keeps what it has. */
  stop(): Promise<void>;
};

const DOWN: Link = { kind: "down" };

type Mutable<Type> = { -readonly [Key in keyof Type]: Type[Key] };

/**
 * Returns once the folder is read and locked; it connects, and goes on trying, by itself. Throws MR5002 when `dir` is no
 * proxy's folder or names no admin address, MR2001 when another agent keeps it, MR2002 when it can't be read.
 */
export async function startAgent(options: AgentOptions): Promise<RunningAgent> {
  const folder = await readProxyFolder(options.dir);
  await readHeld(folder.certDir);
  const { adminAddress: given } = options;
  const adminAddress = typeof given === "function" ? given : () => given ?? folder.adminAddress;
  if (typeof given !== "function" && adminAddress() === undefined) {
    const hint = "Give --admin host:port: without it nobody can tell what Envoy has loaded (C3).";
    throw new MeshrootError("MR5002", `${folder.bootstrapPath} lets Envoy take any free admin port`, hint);
  }
  const lock = await lockFolder(folder.dir);
  const loading = watchLoading({
    certDir: folder.certDir,
    identity: folder.identity,
    adminAddress,
    envoyState: options.envoyState ?? (() => "unknown"),
    log: options.log,
    waits: { ...WAITS, ...options.waits },
  });
  const state: Mutable<AgentState> = { link: DOWN, connections: 0, loaded: {}, refused: undefined };
  const abort = new AbortController();
  const done = keepConnected({ options, folder, loading, state, signal: abort.signal, told: undefined });
  return {
    folder,
    state: () => ({ ...state }),
    stop: async () => {
      abort.abort();
      await done;
      await lock.release();
    },
  };
}

async function lockFolder(dir: string): Promise<FileLock> {
  try {
    return await takeLock(join(dir, "agent.lock"));
  } catch (error) {
    if (!(error instanceof MeshrootError) || error.code !== "MR2001") throw error;
    const hint = "One agent per proxy. Stop that one first (or give this proxy a folder of its own).";
    throw new MeshrootError("MR2001", `another agent keeps ${dir}: ${error.message.slice(7)}`, hint, error);
  }
}

type Running = {
  readonly options: AgentOptions;
  readonly folder: ProxyFolder;
  readonly loading: Loading;
  readonly state: Mutable<AgentState>;
  readonly signal: AbortSignal;
  told: HeldCredentials | undefined;
};

async function keepConnected(running: Running): Promise<void> {
  const { options, folder, state, loading, signal } = running;
  const { log, now = Date.now, retry = BACK_OFF, waits } = options;
  const complain = complainer(log.warn.bind(log), "agent");
  const onStands = () => {
    complain(undefined, withoutCode);
    Object.assign(state, { link: { kind: "stands" }, connections: state.connections + 1 });
    log.info({ component: "agent", proxy: folder.identity.uuid }, "connected to the xDS server");
  };
  let pace = FIRST_PACE;
  while (!signal.aborted) {
    const last = await attempt({
      ...{ folder, loading, log, now, signal, onStands },
      address: options.xdsAddress ?? folder.xdsAddress,
      standsAfterMs: waits?.standsAfterMs ?? WAITS.standsAfterMs,
      told: running.told,
      onAnswer: (...answer) => note(running, ...answer),
    });
    if (state.link.kind === "stands") state.link = DOWN;
    if (signal.aborted) return;
    if (last.end.kind !== "renew") {
      state.link = { kind: "failing", trouble: last.end.error.message };
      complain(last.end.error, withoutCode);
    }
    const next = paceAfter(pace, last);
    pace = next.pace;
    if (next.pause === undefined) continue;
    await sleep(steadyPauseAfter(next.pause + 1, retry, Math.random()), undefined, { signal }).catch(() => undefined);
  }
}

function withoutCode(message: string): string {
  return message.replace(/^MR\d{4} /, "");
}

function note(running: Running, response: ReceivedResponse, answer: Answer): void {
  const { state, options, folder } = running;
  const { log } = options;
  state.refused = answer.kind === "refused" ? answer.why : undefined;
  if (answer.kind === "loaded") running.told = answer.set;
  for (const { name, version } of response.resources) {
    const fields = { component: "agent", proxy: folder.identity.uuid, name, version };
    if (answer.kind === "refused") {
      log.error(fields, `NACK: ${answer.why}`);
      continue;
    }
    state.loaded = { ...state.loaded, [name]: version };
    log.info(fields, `ACK: Envoy has loaded ${name}`);
  }
}
