/**
 * The MRCs as the store hands them over, and what is known of them from before: which authority each was loaded from. What is
 * missing from the list is told apart: deleted, or only not readable now.
 */

import type { Problem } from "../core/errors.ts";
import { type MeshRoot, type ProviderSpec, type RootListing, sameSpec } from "../core/roots/mesh-root.ts";
import { checkSet } from "../core/roots/mesh-root-rules.ts";
import { type DesiredTrust, desiredTrust, rootOf, type TrustedRoot, type TrustInForce } from "../core/roots/trust.ts";
import type { AuthorityKeeper } from "./authority-keeper.ts";
import { trustableRoots, unusableRoot } from "./availability.ts";
import type { ServiceNames } from "./root-proofs.ts";

export class KnownRoots {
  listing: RootListing;
  /** By name, of every MRC whose authority was ever loaded and not destroyed: what to destroy once it is deleted. */
  readonly specs: Map<string, ProviderSpec>;
  /** Last seen role of every root of this process. */
  readonly #roles = new Map<string, MeshRoot["role"]>();
  readonly #authorities: AuthorityKeeper;
  readonly #namespace: string;

  constructor(deps: {
    authorities: AuthorityKeeper;
    namespace: string;
    listing: RootListing;
    specs: ReadonlyMap<string, ProviderSpec>;
  }) {
    this.#authorities = deps.authorities;
    this.#namespace = deps.namespace;
    this.listing = deps.listing;
    this.specs = new Map(deps.specs);
  }

  /** Has their CAs looked at, also that of a signer whose manifest is gone: its key is kept while it signs. */
  follow(trust: TrustInForce, names?: ServiceNames): void {
    const roots = [...this.listing.roots, ...this.#deletedSigner(trust)];
    this.#authorities.follow(roots, { specs: this.specs, trust }, names);
  }

  /** Why the roles can't be followed as they stand. */
  problem(trust: TrustInForce): Problem | undefined {
    const { roots } = this.listing;
    return (
      this.#unreadable() ??
      checkSet(roots, this.#namespace) ??
      this.#authorities.changedUnderneath(roots, this.specs) ??
      unusableRoot(this.#authorities.snapshot, trust, roots)
    );
  }

  desired(trust: TrustInForce, now: number): DesiredTrust {
    const { snapshot } = this.#authorities;
    const desired = withoutEnded(desiredTrust(this.listing.roots, trustableRoots(snapshot, trust)), now);
    const canSign = (root: TrustedRoot) =>
      snapshot.signingProblem(root, now) === undefined &&
      // The incumbent stays through what may pass by itself; nobody moves to a CA that can't sign now.
      (root.id === trust.signer || snapshot.ailment(root.id) === undefined);
    const declared = ({ name }: TrustedRoot) => this.listing.roots.find((root) => root.name === name);
    const isFit = (root: TrustedRoot) =>
      root.id === trust.signer ||
      (snapshot.carries(root.name) && snapshot.unfitToSign(root, declared(root), now) === undefined);
    const able = desired.signers.filter(canSign);
    const fit = able.filter(isFit);
    if (fit.length > 0) return { ...desired, signers: fit };
    // An incumbent that can't sign stays where no other active root can: moving to none is no way out. Moving to one that is
    // unfit is, but only then.
    const isDead = !canSign(rootOf(trust, trust.signer));
    const signers = isDead && able.length > 0 ? able : desired.signers.filter((root) => root.id === trust.signer);
    return { ...desired, signers };
  }

  /** The reason for passing the gates unproven, if some root in use carries one. */
  get override(): string | undefined {
    return this.listing.roots.find((root) => root.role !== "inactive" && root.forceUnsafe !== undefined)?.forceUnsafe;
  }

  /** True when a root was loaded that was not on record. */
  remember(): boolean {
    const { trusted } = this.#authorities.snapshot;
    const added = this.listing.roots.filter((root) => !this.specs.has(root.name) && trusted.has(root.name));
    for (const root of added) this.specs.set(root.name, root.provider);
    return added.length > 0;
  }

  /**
   * Deleting an inactive MRC destroys its CA's key, unless that root still signs (C5). The file of a root in use may have been
   * taken away by mistake: its key stays, as the commands would have refused. Returns the names of those that are destroyed by now;
   * it goes on in the background.
   */
  destroyDeleted(trust: TrustInForce): string[] {
    const present = new Set(this.listing.roots.map((root) => root.name));
    const lost = [...this.specs.keys()].filter((name) => present.has(name) && this.#authorities.hasLost(name));
    const destroyed = [...lost, ...this.#destroyMissing(trust, present)];
    for (const name of destroyed) this.specs.delete(name);
    return destroyed;
  }

  #destroyMissing(trust: TrustInForce, present: ReadonlySet<string>): string[] {
    // An emptied folder or a broken manifest is no order to destroy keys, and what is missing may be back in a moment.
    if (this.listing.provisional === true || this.problem(trust) !== undefined) return [];
    const signer = rootOf(trust, trust.signer).name;
    for (const root of this.listing.roots) this.#roles.set(root.name, root.role);
    const inForce = new Set(trust.mesh.map((id) => rootOf(trust, id).name));
    // Before this process has seen its role, a root counts as inactive once it is out of the bundle.
    const isRetired = (name: string) =>
      (this.#roles.get(name) ?? (inForce.has(name) ? "passive" : "inactive")) === "inactive";
    return [...this.specs.keys()]
      .filter((name) => isRetired(name) && name !== signer && !present.has(name))
      .filter((name) => this.#destroy(name));
  }

  #destroy(name: string): boolean {
    const spec = this.specs.get(name) as ProviderSpec;
    const isShared = this.listing.roots.some(({ provider }) => sameSpec(spec, provider));
    return this.#authorities.destroy(name, spec, isShared);
  }

  /** A manifest that can't be read must not look like a deletion: its root is missing, and nobody said so. */
  #unreadable(): Problem | undefined {
    const { roots } = this.listing;
    const present = new Set(roots.map((root) => root.name));
    const isMissing = [...this.specs.keys()].some((name) => !present.has(name));
    return isMissing || roots.length === 0 ? firstUnreadable(this.listing) : undefined;
  }

  #deletedSigner(trust: TrustInForce): MeshRoot[] {
    const { name, form } = rootOf(trust, trust.signer);
    const provider = this.specs.get(name);
    if (provider === undefined || this.listing.roots.some((root) => root.name === name)) return [];
    const { trustDomain, spiffe: spiffeEnabled } = form;
    return [{ name, namespace: this.#namespace, role: "inactive", trustDomain, spiffeEnabled, provider, createdAt: 0 }];
  }
}

/** A day is enough for the gates of a mesh that is well. */
const LAST_DAY_MS = 24 * 3_600_000;

/**
 * A certificate of a reissued CA leaves before it ends, whatever its role: of two that fit a leaf, an Envoy may take the one that
 * has expired, and fail (V: 1.36.4 does where the newer one comes first in the bundle, 1.40.0 where the older one does).
 */
function withoutEnded(desired: DesiredTrust, now: number): DesiredTrust {
  const ends = ({ notAfter }: TrustedRoot) => notAfter < now + LAST_DAY_MS;
  const validators = desired.validators.filter(
    (root) =>
      !ends(root) ||
      root.issuerId === undefined ||
      !desired.validators.some((other) => other.issuerId === root.issuerId && !ends(other) && other.notBefore <= now),
  );
  return { ...desired, validators };
}

/** The first manifest that can't be read, named with its source. */
export function firstUnreadable({ problems: [first] }: RootListing): Problem | undefined {
  return first && { ...first.problem, message: `${first.source}: ${first.problem.message}` };
}

/** What an edit changed, root by root; "none" where there is no manifest before or after it. */
export function roleChanges(before: RootListing, after: RootListing): { root: string; from: string; to: string }[] {
  const roles = (listing: RootListing) => new Map(listing.roots.map((root) => [root.name, root.role]));
  const [old, now] = [roles(before), roles(after)];
  return [...new Set([...old.keys(), ...now.keys()])].flatMap((root) => {
    const [from, to] = [old.get(root) ?? "none", now.get(root) ?? "none"];
    return from === to ? [] : [{ root, from, to }];
  });
}
