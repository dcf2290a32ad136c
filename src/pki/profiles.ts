/** Which names, uses and times our certificates carry (osm-compatibility of the leaf; evidence.md C1 of the xDS ones). */

import type { IssueRequest, KeyPair } from "../controller/ports.ts";
import { dnsPrincipal, type ProxyIdentity, proxyCommonName, proxyUri, type SanForm, type ServiceIdentity, spiffeId } from "../core/identity.ts";

/** Tolerance for clocks that are behind ours: a fresh certificate must be valid for them too. */
export const BACKDATE_MS = 2 * 60_000;

/** X.520's upper bound of a common name, in characters; longer ones are cut, since names are matched by SAN only. */
const MAX_COMMON_NAME = 64;

export type Validity = { readonly now: number; readonly validityMs: number };

export function serviceLeaf(identity: ServiceIdentity, form: SanForm, validity: Validity, keyPair: KeyPair): IssueRequest {
  const name = dnsPrincipal(identity, form.trustDomain);
  const uris = form.spiffe ? [spiffeId(identity, form.trustDomain)] : [];
  return { commonName: cut(name), dnsNames: [name], uris, usages: ["serverAuth", "clientAuth"], keyPair, ...times(validity) };
}

/** Exactly one URI SAN, which marks it and which no service leaf carries (C1). */
export function xdsClient(proxy: ProxyIdentity, validity: Validity, keyPair: KeyPair): IssueRequest {
  const uris = [proxyUri(proxy)];
  return { commonName: cut(proxyCommonName(proxy)), dnsNames: [], uris, usages: ["clientAuth"], keyPair, ...times(validity) };
}

export function xdsServer(dnsNames: readonly string[], validity: Validity, keyPair: KeyPair): IssueRequest {
  return { commonName: cut(dnsNames[0] ?? "xds"), dnsNames, uris: [], usages: ["serverAuth"], keyPair, ...times(validity) };
}

function times({ now, validityMs }: Validity) {
  return { notBefore: now - BACKDATE_MS, notAfter: now + validityMs };
}

function cut(commonName: string): string {
  return commonName.slice(0, MAX_COMMON_NAME);
}
