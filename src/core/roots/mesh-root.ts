/** MeshRootCertificate (MRC): the operator's declaration of a root, its role in the mesh and who signs with it. */

import type { Problem } from "../errors.ts";

export const ROLES = ["active", "passive", "inactive"] as const;
/** active: signs and validates. passive: validates. inactive: not used. */
export type Role = (typeof ROLES)[number];

export type SecretRef = { readonly name: string; readonly namespace: string };

export type ProviderSpec =
  | { readonly kind: "tresor"; readonly secretRef: SecretRef }
  | {
      readonly kind: "vault";
      readonly host: string;
      readonly port: number;
      readonly protocol: "http" | "https";
      readonly role: string;
      readonly tokenSecretKeyRef: SecretRef & { readonly key: string };
    }
  | {
      readonly kind: "certManager";
      readonly issuerName: string;
      readonly issuerKind: "Issuer" | "ClusterIssuer";
      readonly issuerGroup: string;
    };

/** One parsed MRC. All that may change after its creation is `role` (and the annotation behind `forceUnsafe`). */
export type MeshRoot = {
  readonly name: string;
  readonly namespace: string;
  readonly role: Role;
  readonly trustDomain: string;
  readonly spiffeEnabled: boolean;
  readonly provider: ProviderSpec;
  /** Milliseconds since the epoch. Between two active roots with no record of who signed, the older signs. */
  readonly createdAt: number;
  /** Reason given with `--force-unsafe`; while it stands, the gates do not hold this mesh back. */
  readonly forceUnsafe?: string;
  /** Reason given with `--accept-short-life`: it may end before the mesh could rotate away from it (MR3008). */
  readonly acceptShortLife?: string;
};

/** apiVersion and kind of the manifest, those of OSM v1.3. */
export const MESH_ROOT_API_VERSION = "config.openservicemesh.io/v1alpha2";
export const MESH_ROOT_KIND = "MeshRootCertificate";
/** Annotation whose value becomes `MeshRoot.forceUnsafe`. */
export const FORCE_UNSAFE_ANNOTATION = "meshroot.dev/force-unsafe";
/** Annotation whose value becomes `MeshRoot.acceptShortLife`. */
export const ACCEPT_SHORT_LIFE_ANNOTATION = "meshroot.dev/accept-short-life";
/** OSM's control namespace: only roots in it are used. */
export const DEFAULT_NAMESPACE = "osm-system";
export const DEFAULT_TRUST_DOMAIN = "cluster.local";

/** What a store knows about its roots at one moment, always all of it. */
export type RootListing = {
  readonly roots: readonly MeshRoot[];
  /** Names (`namespace/name`) whose manifest can't be read at the moment: what `roots` holds is the last good version. */
  readonly outdated: readonly string[];
  /** What is wrong, and where (a file, an object). */
  readonly problems: readonly { readonly source: string; readonly problem: Problem }[];
  /**
   * What is missing here may be back in a moment, as when an editor saves a file by taking the old one away: it is not known yet
   * to be deleted. Without this, what is missing was deleted.
   */
  readonly provisional?: true;
};

/** `namespace/name`, unique among all roots. */
export function rootKey(root: Pick<MeshRoot, "name" | "namespace">): string {
  return `${root.namespace}/${root.name}`;
}

/** Whether a role signs or validates. */
export function isInUse(root: Pick<MeshRoot, "role">): boolean {
  return root.role !== "inactive";
}

/** Planning asks this once per root and plan, mostly of one and the same object. */
export function sameSpec(a: ProviderSpec, b: ProviderSpec): boolean {
  return a === b || JSON.stringify(a) === JSON.stringify(b);
}
