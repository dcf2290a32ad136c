/**
 * Which secret a proxy should get now, under which version, and whether it may be sent (evidence.md E1, E5, E10,
 * E15). secrets/secret-session.ts asks, and records what it then sends before that is written.
 */

import { type Content, isLeaf, type LeafContent } from "../core/evidence/content.ts";
import { hasHadLeaf, needsProof, presentedRoots, readyForLeaf, resumable } from "../core/evidence/ledger-queries.ts";
import { type Consumer, type ProxyRow, type Slot, type StreamId, slotKey } from "../core/evidence/ledger-state.ts";
import { mayAnswerFor } from "../core/evidence/refusals.ts";
import { resolveSecretName } from "../core/evidence/secret-names.ts";
import type { Held } from "../core/evidence/strangers.ts";
import type { ProxyIdentity } from "../core/identity.ts";
import { knownTrustDomains, type RootId, type TrustInForce } from "../core/roots/trust.ts";
import type { Clock } from "../ports/clock.ts";
import type { Services } from "../ports/store.ts";
import { clockSpan } from "./checked-clock.ts";
import type { KeptLeaf, Leaf, LeafCache, LeafKind } from "./leaf-cache.ts";
import { Listeners } from "./listeners.ts";
import type { RotationController } from "./rotation-controller.ts";
import type { Bundle, TrustBundles } from "./trust-bundles.ts";
import type { WantedVersion } from "./wanted-version.ts";

export type Material = { readonly kind: "leaf"; readonly content: Content; readonly leaf: Leaf } | Bundle;

/** As the xDS layer asks for it: a version to send, or one that need not be sent to who holds it; `later`, or `absent`. */
export type SecretOffer =
  | { readonly version: string; readonly again: boolean; readonly kept?: "always" | "delta" }
  | "later"
  | "absent";

/** Who asks. */
export type Asking = { readonly proxy: ProxyIdentity; readonly consumer: Consumer; readonly stream: StreamId };

/** What is known of the client that asks. `known`: what it holds, if it may go on with that (E15). */
type Asked = Asking & {
  readonly row: ProxyRow;
  readonly slot: Slot | undefined;
  readonly has: string | undefined;
  readonly known: Content | undefined;
};

export type MeshSecretsDeps = {
  readonly controller: RotationController;
  readonly issuer: LeafCache;
  readonly bundles: TrustBundles;
  readonly wanted: WantedVersion;
  readonly clock: Clock;
};

export class MeshSecrets {
  readonly #controller: RotationController;
  readonly #issuer: LeafCache;
  readonly #clock: Clock;
  readonly #bundles: TrustBundles;
  readonly #wanted: WantedVersion;
  readonly #listeners = new Listeners<string | undefined>();
  #needed: { at: number; trust: TrustInForce; signer: RootId; roots: RootId[] } | undefined;

  constructor(deps: MeshSecretsDeps) {
    this.#controller = deps.controller;
    this.#issuer = deps.issuer;
    this.#clock = deps.clock;
    this.#bundles = deps.bundles;
    this.#wanted = deps.wanted;
    deps.issuer.subscribe(({ uuid }) => this.lookAgain(uuid));
    deps.controller.whenRetired((uuid) => deps.issuer.forget(uuid));
    deps.controller.subscribe((what) => {
      if (what === "plan") deps.issuer.dropExpired(deps.controller.ledger);
    });
  }

  setServices(services: Services): void {
    this.#bundles.setServices(services);
    this.#controller.replan();
    this.lookAgain();
  }

  /** Called when offers to one proxy, or to all, may have changed. Returns the way to end it. */
  subscribe(listener: (proxy: string | undefined) => void): () => void {
    return this.#listeners.add(listener);
  }

  /** Has what is offered to this proxy, or to all, looked at again. */
  lookAgain(proxy?: string): void {
    this.#listeners.tell(proxy);
  }

  /** `has`: the version that the client holds, as this stream sent it or the client reported it. */
  offer(asking: Asking, name: string, has: string | undefined): SecretOffer {
    const { proxy, consumer } = asking;
    const row = this.#controller.ledger.proxies.get(proxy.uuid);
    const resolved = this.#resolve(name, proxy);
    if (row === undefined) return "later";
    if (resolved.kind === "none") return "absent";
    const slot = row.slots.get(slotKey(consumer, name));
    const known = has === undefined || slot === undefined ? undefined : resumable(slot, has);
    if (resolved.kind === "leaf" || resolved.kind === "xdsLeaf")
      return this.#offerLeaf(resolved.kind, { ...asking, row, slot, has, known });
    const bundle = this.#bundles.of(this.#controller.trust, resolved.kind, resolved.service);
    if (typeof bundle === "string") return bundle;
    const { version } = bundle.content;
    const sendable = this.#sendable({ ...asking, row, slot }, version);
    const keeps = known?.version === version && typeof sendable !== "string" && !sendable.again;
    return keeps ? { ...sendable, kept: "delta" } : sendable;
  }

  #offerLeaf(kind: LeafKind, asked: Asked): SecretOffer {
    const { proxy, row, slot, has, known } = asked;
    const leaf = this.#leaf(kind, proxy, known !== undefined && isLeaf(known) ? known : undefined);
    if (leaf === undefined) return "later";
    if (leaf.privateKeyPem === undefined) {
      if (leaf.fingerprint === has) return { version: leaf.fingerprint, again: false, kept: "always" };
      this.#issuer.replace(kind, proxy, this.#controller.trust.signer);
      return "later";
    }
    const sendable = this.#sendable(asked, leaf.fingerprint);
    // It says that it runs this one, and the ledger agrees: nothing that a gate waits for changes (R57).
    if (known?.version === leaf.fingerprint && typeof sendable !== "string" && !sendable.again)
      return { ...sendable, kept: "delta" };
    // Whoever had a leaf once and reports none is another process than the one whose bundles the ledger knows. Of any other
    // no time proves that it will not ask for them again.
    const successorAt = hasHadLeaf(slot) && has === undefined ? this.#clock.now() : undefined;
    if (kind === "leaf" && !readyForLeaf(row, this.#neededRoots(), successorAt)) return "later";
    return sendable;
  }

  #sendable({ row, slot, stream }: Pick<Asked, "row" | "slot" | "stream">, version: string): SecretOffer {
    const refusal = slot?.refusal?.version === version ? slot.refusal : undefined;
    if (refusal !== undefined && this.#clock.now() < refusal.retryAt) return "later";
    const isRefused = refusal !== undefined && mayAnswerFor(row, refusal, stream);
    return { version, again: isRefused || (slot !== undefined && needsProof(slot)) };
  }

  /** The proxy's leaf under the signer; a leaf that it kept counts if it is under that root and valid (E15). */
  #leaf(kind: LeafKind, proxy: ProxyIdentity, kept: LeafContent | undefined): Leaf | KeptLeaf | undefined {
    const { signer } = this.#controller.trust;
    const { earliest, latest } = clockSpan(this.#clock);
    const isValid = ({ notBefore = 0, notAfter }: LeafContent) => notBefore <= earliest && notAfter > latest;
    const good = kept !== undefined && kept.root === signer && isValid(kept);
    return this.#issuer.current(kind, proxy, signer, good ? kept : undefined);
  }

  /** The material of a version that was just offered, and so is still at hand in this turn of the event loop. */
  material(proxy: ProxyIdentity, name: string, version: string): Material {
    const resolved = this.#resolve(name, proxy);
    if (resolved.kind === "leaf" || resolved.kind === "xdsLeaf") {
      const leaf = this.#issuer.byVersion(resolved.kind, proxy, version);
      if (leaf !== undefined) return { kind: "leaf", content: contentOf(resolved.kind, leaf), leaf };
    }
    if (resolved.kind === "bundle" || resolved.kind === "xdsBundle") {
      const bundle = this.#bundles.of(this.#controller.trust, resolved.kind, resolved.service);
      if (typeof bundle !== "string" && bundle.content.version === version) return bundle;
    }
    throw new Error(`invariant: ${name} is not offered in version ${version}`);
  }

  /**
   * What the ledger has to know of the names that a stream asks for: all that may lead to something, and `few` of the others, for
   * people to see. `foreign`: those that this proxy may not have, for the audit (R38).
   */
  sorted(proxy: ProxyIdentity, names: Iterable<string>, few: number): { seen: Set<string>; foreign: string[] } {
    const foreign: string[] = [];
    const seen = new Set<string>();
    let others = 0;
    for (const name of names) {
      const resolved = this.#resolve(name, proxy);
      if (resolved.kind !== "none") seen.add(name);
      else {
        others += 1;
        if (others <= few) seen.add(name);
        if (resolved.forbidden) foreign.push(name);
      }
    }
    return { seen, foreign };
  }

  /**
   * What a client says to hold of the names that it asks for: `reported` by name, or else `state`, which is the version of one of
   * them (SotW). Empty, where it says nothing that would matter.
   */
  held(
    proxy: ProxyIdentity,
    names: Iterable<string>,
    reported: ReadonlyMap<string, string>,
    state: string,
  ): readonly Held[] {
    const isStranger = this.#controller.ledger.proxies.get(proxy.uuid)?.stranger !== undefined;
    if (!isStranger && reported.size === 0 && state === "") return [];
    return [...names].flatMap((name) => {
      const resolved = this.#resolve(name, proxy);
      const version = reported.get(name) ?? (reported.size === 0 ? state : "");
      if (resolved.kind === "none") return [];
      const matchers = resolved.service !== undefined;
      return [{ name, kind: resolved.kind, matchers, version, shared: !reported.has(name) }];
    });
  }

  /** No edit of the services makes this name anything, as long as the trust in force stays. */
  isNothing(proxy: ProxyIdentity, name: string): boolean {
    return this.#resolve(name, proxy).kind === "none";
  }

  #resolve(name: string, proxy: ProxyIdentity) {
    return resolveSecretName(name, proxy, knownTrustDomains(this.#controller.trust));
  }

  /** The version that a name of this proxy should be at, whether or not it may be sent yet; undefined: not deliverable (E12). */
  wanted(uuid: string, name: string, consumer: Consumer): string | undefined {
    const row = this.#controller.ledger.proxies.get(uuid);
    return row && this.#wanted(this.#controller.trust, row, name, consumer);
  }

  /**
   * Roots that a leaf's new holder has to trust first (E10): the signer's, what others present (E11: or did just now), and the
   * next signer's while its decision is on its way to the disk, or its save has failed. Who comes back meanwhile did not count for it.
   */
  #neededRoots(): RootId[] {
    const { decided, ledger, recoveringSince, settleMs, trust } = this.#controller;
    const now = this.#clock.now();
    const cached = this.#needed;
    const { signer } = decided ?? trust;
    // What is newly presented is always under the signer, so only departures can be missed, which is the safe side.
    if (cached !== undefined && cached.trust === trust && cached.signer === signer && now < cached.at + 1_000)
      return cached.roots;
    const presented = new Set(presentedRoots(ledger, trust.mesh, now, settleMs, clockSpan(this.#clock).earliest));
    // What was replaced just before a restart, only the process before it knew.
    const isNew = recoveringSince !== undefined && now < recoveringSince + settleMs;
    const roots = trust.mesh.filter((id) => isNew || id === trust.signer || id === signer || presented.has(id));
    this.#needed = { at: now, trust, signer, roots };
    return roots;
  }
}

function contentOf(kind: LeafKind, leaf: Leaf): Content {
  const { fingerprint, root, notBefore, notAfter } = leaf;
  return { kind, version: fingerprint, root, notBefore, notAfter };
}
