/** MeshRootCertificate (MRC): the operator's declaration of a root, its role in the mesh and who signs with it. */

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
};
