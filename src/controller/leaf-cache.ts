/** One key and leaf per proxy, kept in memory only, and only while they are of use: a leaf key is never at rest. */

import { type BackOff, pauseAfter } from "../core/back-off.ts";
import type { ClockSpan } from "../core/clock-check.ts";
import { type ErrorCode, MeshrootError } from "../core/errors.ts";
import type { LeafContent } from "../core/evidence/content.ts";
import { isConnected } from "../core/evidence/ledger-queries.ts";
import type { Ledger } from "../core/evidence/ledger-state.ts";
import { identityName, type ProxyIdentity } from "../core/identity.ts";
import type { RootId } from "../core/roots/trust.ts";
import { tokenBucket } from "../core/token-bucket.ts";
import type { Clock } from "../ports/clock.ts";
import type { Log } from "../ports/log.ts";
import type { IssuedCertificate } from "../ports/provider.ts";
import { clockSpan } from "./checked-clock.ts";
import { Listeners } from "./listeners.ts";

export type LeafKind = LeafContent["kind"];

/** A leaf as an issuer makes it, key included. */
export type MadeLeaf = IssuedCertificate & { readonly privateKeyPem: string };

export type Leaf = MadeLeaf & {
  readonly root: RootId;
  /** When to make the next one, milliseconds since the epoch. */
  readonly renewAt: number;
  /** The doubt about the clock in which it was made; 0: there was none. */
  readonly doubt: number;
};

/** A leaf of before the restart: its proxy goes on with it, and we can't send it, because its key is gone (E15). */
export type KeptLeaf = Pick<Leaf, "fingerprint" | "notAfter" | "root" | "renewAt" | "doubt"> & {
  readonly notBefore: number | undefined;
  readonly privateKeyPem?: undefined;
};

/** Makes one leaf under `root`: key, names, times and signature. Throws what the authority throws. */
export type MakeLeaf = (kind: LeafKind, proxy: ProxyIdentity, root: RootId) => Promise<MadeLeaf>;

export type LeafCacheDeps = {
  readonly clock: Clock;
  readonly make: MakeLeaf;
  /** When to renew a leaf that ends at `notAfter`, looked at from `now`; all in milliseconds since the epoch. */
  readonly renewalTime: (now: number, notAfter: number) => number;
  readonly log: Log;
  /** Whether its authority would be asked now; else it is better to ask a little later. Default: always. */
  readonly isReady?: (root: RootId) => boolean;
  /** In [0, 1). */
  readonly random?: () => number;
};

/** Of one proxy: those of all others go on. */
const RETRY: BackOff = { baseMs: 5_000, mostMs: 300_000 };
/** Where it is its CA that fails: that one is kept from too many calls elsewhere (provider-calls.ts), and may be back at any time. */
const RETRY_CA: BackOff = { ...RETRY, mostMs: 30_000 };
/** What would be refused again: a name that the root can't carry, a certificate that is not good. */
const REFUSED: ReadonlySet<ErrorCode> = new Set(["MR3007", "MR4003"]);
/** It is a look at every key, for what waits for hours. */
const DROP_MS = 60_000;
/** A mesh that comes back all at once must not keep our CPU, or a CA, from answering the others. */
const ISSUE_RATE = { burst: 100, perSecond: 50 };

type Making =
  | { readonly kind: "idle" }
  | { readonly kind: "making"; readonly root: RootId }
  | {
      readonly kind: "failed";
      readonly root: RootId;
      readonly at: number;
      readonly failures: number;
      readonly pauseMs: number;
    };

const IDLE: Making = { kind: "idle" };

type Holder = {
  readonly proxy: ProxyIdentity;
  readonly kind: LeafKind;
  leaf?: Leaf | KeptLeaf;
  making: Making;
};

export class LeafCache {
  /** By uuid, then by kind and identity. */
  readonly #holders = new Map<string, Map<string, Holder>>();
  #droppedAt = Number.NEGATIVE_INFINITY;
  readonly #deps: LeafCacheDeps;
  readonly #rate = tokenBucket(ISSUE_RATE);
  readonly #listeners = new Listeners<ProxyIdentity>();

  constructor(deps: LeafCacheDeps) {
    this.#deps = deps;
  }

  /**
   * The leaf that this proxy should run under `signer`, or undefined while there is none; then one is being made, and
   * listeners hear when it is there. A leaf that is due for renewal stays the answer until its successor is ready. `kept` is
   * a good leaf that the proxy says it holds: where we have none, that one is the answer, and nothing is made (E15).
   */
  current(kind: LeafKind, proxy: ProxyIdentity, signer: RootId, kept?: LeafContent): Leaf | KeptLeaf | undefined {
    const holder = this.#holder(kind, proxy);
    const now = this.#deps.clock.now();
    const span = clockSpan(this.#deps.clock);
    if (holder.leaf === undefined && holder.making.kind !== "making" && kept !== undefined) {
      const { version, root, notBefore, notAfter } = kept;
      const renewAt = this.#deps.renewalTime(now, notAfter);
      holder.leaf = { fingerprint: version, root, notBefore, notAfter, renewAt, doubt: 0 };
    }
    const { leaf } = holder;
    const usable = isUsable(leaf, signer, span, now);
    if (!usable || isDue(leaf, span, now)) this.#start(holder, signer, now);
    return usable ? leaf : undefined;
  }

  /** As `current`, but nothing is made. */
  peek(kind: LeafKind, proxy: ProxyIdentity, signer: RootId): Leaf | KeptLeaf | undefined {
    const leaf = this.#known(kind, proxy)?.leaf;
    const { clock } = this.#deps;
    return isUsable(leaf, signer, clockSpan(clock), clock.now()) ? leaf : undefined;
  }

  /** A leaf has to be sent whose key is gone: the next one is made. */
  replace(kind: LeafKind, proxy: ProxyIdentity, signer: RootId): void {
    const holder = this.#holder(kind, proxy);
    if (holder.leaf?.privateKeyPem !== undefined) return;
    this.#start(holder, signer, this.#deps.clock.now());
  }

  /** A leaf with this version, if its key is still here. */
  byVersion(kind: LeafKind, proxy: ProxyIdentity, version: string): Leaf | undefined {
    const leaf = this.#known(kind, proxy)?.leaf;
    return leaf?.privateKeyPem !== undefined && leaf.fingerprint === version ? leaf : undefined;
  }

  /** Called when this proxy may get another leaf than before. Returns the way to end it. */
  subscribe(listener: (proxy: ProxyIdentity) => void): () => void {
    return this.#listeners.add(listener);
  }

  /** The keys of those who are gone are kept for nobody. */
  forget(uuid: string): void {
    this.#holders.delete(uuid);
  }

  /** Nor are those to leaves that have expired while their proxy is away. */
  dropExpired({ proxies }: Ledger): void {
    const { clock } = this.#deps;
    const now = clock.now();
    if (Math.abs(now - this.#droppedAt) < DROP_MS) return;
    this.#droppedAt = now;
    const { earliest } = clockSpan(clock);
    for (const [uuid, holders] of this.#holders) {
      const row = proxies.get(uuid);
      if (row !== undefined && isConnected(row)) continue;
      for (const [name, { leaf, making }] of holders)
        if (making.kind !== "making" && (leaf === undefined || leaf.notAfter <= earliest)) holders.delete(name);
      if (holders.size === 0) this.#holders.delete(uuid);
    }
  }

  /** Proxies for which there is a leaf, or one is being made. */
  get size(): number {
    return this.#holders.size;
  }

  #known(kind: LeafKind, proxy: ProxyIdentity): Holder | undefined {
    return this.#holders.get(proxy.uuid)?.get(nameOf(kind, proxy));
  }

  #holder(kind: LeafKind, proxy: ProxyIdentity): Holder {
    const known = this.#known(kind, proxy);
    if (known !== undefined) return known;
    const holder: Holder = { proxy, kind, making: IDLE };
    const holders = this.#holders.get(proxy.uuid) ?? new Map();
    this.#holders.set(proxy.uuid, holders.set(nameOf(kind, proxy), holder));
    return holder;
  }

  #start(holder: Holder, signer: RootId, now: number): void {
    const { making, leaf, proxy, kind } = holder;
    if (making.kind === "making" && making.root === signer) return;
    // By the distance, so that a clock that has come back does not put the next try off until it gets there again.
    if (making.kind === "failed" && making.root === signer && Math.abs(now - making.at) < making.pauseMs) return;
    // Whoever goes away empty asks again: streams look at their offers every second.
    if (this.#deps.isReady?.(signer) === false || !this.#rate.take(now)) return;
    const failures = making.kind === "failed" && making.root === signer ? making.failures : 0;
    const mine: Making = { kind: "making", root: signer };
    holder.making = mine;
    const { doubt } = clockSpan(this.#deps.clock);
    const { clock, log, make, renewalTime } = this.#deps;
    const name = `${proxy.serviceAccount}.${proxy.namespace}.${proxy.trustDomain}`;
    if (leaf !== undefined) {
      const why = leaf.root === signer ? whyRenewed(leaf, now) : "in progress root certificate rotation";
      // OSM's words, which people grep for.
      log.info({ component: "certificate", proxy: proxy.uuid }, `Cert ${name} should be rotated; ${why}`);
    }
    make(kind, proxy, signer).then(
      (made) => {
        if (holder.making !== mine) return;
        holder.making = IDLE;
        holder.leaf = { ...made, root: signer, renewAt: renewalTime(clock.now(), made.notAfter), doubt };
        this.#listeners.tell(proxy);
      },
      (error: unknown) => {
        const isRefused = error instanceof MeshrootError && REFUSED.has(error.code);
        const pauseMs = pauseAfter(failures + 1, isRefused ? RETRY : RETRY_CA, (this.#deps.random ?? Math.random)());
        if (holder.making === mine)
          holder.making = { kind: "failed", root: signer, at: clock.now(), failures: failures + 1, pauseMs };
        log.error(
          { component: "certificate", proxy: proxy.uuid, err: error },
          `Cert ${name} could not be issued; next try in ${Math.ceil(pauseMs / 1000)}s`,
        );
        clock.after(pauseMs, () => this.#listeners.tell(proxy));
      },
    );
  }
}

/** By identity, too: who came with another's uuid would else be given its key. */
function nameOf(kind: LeafKind, proxy: ProxyIdentity): string {
  return `${kind} ${identityName(proxy)}`;
}

/** Valid by every reading of the clock: what will be valid later is as useless to a peer as what no longer is. */
function isUsable<Any extends Leaf | KeptLeaf>(
  leaf: Any | undefined,
  signer: RootId,
  span: ClockSpan,
  now: number,
): leaf is Any {
  if (leaf === undefined || leaf.root !== signer) return false;
  const { earliest, latest } = readings(leaf, span, now);
  return leaf.notAfter > latest && (leaf.notBefore ?? 0) <= earliest;
}

/** One that was made while the clock was in doubt lives longer than asked for, so it is replaced when the doubt has ended. */
function isDue(leaf: Leaf | KeptLeaf, span: ClockSpan, now: number): boolean {
  return readings(leaf, span, now).latest >= leaf.renewAt || (leaf.doubt !== 0 && leaf.doubt !== span.doubt);
}

/** What was made in this very doubt is as good as its root lets it be: another would be no better. */
function readings(leaf: Leaf | KeptLeaf, span: ClockSpan, now: number): Pick<ClockSpan, "earliest" | "latest"> {
  return span.doubt !== 0 && leaf.doubt === span.doubt ? { earliest: now, latest: now } : span;
}

function whyRenewed(leaf: Leaf | KeptLeaf, now: number): string {
  if ((leaf.notBefore ?? 0) > now) return `not valid before ${new Date(leaf.notBefore ?? 0).toISOString()}`;
  return `expires in ${Math.round((leaf.notAfter - now) / 1000)}s`;
}
