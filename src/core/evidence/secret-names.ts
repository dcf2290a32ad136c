/** Names that a proxy may ask for (xds-protocol.md, "Names of secrets"). All resolve to the proxy's own identity. */

import type { ServiceIdentity } from "../identity.ts";
import type { SecretKind } from "./content.ts";

export type ResolvedName =
  | {
      readonly kind: SecretKind /** `ns/service`, for a bundle that carries SAN matchers. */;
      readonly service?: string;
    }
  /** Not ours to give, whether it exists or not; the wire does not tell the two apart (R38). */
  | { readonly kind: "none"; readonly forbidden: boolean };

/** What secures the connection to us. */
export const XDS_LEAF = "tls_sds";
export const XDS_BUNDLE = "validation_context_sds";

const OWN_LEAF = "default";
const PLAIN_BUNDLES = new Set(["root-cert-for-mtls-inbound", "ROOTCA", "ALL"]);
const OUTBOUND = "root-cert-for-mtls-outbound:";

/**
 * `trustDomains`: those that are or were in force, because names in running configurations outlive the trust domain in
 * them. Any other is somebody else's, and our bundle is no answer to it. The spellings of OSM, SPIRE and Istio are
 * accepted, to the byte: no normalisation, so that no second spelling can lead to another identity.
 */
export function resolveSecretName(
  name: string,
  identity: ServiceIdentity,
  trustDomains: readonly string[],
): ResolvedName {
  if (isPlainLeaf(name, identity)) return { kind: "leaf" };
  if (PLAIN_BUNDLES.has(name)) return { kind: "bundle" };
  if (name.startsWith(OUTBOUND)) return { kind: "bundle", service: name.slice(OUTBOUND.length) };
  if (name === XDS_LEAF) return { kind: "xdsLeaf" };
  if (name === XDS_BUNDLE) return { kind: "xdsBundle" };
  for (const domain of trustDomains) {
    if (name === `spiffe://${domain}`) return { kind: "bundle" };
    if (leafPaths(identity).some((path) => name === `spiffe://${domain}/${path}`)) return { kind: "leaf" };
  }
  return { kind: "none", forbidden: name.startsWith("service-cert:") || name.startsWith("spiffe://") };
}

/** Whether `name` is one under which this identity takes its own leaf, in whatever trust domain. */
export function isOwnLeafName(name: string, identity: ServiceIdentity): boolean {
  const path = /^spiffe:\/\/[^/]+\/(.*)$/.exec(name)?.[1];
  return isPlainLeaf(name, identity) || (path !== undefined && leafPaths(identity).includes(path));
}

function isPlainLeaf(name: string, { namespace, serviceAccount }: ServiceIdentity): boolean {
  return name === OWN_LEAF || name === `service-cert:${namespace}/${serviceAccount}`;
}

/** What follows the trust domain in a leaf's name: OSM's form, and that of Istio and SPIRE. */
function leafPaths({ namespace, serviceAccount }: ServiceIdentity): string[] {
  return [`${serviceAccount}/${namespace}`, `ns/${namespace}/sa/${serviceAccount}`];
}
