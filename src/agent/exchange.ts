/** One delta stream of the agent: what comes is checked, swapped in, proven at Envoy, and only then ACKed (evidence.md C2, C3). */

import type { ClientDuplexStream } from "@grpc/grpc-js";
import { XDS_BUNDLE, XDS_LEAF } from "../core/evidence/secret-names.ts";
import type { ProxyIdentity } from "../core/identity.ts";
import type { Log } from "../ports/log.ts";
import { AGENT_NAME } from "../secrets/agent-name.ts";
import { decodeSecret, SECRET_TYPE_URL } from "../secrets/secret-codec.ts";
import { decodeDeltaResponse, encodeDeltaRequest, type ReceivedResponse } from "../xds/client-wire.ts";
import { changeOf } from "./check-secret.ts";
import { type HeldCredentials, readHeld, sameBytes, writeHeld } from "./held-credentials.ts";
import type { Loading } from "./loading.ts";

/** gRPC's INTERNAL, which Envoy puts into its NACKs too. */
const REFUSED = 13;

export type ExchangeDeps = {
  readonly stream: ClientDuplexStream<Buffer, Buffer>;
  readonly certDir: string;
  /** In the folder when the connection was made. */
  readonly held: HeldCredentials;
  readonly identity: ProxyIdentity;
  readonly loading: Loading;
  readonly log: Log;
  readonly now: () => number;
  /** This is about to be said of the response. */
  readonly onAnswer: (response: ReceivedResponse, answer: Answer) => void;
  /** This connection is of no use any more. */
  readonly onBroken: (why: Broken) => void;
};

export type Answer =
  /** Nothing came that Envoy could load. */
  | { readonly kind: "empty" }
  /** `set`: what is loaded now. */
  | { readonly kind: "loaded"; readonly set: HeldCredentials }
  | { readonly kind: "refused"; readonly why: string };

export type Broken =
  /** Somebody else has written the folder: nothing is merged into that, and what the server was told is void. */
  | { readonly kind: "replaced" }
  /** What came could not be dealt with, and only a new stream brings it again. */
  | { readonly kind: "undigested"; readonly error: unknown };

type Write = (request: Parameters<typeof encodeDeltaRequest>[0]) => void;

/** `set`: what the folder holds, if nobody else has written it. */
type Written =
  | { readonly kind: "settled"; readonly set: HeldCredentials }
  /** Swapped in and not proven yet, with the responses that brought it: one for each secret at most. */
  | {
      readonly kind: "unproven";
      readonly set: HeldCredentials;
      readonly responses: readonly ReceivedResponse[];
      readonly before: HeldCredentials;
      readonly refusals: number | undefined;
    };

/** Asks for both secrets; `reported`: what is known to be loaded already (E3a, E15). Returns how to end it. */
export function startExchange(deps: ExchangeDeps, reported: ReadonlyMap<string, string>) {
  const { stream, identity } = deps;
  let latest: AbortController | undefined;
  let turn: Promise<void> = Promise.resolve();
  let isOver = false;
  let written: Written = { kind: "settled", set: deps.held };

  const write: Write = (request) => {
    if (!isOver) stream.write(encodeDeltaRequest({ typeUrl: SECRET_TYPE_URL, ...request }));
  };
  const broken = (why: Broken) => {
    isOver = true;
    deps.onBroken(why);
  };
  const replaced = () => {
    deps.loading.forget();
    broken({ kind: "replaced" });
  };
  const answer = async (bytes: Buffer, signal: AbortSignal): Promise<void> => {
    if (isOver) return;
    const found = await readHeld(deps.certDir);
    if (!sameBytes(found, written.set)) return replaced();
    written = await take(deps, decodeDeltaResponse(bytes), found, written, write);
    if (written.kind === "settled" || signal.aborted) return;
    const { responses, before, set, refusals } = written;
    const outcome = await deps.loading.until({ before, next: set, refusals, signal });
    if (outcome.kind === "replaced") return replaced();
    if (signal.aborted || outcome.kind === "unseen") return;
    const isLoaded = outcome.kind === "loaded";
    written = { kind: "settled", set: isLoaded ? set : outcome.putBack };
    const verdict: Answer = isLoaded ? { kind: "loaded", set } : { kind: "refused", why: outcome.why };
    for (const response of responses) respond(deps, write, response, verdict);
  };
  stream.on("data", (bytes: Buffer) => {
    // A newer response ends the wait for an older one: there is one set, and what is proven of it answers both.
    latest?.abort();
    const abort = new AbortController();
    latest = abort;
    turn = turn
      .then(() => answer(bytes, abort.signal))
      .catch((error: unknown) => broken({ kind: "undigested", error }));
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

function respond({ onAnswer }: ExchangeDeps, write: Write, response: ReceivedResponse, answer: Answer): void {
  onAnswer(response, answer);
  const errorDetail = answer.kind === "refused" ? { errorDetail: { code: REFUSED, message: answer.why } } : {};
  write({ responseNonce: response.nonce, ...errorDetail });
}

/**
 * Swaps in what came, or answers it where there is nothing to wait for. What was swapped in before and not answered stays to be
 * proven with it: the server sends no secret again that it gave up waiting for.
 */
async function take(
  deps: ExchangeDeps,
  response: ReceivedResponse,
  found: HeldCredentials,
  written: Written,
  write: Write,
): Promise<Written> {
  const { certDir, identity, loading, log } = deps;
  for (const name of response.removed)
    log.warn({ component: "agent", name }, `the server has no ${name} for this proxy any more; the last one is kept`);
  if (response.resources.length === 0) {
    respond(deps, write, response, { kind: "empty" });
    return written;
  }
  const set = withChanges(found, response, identity, deps.now());
  if (typeof set === "string") {
    respond(deps, write, response, { kind: "refused", why: set });
    return written;
  }
  const unproven =
    written.kind === "unproven" ? written : { before: found, responses: [], refusals: await loading.refusals() };
  // The same bytes again: Envoy would not look at them, and need not.
  if (!sameBytes(found, set) || !sameVersions(found, set)) await writeHeld(certDir, set);
  const names = new Set(response.resources.map(({ name }) => name));
  const older = unproven.responses.filter(({ resources }) => !resources.every(({ name }) => names.has(name)));
  const { before, refusals } = unproven;
  return { kind: "unproven", set, responses: [...older, response], before, refusals };
}

function withChanges(before: HeldCredentials, { resources }: ReceivedResponse, identity: ProxyIdentity, now: number) {
  const versions = new Map(before.versions);
  let next: HeldCredentials = { ...before, versions };
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

function sameVersions(a: HeldCredentials, b: HeldCredentials): boolean {
  return (
    a.versions.size === b.versions.size && [...a.versions].every(([name, version]) => b.versions.get(name) === version)
  );
}
