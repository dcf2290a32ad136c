/** One key and leaf per proxy, kept in memory only: a leaf key is never at rest. */

import type { SecretKind } from "../core/content.ts";
import type { ProxyIdentity } from "../core/identity.ts";
import type { RootId } from "../core/trust.ts";
import type { Clock, IssuedCertificate, Log } from "./ports.ts";

export type LeafKind = Extract<SecretKind, "leaf" | "xdsLeaf">;

export type Leaf = IssuedCertificate & {
  readonly root: RootId;
  readonly privateKeyPem: string;
  /** When to make the next one, milliseconds since the epoch. */
  readonly renewAt: number;
};

/** Makes one leaf under `root`: key, names, times and signature. Throws what the authority throws. */
export type MakeLeaf = (kind: LeafKind, proxy: ProxyIdentity, root: RootId) => Promise<Omit<Leaf, "root">>;

const RETRY_MS = 5_000;

type Holder = {
  readonly proxy: ProxyIdentity;
  readonly kind: LeafKind;
  leaf?: Leaf;
  making?: RootId;
  failedAt?: number;
};

export class LeafIssuer {
  readonly #holders = new Map<string, Holder>();
  readonly #clock: Clock;
  readonly #make: MakeLeaf;
  readonly #log: Log;
  readonly #onIssued: (proxy: ProxyIdentity) => void;

  constructor(deps: { clock: Clock; make: MakeLeaf; log: Log; onIssued: (proxy: ProxyIdentity) => void }) {
    this.#clock = deps.clock;
    this.#make = deps.make;
    this.#log = deps.log;
    this.#onIssued = deps.onIssued;
  }

  /**
   * The leaf that this proxy should run under `signer`, or undefined while there is none; then one is being made, and
   * `onIssued` tells when it is there. A leaf that is due for renewal stays the answer until its successor is ready.
   */
  current(kind: LeafKind, proxy: ProxyIdentity, signer: RootId): Leaf | undefined {
    const key = `${kind} ${proxy.uuid}`;
    const holder = this.#holders.get(key) ?? { proxy, kind };
    this.#holders.set(key, holder);
    const now = this.#clock.now();
    const { leaf } = holder;
    const usable = leaf !== undefined && leaf.root === signer && leaf.notAfter > now;
    if (!usable || now >= leaf.renewAt) this.#start(holder, signer, now);
    return usable ? leaf : undefined;
  }

  /** Forgets the keys of a proxy that is gone for good. */
  drop(uuid: string): void {
    for (const kind of ["leaf", "xdsLeaf"]) this.#holders.delete(`${kind} ${uuid}`);
  }

  /** A leaf with this version, if its key is still here. */
  byVersion(kind: LeafKind, uuid: string, version: string): Leaf | undefined {
    const leaf = this.#holders.get(`${kind} ${uuid}`)?.leaf;
    return leaf?.fingerprint === version ? leaf : undefined;
  }

  #start(holder: Holder, signer: RootId, now: number): void {
    if (holder.making === signer || now < (holder.failedAt ?? 0) + RETRY_MS) return;
    holder.making = signer;
    const { leaf, proxy, kind } = holder;
    const name = `${proxy.serviceAccount}.${proxy.namespace}.${proxy.trustDomain}`;
    if (leaf !== undefined) {
      const why =
        leaf.root === signer
          ? `expires in ${Math.round((leaf.notAfter - now) / 1000)}s`
          : "in progress root certificate rotation";
      // OSM's words, which people grep for.
      this.#log.info({ component: "certificate", proxy: proxy.uuid }, `Cert ${name} should be rotated; ${why}`);
    }
    this.#make(kind, proxy, signer).then(
      (made) => {
        if (holder.making !== signer) return;
        delete holder.making;
        delete holder.failedAt;
        holder.leaf = { ...made, root: signer };
        this.#onIssued(proxy);
      },
      (error: unknown) => {
        if (holder.making === signer) delete holder.making;
        holder.failedAt = this.#clock.now();
        this.#log.error(
          { component: "certificate", proxy: proxy.uuid, err: error },
          `Cert ${name} could not be issued; next try in ${RETRY_MS / 1000}s`,
        );
        this.#clock.after(RETRY_MS, () => this.#onIssued(proxy));
      },
    );
  }
}
