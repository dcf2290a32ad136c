/** The xDS credentials of a simulated proxy: a folder on disk, what its Envoy has loaded of it, and connections (C1-C6). */

import type { Consumer } from "../../../src/core/evidence/ledger-state.ts";
import type { TrustInForce } from "../../../src/core/roots/trust.ts";
import type { Link } from "./link.ts";

export type Credential = {
  readonly version: string;
  /** Fingerprint of the root that it chains to. */
  readonly root: string;
  readonly notAfter: number;
};

/** One set of credentials; it changes in one swap (C2). */
export type Held = {
  readonly leaf: Credential;
  /** Fingerprints of the roots that the server may stand under. */
  readonly roots: readonly string[];
  /** The versions under which an agent's stream brought the two; empty for what a bootstrap wrote. */
  readonly versions: ReadonlyMap<string, string>;
};

export function sameSet(a: Held, b: Held): boolean {
  return a.leaf.version === b.leaf.version && a.roots.join() === b.roots.join();
}

/** A connection as its client sees it: it keeps the credentials that it was made with (C4). */
export class Connection {
  readonly proxy: number;
  readonly consumer: Consumer;
  readonly held: Held;
  /** When its client began it. */
  readonly begunAt: number;
  readonly links: Link[] = [];
  /** When its handshake was done; undefined until then. */
  openedAt: number | undefined;
  /** The server is closing it: no new stream. */
  retired = false;
  /** Its client has let go of it. */
  gone = false;

  constructor(proxy: number, consumer: Consumer, held: Held, now: number) {
    this.begunAt = now;
    this.proxy = proxy;
    this.consumer = consumer;
    this.held = held;
  }
}

/** Why a handshake with these credentials fails now: the client does not know the server's root, or the other way round. */
export function refusal(held: Held, trust: TrustInForce, now: number): "expired" | "server" | "client" | undefined {
  if (held.leaf.notAfter <= now) return "expired";
  const fingerprint = (id: string) => trust.roots[id]?.fingerprint;
  if (!held.roots.some((root) => root === fingerprint(trust.xdsServer))) return "server";
  return trust.xds.some((id) => fingerprint(id) === held.leaf.root) ? undefined : "client";
}
