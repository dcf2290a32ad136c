/** Waiting for Envoy to load what was swapped in; and taking it back when Envoy says that it can't (evidence.md C3). */

import { setTimeout as sleep } from "node:timers/promises";
import type { ProxyIdentity } from "../core/identity.ts";
import { envoyAdmin } from "../envoy/admin.ts";
import type { Log } from "../ports/log.ts";
import { type Proof, proofOf, refusals } from "./envoy-proof.ts";
import { type HeldCredentials, inUniqueBytes, readHeld, sameBytes, writeHeld } from "./held-credentials.ts";
import type { AgentWaits } from "./waits.ts";

/** `stopped`: whoever supervises this Envoy knows that none runs; the next one reads the files when it starts. */
export type EnvoyState = "stopped" | "unknown";

export type LoadOutcome =
  | { readonly kind: "loaded" }
  /** Neither was seen. Then there is no answer, and the server sends again in bytes that Envoy can't skip (R22). */
  | { readonly kind: "unseen" }
  /** Somebody else has written the folder, so that nothing can be said of this set any more. */
  | { readonly kind: "replaced" }
  /** `putBack`: what is in its place. */
  | { readonly kind: "refused"; readonly why: string; readonly putBack: HeldCredentials };

export type LoadingDeps = {
  readonly certDir: string;
  readonly identity: ProxyIdentity;
  /** `host:port`; undefined while nobody knows it. */
  readonly adminAddress: () => string | undefined;
  readonly envoyState: () => EnvoyState;
  readonly log: Log;
  readonly waits: AgentWaits;
};

export type Wait = {
  /** On disk before the swap. */
  readonly before: HeldCredentials;
  readonly next: HeldCredentials;
  /** `refusals()` before the swap. */
  readonly refusals: number | undefined;
  readonly signal: AbortSignal;
};

export type Loading = ReturnType<typeof watchLoading>;

const ADMIN_TIMEOUT_MS = 2_000;
const FIRST_POLL_MS = 50;

export function watchLoading(deps: LoadingDeps) {
  const { certDir, identity } = deps;
  let lastLoaded: HeldCredentials | undefined;

  const admin = () => {
    const address = deps.adminAddress();
    return address === undefined ? undefined : envoyAdmin(address, ADMIN_TIMEOUT_MS);
  };

  const prove = async (held: HeldCredentials): Promise<Proof> => {
    if (deps.envoyState() === "stopped") {
      lastLoaded = held;
      return { loaded: true };
    }
    const envoy = admin();
    if (envoy === undefined) return { loaded: false, why: "the admin address of the Envoy is not known yet" };
    const proof = await proofOf(envoy, identity, held);
    if (proof.loaded) lastLoaded = held;
    return proof;
  };

  const putBack = async (before: HeldCredentials, refused: HeldCredentials): Promise<HeldCredentials> => {
    const { certPem, keyPem, caPem, versions } = lastLoaded ?? before;
    const good = {
      certPem: certPem === refused.certPem ? certPem : inUniqueBytes(certPem),
      keyPem,
      caPem: caPem === refused.caPem ? caPem : inUniqueBytes(caPem),
      versions,
    };
    await writeHeld(certDir, good);
    return good;
  };

  return {
    prove,
    /** An operator has written another set: nothing of before is put back over it. */
    forget: () => {
      lastLoaded = undefined;
    },
    /** Failed reloads until now; undefined where Envoy can't be asked. */
    refusals: async (): Promise<number | undefined> => {
      const envoy = admin();
      if (envoy === undefined || deps.envoyState() === "stopped") return undefined;
      return await refusals(envoy).catch(() => undefined);
    },
    /** `next` is on disk. If Envoy counts a failed reload and does not come round, the last good set is put back. */
    until: (wait: Wait): Promise<LoadOutcome> => until(deps, wait, prove, putBack),
  };
}

async function until(
  { certDir, log, waits }: LoadingDeps,
  { before, next, refusals: baseline, signal }: Wait,
  prove: (held: HeldCredentials) => Promise<Proof>,
  putBack: (before: HeldCredentials, refused: HeldCredentials) => Promise<HeldCredentials>,
): Promise<LoadOutcome> {
  const startedAt = performance.now();
  let refusedAt: number | undefined;
  let isSaid = false;
  for (let pollMs = FIRST_POLL_MS; !signal.aborted; pollMs = Math.min(pollMs * 2, waits.pollMs)) {
    if (!sameBytes(await readHeld(certDir), next)) return { kind: "replaced" };
    const proof = await prove(next);
    if (proof.loaded) return { kind: "loaded" };
    const now = performance.now();
    if (baseline !== undefined && (proof.refusals ?? 0) > baseline) refusedAt ??= now;
    if (refusedAt !== undefined && now - refusedAt >= waits.refusedAfterMs) {
      const why = "Envoy could not load it (key_rotation_failed rose); the last good set is back in its place";
      return { kind: "refused", why, putBack: await putBack(before, next) };
    }
    if (!isSaid && now - startedAt >= waits.silentMs) {
      isSaid = true;
      log.warn(
        { component: "agent", hint: "The server is not answered until Envoy shows it; its log may say why not." },
        `new credentials are in place, and Envoy has not loaded them yet: ${proof.why}`,
      );
    }
    await sleep(pollMs, undefined, { signal }).catch(() => undefined);
  }
  return { kind: "unseen" };
}
