/** One connection of the agent, from its handshake to its end. */

import { MeshrootError } from "../core/errors.ts";
import { identityName } from "../core/identity.ts";
import { parseBundle } from "../pki/pem.ts";
import type { Log } from "../ports/log.ts";
import type { ReceivedResponse } from "../xds/client-wire.ts";
import { type Answer, type Broken, startExchange } from "./exchange.ts";
import { type HeldCredentials, readHeld, sameBytes } from "./held-credentials.ts";
import type { Loading } from "./loading.ts";
import type { AttemptEnd, AttemptOutcome } from "./pace.ts";
import type { ProxyFolder } from "./proxy-folder.ts";
import { connect, remedy, type ServerConnection, type StreamEnd, troubleOf } from "./server-connection.ts";

export type AttemptDeps = {
  readonly folder: ProxyFolder;
  /** `host:port` of the server. */
  readonly address: string;
  readonly loading: Loading;
  readonly log: Log;
  readonly now: () => number;
  readonly standsAfterMs: number;
  readonly signal: AbortSignal;
  /** What the server was told to be loaded: true for as long as nobody changes the files. */
  readonly told: HeldCredentials | undefined;
  readonly onStands: () => void;
  readonly onAnswer: (response: ReceivedResponse, answer: Answer) => void;
};

const RENEW: AttemptEnd = { kind: "renew" };

/** Never rejects. */
export async function attempt(deps: AttemptDeps): Promise<AttemptOutcome> {
  const { folder, loading, signal, told } = deps;
  try {
    const held = await readHeld(folder.certDir);
    const isKnown = (await loading.prove(held)).loaded || (told !== undefined && sameBytes(told, held));
    if (signal.aborted) return { end: RENEW, stood: false, answered: false };
    return await converse(deps, held, isKnown ? held.versions : new Map());
  } catch (error) {
    return { end: { kind: "failed", error: error as Error }, stood: false, answered: false };
  }
}

async function converse(
  deps: AttemptDeps,
  held: HeldCredentials,
  reported: HeldCredentials["versions"],
): Promise<AttemptOutcome> {
  const { folder, address, loading, log, now, signal, onAnswer } = deps;
  const { certDir, identity, serverName } = folder;
  const connection = connect(address, serverName, held);
  const standing = watchStanding(connection, deps);
  const close = () => connection.close();
  let broken: Broken | undefined;
  let answered = false;
  const exchange = startExchange(
    {
      ...{ stream: connection.stream, certDir, held, identity, loading, log, now },
      onAnswer: (response, answer) => {
        answered = true;
        onAnswer(response, answer);
      },
      onBroken: (why) => {
        broken = why;
        close();
      },
    },
    reported,
  );
  signal.addEventListener("abort", close, { once: true });
  const end = await connection.ended;
  const stood = standing.end();
  signal.removeEventListener("abort", close);
  await exchange.end();
  close();
  return { end: broken === undefined ? meaningOf(end, held, deps) : meaningOfBroken(broken), stood, answered };
}

type ConnectionPhase =
  | { readonly kind: "connecting" }
  /** The handshake is done, and the server may still refuse. */
  | { readonly kind: "ready"; readonly timer: NodeJS.Timeout }
  | { readonly kind: "stands" }
  | { readonly kind: "ended" };

/** A connection stands once something came, or once it has lasted. */
function watchStanding(
  { ready, stream }: ServerConnection,
  { standsAfterMs, onStands }: Pick<AttemptDeps, "standsAfterMs" | "onStands">,
) {
  let phase: ConnectionPhase = { kind: "connecting" };
  const become = (next: ConnectionPhase) => {
    if (phase.kind === "ready") clearTimeout(phase.timer);
    phase = next;
  };
  const stand = () => {
    if (phase.kind === "stands" || phase.kind === "ended") return;
    become({ kind: "stands" });
    onStands();
  };
  ready.then(
    () => {
      if (phase.kind === "connecting") become({ kind: "ready", timer: setTimeout(stand, standsAfterMs) });
    },
    () => undefined,
  );
  stream.once("data", stand);
  return {
    /** Whether it stood. */
    end: (): boolean => {
      const stood = phase.kind === "stands";
      become({ kind: "ended" });
      return stood;
    },
  };
}

function meaningOfBroken(broken: Broken): AttemptEnd {
  return broken.kind === "replaced" ? RENEW : { kind: "undigested", error: broken.error as Error };
}

function meaningOf(end: StreamEnd, held: HeldCredentials, { folder, address, now }: AttemptDeps): AttemptEnd {
  const { dir, identity, serverName } = folder;
  const trouble = troubleOf(end, { address, serverName, dir, identity });
  if (trouble === undefined) return RENEW;
  const expiry = trouble.code === "MR4001" ? expired(held, now(), folder) : undefined;
  return { kind: "failed", error: expiry ?? trouble };
}

/** A server that refuses an expired certificate doesn't say so to the client: we can. */
function expired({ certPem }: HeldCredentials, now: number, folder: ProxyFolder): MeshrootError | undefined {
  const leaf = parseBundle(certPem).certificates[0];
  if (leaf === undefined || now < leaf.notAfter) return undefined;
  const when = new Date(leaf.notAfter).toISOString();
  const message = `the xDS certificate of ${identityName(folder.identity)} (${folder.identity.uuid}) expired at ${when}`;
  return new MeshrootError("MR4001", message, remedy(folder));
}
