/** The agent beside an Envoy: keeps the certificate and the bundle of its xDS connection fresh (evidence.md C1-C6). */

import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { MeshrootError } from "../core/errors.ts";
import { identityName } from "../core/identity.ts";
import { complainer } from "../ops/complainer.ts";
import { parseBundle } from "../pki/pem.ts";
import type { Log } from "../ports/log.ts";
import { type FileLock, takeLock } from "../runtime/file-lock.ts";
import type { ReceivedResponse } from "../xds/client-wire.ts";
import { startExchange } from "./exchange.ts";
import { type Held, readHeld, sameBytes } from "./held-credentials.ts";
import { type EnvoyState, type Loading, watchLoading } from "./loading.ts";
import { type ProxyFolder, readProxyFolder } from "./proxy-folder.ts";
import { type AgentWaits, WAITS } from "./waits.ts";
import { connect, remedy, troubleOf } from "./xds-connection.ts";

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
  /** Between two attempts to connect; default 500 ms doubling to 30 s, each shortened by up to a half at random. */
  readonly retry?: { readonly minMs: number; readonly maxMs: number };
  /** What is left out is as in `WAITS`. */
  readonly waits?: Partial<AgentWaits>;
};

export type AgentState = {
  /** A connection to the server stands. */
  readonly connected: boolean;
  /** Connections that stood, until now. */
  readonly connections: number;
  /** Versions that Envoy has loaded and the server was told so, by secret name. */
  readonly loaded: Readonly<Record<string, string>>;
  /** Why the last attempt to connect failed, and the last refusal; undefined once it went well. */
  readonly trouble: string | undefined;
  readonly refused: string | undefined;
};

export type RunningAgent = {
  readonly folder: ProxyFolder;
  state(): AgentState;
  /** Ends the stream and gives back the lock. Envoy keeps what it has. */
  stop(): Promise<void>;
};

const RETRY = { minMs: 500, maxMs: 30_000 };

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
  const state: Mutable<AgentState> = {
    connected: false,
    connections: 0,
    loaded: {},
    trouble: undefined,
    refused: undefined,
  };
  const abort = new AbortController();
  const done = keepConnected({ options, folder, loading, state, signal: abort.signal });
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
  /** What the server was told to be loaded: true for as long as nobody changes the files. */
  told?: Held;
  /** What came last could not be dealt with; it comes again with the next connection, and that does not hurry. */
  unanswered?: boolean;
};

async function keepConnected(running: Running): Promise<void> {
  const { options, folder, state, signal } = running;
  const { log, retry = RETRY } = options;
  const complain = complainer(log.warn.bind(log), "agent");
  const whole = (message: string) => message.replace(/^MR\d{4} /, "");
  let failures = 0;
  let stood = false;
  const onStands = () => {
    stood = true;
    complain(undefined, whole);
    Object.assign(state, { connected: true, connections: state.connections + 1, trouble: undefined });
    log.info({ component: "agent", proxy: folder.identity.uuid }, "connected to the xDS server");
  };
  while (!signal.aborted) {
    stood = false;
    const trouble = await attempt(running, onStands).catch((error: unknown) => error as Error);
    state.connected = false;
    if (stood && running.unanswered !== true) failures = 0;
    if (signal.aborted) return;
    // C4: an end with OK asks for a new connection, which presents the newest credential.
    if (trouble === undefined && stood) continue;
    if (trouble !== undefined) state.trouble = trouble.message;
    if (trouble !== undefined) complain(trouble, whole);
    const ceilingMs = Math.min(retry.maxMs, retry.minMs * 2 ** failures);
    failures += 1;
    await sleep(ceilingMs * (1 - Math.random() / 2), undefined, { signal }).catch(() => undefined);
  }
}

/** One connection, from its handshake to its end; what was wrong with it, undefined for an end with OK. */
async function attempt(running: Running, onStands: () => void): Promise<MeshrootError | undefined> {
  const { options, folder, loading, signal } = running;
  const { certDir, identity, serverName } = folder;
  const { log, now = Date.now } = options;
  const held = await readHeld(certDir);
  const isKnown = (await loading.prove(held)).loaded || (running.told !== undefined && sameBytes(running.told, held));
  if (signal.aborted) return undefined;
  const connection = connect(whereabouts(running).address, serverName, held);
  let timer: NodeJS.Timeout | undefined;
  let isDecided = false;
  let broken: { readonly error: unknown } | undefined;
  const close = () => connection.close();
  const stands = () => {
    if (!isDecided) onStands();
    isDecided = true;
  };
  connection.ready.then(
    () => {
      timer = setTimeout(stands, options.waits?.standsAfterMs ?? WAITS.standsAfterMs);
    },
    () => undefined,
  );
  connection.stream.once("data", stands);
  const exchange = startExchange(
    {
      stream: connection.stream,
      certDir,
      held,
      identity,
      loading,
      log,
      now,
      onAnswer: (...answer) => note(running, ...answer),
      onBroken: (error) => {
        broken = { error };
        close();
      },
    },
    isKnown ? held.versions : new Map(),
  );
  signal.addEventListener("abort", close, { once: true });
  const end = await connection.ended;
  isDecided = true;
  clearTimeout(timer);
  signal.removeEventListener("abort", close);
  await exchange.end();
  close();
  if (broken?.error !== undefined) {
    running.unanswered = true;
    throw broken.error;
  }
  // New credentials go into a new connection (C4).
  if (broken !== undefined) return undefined;
  const trouble = troubleOf(end, whereabouts(running));
  return trouble?.code === "MR4001" ? (expired(held, now(), folder) ?? trouble) : trouble;
}

function note(running: Running, response: ReceivedResponse, refusal: string | undefined, set: Held | undefined): void {
  const { state, options, folder } = running;
  const { log } = options;
  state.refused = refusal;
  running.unanswered = false;
  if (set !== undefined) running.told = set;
  for (const { name, version } of response.resources) {
    const fields = { component: "agent", proxy: folder.identity.uuid, name, version };
    if (refusal !== undefined) {
      log.error(fields, `NACK: ${refusal}`);
      continue;
    }
    state.loaded = { ...state.loaded, [name]: version };
    log.info(fields, `ACK: Envoy has loaded ${name}`);
  }
}

function whereabouts({ options, folder }: Running) {
  const { dir, identity, serverName } = folder;
  return { address: options.xdsAddress ?? folder.xdsAddress, serverName, dir, identity };
}

/** A server that refuses an expired certificate doesn't say so to the client: we can. */
function expired({ certPem }: Held, now: number, folder: ProxyFolder): MeshrootError | undefined {
  const leaf = parseBundle(certPem).certificates[0];
  if (leaf === undefined || now < leaf.notAfter) return undefined;
  const when = new Date(leaf.notAfter).toISOString();
  const message = `the xDS certificate of ${identityName(folder.identity)} (${folder.identity.uuid}) expired at ${when}`;
  return new MeshrootError("MR4001", message, remedy(folder));
}
