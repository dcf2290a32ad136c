/** Who a workload is, and the names that its certificates carry. */

/** A service identity: Kubernetes' service account and namespace (`sa.ns`). */
export type ServiceIdentity = { readonly serviceAccount: string; readonly namespace: string };

/**
 * How a root writes identities into certificates (and so which SAN a peer has to match): its trust domain, and
 * whether leaves carry a SPIFFE URI beside their DNS name.
 */
export type SanForm = { readonly trustDomain: string; readonly spiffe: boolean };

export type ProxyKind = "sidecar" | "gateway";

/** An xDS client, as its certificate proved it (evidence.md C1). `uuid` names the proxy. */
export type ProxyIdentity = ServiceIdentity & {
  readonly uuid: string;
  readonly kind: ProxyKind;
  readonly trustDomain: string;
};

/** `sa.ns`, as OSM writes it. */
export function identityName(identity: ServiceIdentity): string {
  return `${identity.serviceAccount}.${identity.namespace}`;
}

/** `sa.ns.trustDomain`: common name and DNS SAN of a leaf. */
export function dnsPrincipal(identity: ServiceIdentity, trustDomain: string): string {
  return `${identity.serviceAccount}.${identity.namespace}.${trustDomain}`;
}

/** `spiffe://trustDomain/sa/ns`: OSM's order, service account first. */
export function spiffeId(identity: ServiceIdentity, trustDomain: string): string {
  return `spiffe://${trustDomain}/${identity.serviceAccount}/${identity.namespace}`;
}

/** The SAN that a peer matches to know `identity` under a root of this form. */
export function principalOf(
  identity: ServiceIdentity,
  form: SanForm,
): { readonly type: "DNS" | "URI"; readonly value: string } {
  return form.spiffe
    ? { type: "URI", value: spiffeId(identity, form.trustDomain) }
    : { type: "DNS", value: dnsPrincipal(identity, form.trustDomain) };
}

const LABEL = "[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?";
const DNS_LABEL = new RegExp(`^${LABEL}$`);
const DNS_NAME = new RegExp(`^${LABEL}(\\.${LABEL})*$`);
const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/;

/** In lower case. */
export function isUuid(text: string): boolean {
  return UUID.test(text);
}

/**
 * A DNS-1123 label (RFC 1123): a namespace or a service account. Kubernetes also allows dots in a service account; we do
 * not, because `sa.ns.trustDomain` could then be read in two ways.
 */
export function isDnsLabel(text: string): boolean {
  return DNS_LABEL.test(text);
}

/** A DNS-1123 subdomain of at most 253 characters: a trust domain. */
export function isDnsName(text: string): boolean {
  return text.length <= 253 && DNS_NAME.test(text);
}

/** The URI SAN of an xDS certificate: mark and identity in one, which a service leaf never carries (C1). */
export function proxyUri(proxy: ProxyIdentity): string {
  return `meshroot://${proxy.trustDomain}/proxy/${proxy.namespace}/${proxy.serviceAccount}/${proxy.kind}/${proxy.uuid}`;
}

/** `<uuid>.<kind>.<sa>.<ns>.<trustDomain>`: OSM's common name of an xDS certificate; for people, never for decisions. */
export function proxyCommonName(proxy: ProxyIdentity): string {
  return `${proxy.uuid}.${proxy.kind}.${dnsPrincipal(proxy, proxy.trustDomain)}`;
}

/** Reads `proxyUri` back. Anything that is not exactly of that form, to the byte, is undefined. */
export function parseProxyUri(uri: string): ProxyIdentity | undefined {
  const match = /^meshroot:\/\/([^/]+)\/proxy\/([^/]+)\/([^/]+)\/(sidecar|gateway)\/([^/]+)$/.exec(uri);
  if (match === null) return undefined;
  const [, trustDomain = "", namespace = "", serviceAccount = "", kind, uuid = ""] = match;
  if (!isDnsName(trustDomain) || !isDnsLabel(namespace) || !isDnsLabel(serviceAccount) || !isUuid(uuid))
    return undefined;
  return { trustDomain, namespace, serviceAccount, kind: kind as ProxyKind, uuid };
}
