/** One delta stream of the agent: what comes is checked, swapped in, proven at Envoy, and only then ACKed (evidence.md C2, C3). */

import type { ClientDuplexStream } from "@grpc/grpc-js";
import { XDS_BUNDLE, XDS_LEAF } from "../core/evidence/secret-names.ts";
import type { ProxyIdentity } from "../core/identity.ts";
import type { Log } from "../ports/log.ts";
import { AGENT_NAME } from "../secrets/agent-name.ts";
import { decodeSecret, SECRET_TYPE_URL } from "../secrets/secret-codec.ts";
import { decodeDeltaResponse, encodeDeltaRequest, type ReceivedResponse } from "../xds/client-wire.ts";
import { changeOf } from "./check-secret.ts";
import { type Held, readHeld, sameBytes, writeHeld } from "./held-credentials.ts";
import type { Loading } from "./loading.ts";

/** gRPC's INTERNAL, which Envoy puts into its NACKs too. */
const REFUSED = 13;

export type ExchangeDeps = {
  readonly stream: ClientDuplexStream<Buffer, Buffer>;
  readonly certDir: string;
  /** In the folder when the connection was made. */
  readonly held: Held;
  readonly identity: ProxyIdentity;
  readonly loading: Loading;
  readonly log: Log;
  readonly now: () => number;
  /** About to be answered; `set`: what is loaded now, where the response brought something. */
  readonly onAnswer: (response: ReceivedResponse, refusal: string | undefined, set: Held | undefined) => void;
  /**
   * This connection is of no use any more. Without an error: somebody else has written the folder, nothing is merged into that, and
   * what the server was told is void. With one: what came could not be dealt with, and only a new stream brings it again.
   */
  readonly onBroken: (error?: unknown) => void;
};

type Write = (request: Parameters<typeof encodeDeltaRequest>[0]) => void;

/** A set that was swapped in and not proven yet, with the responses that brought it: one for each secret at most. */
type Pending = {
  readonly responses: readonly ReceivedResponse[];
  readonly before: Held;
  readonly next: Held;
  readonly refusals: number | undefined;
};

/** Asks for both secrets; `reported`: what is known to be loaded already (E3a, E15). Returns how to end it. */
export function startExchange(deps: ExchangeDeps, reported: ReadonlyMap<string, string>) {
  const { stream, identity } = deps;
  let latest: AbortController | undefined;
  let turn: Promise<void> = Promise.resolve();
  let isOver = false;
  let pending: Pending | undefined;
  let ours = deps.held;

  const write: Write = (request) => {
    if (!isOver) stream.write(encodeDeltaRequest({ typeUrl: SECRET_TYPE_URL, ...request }));
  };
  const broken = (error?: unknown) => {
    isOver = true;
    deps.onBroken(error);
  };
  const replaced = () => {
    deps.loading.forget();
    broken();
  };
  const answer = async (bytes: Buffer, signal: AbortSignal): Promise<void> => {
    if (isOver) return;
    const found = await readHeld(deps.certDir);
    if (!sameBytes(found, ours)) return replaced();
    pending = await take(deps, decodeDeltaResponse(bytes), found, pending, write);
    ours = pending?.next ?? ours;
    if (pending === undefined || signal.aborted) return;
    const { responses, before, next, refusals } = pending;
    const outcome = await deps.loading.until({ before, next, refusals, signal });
    if (outcome === "replaced") return replaced();
    if (signal.aborted || outcome === "unknown") return;
    pending = undefined;
    if (outcome !== "loaded") ours = outcome.putBack;
    for (const response of responses) respond(deps, write, response, outcome, next);
  };
  stream.on("data", (bytes: Buffer) => {
    // A newer response ends the wait for an older one: there is one set, and what is proven of it answers both.
    latest?.abort();
    const abort = new AbortController();
    latest = abort;
    turn = turn.then(() => answer(bytes, abort.signal)).catch(broken);
  });
  write({
    node: { id: identity.uuid, cluster: identity.serviceAccount, userAgentName: AGENT_NAME },
    // The bundle first: what the next certificate chains to should be trusted before it comes.
    subscribe: [XDS_BUNDLE, XDS_LEAF],
    initialResourceVersions: reported,
  });
  return {
    /** Gives up waiting; resolves when nothing of this stream touches the folder any more. */
    end: async () => {
      isOver = true;
      latest?.abort();
      await turn;
    },
  };
}

function respond(
  { onAnswer }: ExchangeDeps,
  write: Write,
  response: ReceivedResponse,
  outcome: "loaded" | { readonly refused: string },
  set: Held | undefined,
): void {
  const refusal = outcome === "loaded" ? undefined : outcome.refused;
  onAnswer(response, refusal, refusal === undefined ? set : undefined);
  const errorDetail = refusal === undefined ? {} : { errorDetail: { code: REFUSED, message: refusal } };
  write({ responseNonce: response.nonce, ...errorDetail });
}

/**
 * Swaps in what came, or answers it where there is nothing to wait for. What was swapped in before and not answered stays to be
 * proven with it: the server sends no secret again that it gave up waiting for.
 */
async function take(
  deps: ExchangeDeps,
  response: ReceivedResponse,
  before: Held,
  pending: Pending | undefined,
  write: Write,
): Promise<Pending | undefined> {
  const { certDir, identity, loading, log } = deps;
  for (const name of response.removed)
    log.warn({ component: "agent", name }, `the server has no ${name} for this proxy any more; the last one is kept`);
  if (response.resources.length === 0) {
    respond(deps, write, response, "loaded", undefined);
    return pending;
  }
  const next = withChanges(before, response, identity, deps.now());
  if (typeof next === "string") {
    respond(deps, write, response, { refused: next }, undefined);
    return pending;
  }
  const refusals = pending === undefined ? await loading.refusals() : pending.refusals;
  // The same bytes again: Envoy would not look at them, and need not.
  if (!sameBytes(before, next) || !sameVersions(before, next)) await writeHeld(certDir, next);
  const names = new Set(response.resources.map(({ name }) => name));
  const older = (pending?.responses ?? []).filter(({ resources }) => !resources.every(({ name }) => names.has(name)));
  return { responses: [...older, response], before: pending?.before ?? before, next, refusals };
}

function withChanges(before: Held, { resources }: ReceivedResponse, identity: ProxyIdentity, now: number) {
  const versions = new Map(before.versions);
  let next: Held = { ...before, versions };
  for (const { any, version } of resources) {
    try {
      const secret = decodeSecret(any);
      const change = changeOf(secret, identity, now);
      if (typeof change === "string") return change;
      versions.set(secret.name, version);
      next = { ...next, ...change };
    } catch (error) {
      return (error as Error).message;
    }
  }
  return next;
}

function sameVersions(a: Held, b: Held): boolean {
  return (
    a.versions.size === b.versions.size && [...a.versions].every(([name, version]) => b.versions.get(name) === version)
  );
}
