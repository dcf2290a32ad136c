/** The trust in force: who signs, who validates, on the mesh and on the xDS connection. */

import type { SanForm } from "../identity.ts";
import type { MeshRoot } from "./mesh-root.ts";

/**
 * A root as proxies see it: one CA certificate together with the SAN form that its leaves carry. The same CA under
 * another trust domain is another root, because a peer's SAN matchers have to change before its leaves may.
 */
export type RootId = string;

export type TrustedRoot = {
  readonly id: RootId;
  /** Name of the MRC that brought it. */
  readonly name: string;
  /** SHA-256 of the CA certificate's DER, 64 hex digits. */
  readonly fingerprint: string;
  readonly serial: string;
  readonly form: SanForm;
  /**
   * Names what verifiers look for in an issuer: subject, key and key id. Two certificates that have it in common verify the same
   * leaves. Undefined in what an earlier version stored.
   */
  readonly issuerId?: string | undefined;
  readonly certificatePem: string;
  /** Milliseconds since the epoch. */
  readonly notBefore: number;
  readonly notAfter: number;
};

export function rootId(fingerprint: string, form: SanForm): RootId {
  return `${fingerprint}/${form.trustDomain}${form.spiffe ? "/spiffe" : ""}`;
}

/**
 * What the mesh runs by now, decided and durable before any proxy sees it.
 * Invariants: `signer` is in `mesh`; `mesh` and `xdsServer` are in `xds`; every id has its entry in `roots`;
 * `generation` rises with every change and never goes back (E1).
 */
export type TrustInForce = {
  readonly generation: number;
  readonly signer: RootId;
  /** Roots in the mesh's trust bundle, in the order in which they joined. */
  readonly mesh: readonly RootId[];
  /** Roots that the xDS port accepts clients under, and that `validation_context_sds` holds (C5). */
  readonly xds: readonly RootId[];
  /** Root of the xDS server's own certificate. */
  readonly xdsServer: RootId;
  /**
   * Every trust domain that has ever been in force, which only grows: secret names in running configurations hold the one
   * of the day on which they were written. Undefined in what an earlier version stored.
   */
  readonly trustDomains?: readonly string[];
  readonly roots: Readonly<Record<RootId, TrustedRoot>>;
  /**
   * The last roots that were in force and are not any more, the newest last: so that who comes with a credential of one of them
   * can be told by its name. Nothing trusts them. Undefined in what an earlier version stored.
   */
  readonly retired?: readonly TrustedRoot[];
};

/** How many former roots are remembered: more rotations than an xDS credential lives through. */
const RETIRED_KEPT = 10;

/** What the roles ask for: a pure function of the MRCs (the table in README.md). */
export type DesiredTrust = {
  readonly validators: readonly TrustedRoot[];
  /** Active roots, the preferred signer first: the older by creation time, then by name. */
  readonly signers: readonly TrustedRoot[];
};

export function desiredTrust(roots: readonly MeshRoot[], loaded: ReadonlyMap<string, TrustedRoot>): DesiredTrust {
  const inUse = roots
    .filter((root) => root.role !== "inactive")
    .toSorted((a, b) => a.createdAt - b.createdAt || (a.name < b.name ? -1 : 1));
  const known = (list: MeshRoot[]) => list.flatMap((root) => loaded.get(root.name) ?? []);
  return { validators: known(inUse), signers: known(inUse.filter((root) => root.role === "active")) };
}

/** With two active roots the incumbent keeps signing: swapping by list order, as OSM does, flaps. */
export function desiredSigner(desired: DesiredTrust, incumbent: RootId | undefined): TrustedRoot | undefined {
  return desired.signers.find((root) => root.id === incumbent) ?? desired.signers[0];
}

/** The first trust of a mesh: nothing is connected yet, so nothing is gated. */
export function initialTrust(desired: DesiredTrust): TrustInForce | undefined {
  const signer = desired.signers[0];
  if (signer === undefined) return undefined;
  const ids = desired.validators.map((root) => root.id);
  return withRoots(
    { generation: 1, signer: signer.id, mesh: ids, xds: ids, xdsServer: signer.id, roots: {} },
    desired.validators,
  );
}

/** Adds root records, and forgets those that nothing refers to any more; their trust domains stay known. */
export function withRoots(trust: TrustInForce, added: readonly TrustedRoot[]): TrustInForce {
  const used = new Set([...trust.xds, ...trust.mesh, trust.signer, trust.xdsServer]);
  const records = [...Object.values(trust.roots), ...added].filter((root) => used.has(root.id));
  const roots = Object.fromEntries(records.map((root) => [root.id, root]));
  const former = [...(trust.retired ?? []), ...Object.values(trust.roots)].filter((root) => !used.has(root.id));
  const retired = [...new Map(former.map((root) => [root.id, root])).values()].slice(-RETIRED_KEPT);
  const trustDomains = [...new Set([...(trust.trustDomains ?? []), ...domainsOf({ ...trust.roots, ...roots })])];
  return { ...trust, trustDomains, roots, retired };
}

/** The trust domains that are or were ours, and so may stand in the name of a secret (xds-protocol.md). */
export function knownTrustDomains(trust: TrustInForce): readonly string[] {
  return trust.trustDomains ?? domainsOf(trust.roots);
}

function domainsOf(roots: TrustInForce["roots"]): string[] {
  return Object.values(roots).map((root) => root.form.trustDomain);
}

export function rootOf(trust: TrustInForce, id: RootId): TrustedRoot {
  const root = trust.roots[id];
  if (root === undefined) throw new Error(`invariant: no record of root ${id}`);
  return root;
}

/**
 * Roots of the xDS port that verify whatever `root` verifies, because it is the same CA reissued with its key: credentials under
 * one are as good under the other. Those end with their root (C6), so whoever has only the old certificate gets the new one in time.
 */
export function standIns(trust: TrustInForce, root: RootId, now: number): RootId[] {
  const { issuerId, form } = rootOf(trust, root);
  if (issuerId === undefined) return [];
  return trust.xds.filter((id) => {
    const other = rootOf(trust, id);
    const isSame = other.issuerId === issuerId && other.form.trustDomain === form.trustDomain;
    return id !== root && isSame && other.notBefore <= now && now < other.notAfter;
  });
}

/** More than one SAN form is in force while a rotation changes the trust domain or the SPIFFE setting. */
export function sanForms(trust: TrustInForce): SanForm[] {
  const forms = new Map(
    trust.mesh
      .map((id) => rootOf(trust, id).form)
      .map((form) => [JSON.stringify([form.trustDomain, form.spiffe]), form]),
  );
  return [...forms.values()];
}
