/** A ledger on a desk: events in short words, plans on demand. For the tests of the E-rules. */

import type { Content } from "../../src/core/evidence/content.ts";
import { record } from "../../src/core/evidence/ledger.ts";
import {
  type Consumer,
  emptyLedger,
  type HandedOut,
  type Ledger,
  type ProxyRow,
  type Slot,
  type XdsCredential,
} from "../../src/core/evidence/ledger-state.ts";
import { type DesiredTrust, type TrustedRoot, type TrustInForce, withRoots } from "../../src/core/roots/trust.ts";
import { type GateClock, type Plan, planRotation } from "../../src/core/rotation/rotation-plan.ts";

export const SETTLE_MS = 5_000;
export const RECOVERY_MS = 45_000;
export const BUNDLE = "ROOTCA";
export const LEAF = "default";

export function trustedRoot(name: string, trustDomain = "cluster.local"): TrustedRoot {
  const form = { trustDomain, spiffe: false };
  return { id: name, name, fingerprint: name, serial: name, form, certificatePem: name, notBefore: 0, notAfter: 1e15 };
}

export const bundle = (version: string, ...roots: string[]): Content => ({ kind: "bundle", version, roots });
export const leaf = (version: string, root: string, notAfter = 1e12): Content => ({
  kind: "leaf",
  version,
  root,
  notAfter,
});

/** Older than any that is handed out. */
export function ownCredential(root: string): XdsCredential {
  return { fingerprint: "its own", root, notBefore: 0, notAfter: 1e15 };
}

/** `signer` signs, all of `mesh` is trusted, on both ports. */
export function inForce(signer: string, ...mesh: string[]): TrustInForce {
  return withRoots(
    { generation: 1, signer, mesh, xds: mesh, xdsServer: signer, roots: {} },
    mesh.map((name) => trustedRoot(name)),
  );
}

export class Desk {
  ledger: Ledger;
  now = 1_000_000;
  trust: TrustInForce;
  desired: DesiredTrust;
  gates: GateClock = {};
  recoveringSince: number | undefined;
  absentPolicy: "until-leaf-expiry" | "wait" = "until-leaf-expiry";

  constructor(trust: TrustInForce = inForce("a", "a"), ledger: Ledger = emptyLedger()) {
    this.trust = trust;
    this.ledger = ledger;
    this.desired = { validators: Object.values(trust.roots), signers: Object.values(trust.roots) };
  }

  /** What the roles ask for: the first signs. */
  want(signers: readonly string[], validators: readonly string[] = signers): void {
    this.desired = {
      signers: signers.map((name) => trustedRoot(name)),
      validators: validators.map((name) => trustedRoot(name)),
    };
  }

  /** A stream that asks for `names`, of the proxy's Envoy under root a. */
  connect(proxy: string, stream: string, ...names: string[]): void {
    this.join(proxy, stream, "envoy", "a", ...names);
  }

  /** A stream of either consumer, authenticated under `root`, with a credential that it has always had. */
  join(proxy: string, stream: string, consumer: Consumer, root: string, ...names: string[]): void {
    this.joinWith(proxy, stream, consumer, ownCredential(root), ...names);
  }

  joinWith(proxy: string, stream: string, consumer: Consumer, credential: XdsCredential, ...names: string[]): void {
    const identity = {
      uuid: proxy,
      kind: "sidecar",
      serviceAccount: proxy,
      namespace: "shop",
      trustDomain: "cluster.local",
    } as const;
    record(this.ledger, { type: "connected", proxy, identity, stream, consumer, credential, at: this.now });
    this.ask(proxy, stream, ...names);
  }

  /** The first request of a stream says which versions its client holds, by name; `leafUntil`: see `Report`. */
  report(proxy: string, stream: string, versions: Readonly<Record<string, string>>, leafUntil = this.now + 1e6): void {
    const held = Object.entries(versions).map(([name, version]) => {
      const kind = name === LEAF ? "leaf" : "bundle";
      return { name, kind, matchers: false, version, shared: false } as const;
    });
    record(this.ledger, { type: "reported", proxy, stream, held, leafUntil, at: this.now });
  }

  ask(proxy: string, stream: string, ...names: string[]): void {
    record(this.ledger, { type: "asked", proxy, stream, names: new Set(names), at: this.now });
  }

  /** Returns the number of the send. */
  send(proxy: string, stream: string, content: Content, name = content.kind === "leaf" ? LEAF : BUNDLE): number {
    return record(this.ledger, { type: "sent", proxy, stream, name, matchers: false, content, at: this.now });
  }

  ack(proxy: string, stream: string, seq: number, name = BUNDLE): void {
    record(this.ledger, { type: "acked", proxy, stream, name, seq, at: this.now });
  }

  nack(proxy: string, stream: string, seq: number, name = BUNDLE): void {
    record(this.ledger, { type: "nacked", proxy, stream, name, seq, message: "Envoy's words", at: this.now });
  }

  end(proxy: string, stream: string): void {
    record(this.ledger, { type: "ended", proxy, stream, at: this.now });
  }

  /** An xDS credential is handed out for a proxy, with a bundle of these roots. */
  handOut(proxy: string, root: string, ...roots: string[]): HandedOut {
    const bundle = { kind: "xdsBundle", version: `of ${roots}`, roots } as const;
    const times = { notBefore: this.now, notAfter: this.now + 1e9 };
    const credential = { fingerprint: `handed out at ${this.now}`, root, ...times, bundle };
    record(this.ledger, { type: "issued", proxy, credential, at: this.now });
    return credential;
  }

  /** Time passes in a process that looks at it once a minute. */
  tick(ms: number): void {
    for (let left = ms; left > 60_000; left -= 60_000) this.leap(60_000);
    this.leap(ms > 60_000 ? ms % 60_000 || 60_000 : ms);
  }

  /** Time passes in one leap, which may go back. */
  leap(ms: number): void {
    this.now += ms;
    record(this.ledger, { type: "tick", at: this.now });
  }

  /** A proxy that has been given and has acknowledged these. */
  running(proxy: string, ...contents: Content[]): void {
    const names = contents.map((content) => (content.kind === "leaf" ? LEAF : BUNDLE));
    this.connect(proxy, `${proxy}-1`, ...names);
    for (const [index, content] of contents.entries())
      this.ack(proxy, `${proxy}-1`, this.send(proxy, `${proxy}-1`, content), names[index]);
  }

  row(proxy: string): ProxyRow {
    const row = this.ledger.proxies.get(proxy);
    if (row === undefined) throw new Error(`no proxy ${proxy}`);
    return row;
  }

  slot(proxy: string, name = BUNDLE): Slot {
    const slot = this.row(proxy).slots.get(`envoy|${name}`);
    if (slot === undefined) throw new Error(`no slot ${name}`);
    return slot;
  }

  /** Plans now; a change is put in force. */
  plan(): Plan {
    const plan = planRotation({
      trust: this.trust,
      desired: this.desired,
      ledger: this.ledger,
      now: this.now,
      gates: this.gates,
      recoveringSince: this.recoveringSince,
      settings: { settleMs: SETTLE_MS, recoveryMs: RECOVERY_MS, absentPolicy: this.absentPolicy },
    });
    this.gates = plan.gates;
    this.trust = plan.trust;
    return plan;
  }

  /** Plans, lets the gates settle, plans again: what changed, or why nothing did. */
  settle(): string {
    const first = this.plan();
    if (first.change !== undefined) return `${first.change.kind} ${first.change.root}`;
    this.now += SETTLE_MS;
    const { change, holds } = this.plan();
    return change === undefined ? (holds[0]?.reason ?? "nothing to do") : `${change.kind} ${change.root}`;
  }
}
