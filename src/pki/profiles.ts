/** What goes into each kind of certificate that meshroot asks for; pure, an authority signs it afterwards. */

import type { KeyObject } from "node:crypto";
import {
  dnsPrincipal,
  type ProxyIdentity,
  proxyCommonName,
  proxyUri,
  type SanForm,
  type ServiceIdentity,
  spiffeId,
} from "../core/identity.ts";
import type { IssueRequest } from "../ports/provider.ts";

/** How far `notBefore` lies in the past, in ms: a peer's clock may run up to two minutes behind ours. */
export const BACKDATE_MS = 2 * 60_000;

/** Renewal is due at the latest when this many ms are left. */
const MIN_RENEWAL_MARGIN_MS = 5 * 60_000;

/** Upper bound of a common name (X.520 ub-common-name, RFC 5280 appendix A), in characters. */
const MAX_COMMON_NAME = 64;

/**
 * `now` in ms since the epoch; the certificate ends `validityMs` after it. `earliest`: what the time may be at the earliest, where
 * the clock is in doubt; by default `now`.
 */
export type Period = { readonly now: number; readonly earliest?: number; readonly validityMs: number };

/**
 * A workload's leaf: its DNS principal as common name and DNS SAN, and where the root's form has SPIFFE its URI SAN too
 * (both as in OSM v1.3). Good for both ends of a connection.
 */
export function serviceLeaf(
  identity: ServiceIdentity,
  form: SanForm,
  period: Period,
  publicKey: KeyObject,
): IssueRequest {
  const principal = dnsPrincipal(identity, form.trustDomain);
  return {
    commonName: fitCommonName(principal),
    dnsNames: [principal],
    uris: form.spiffe ? [spiffeId(identity, form.trustDomain)] : [],
    usages: ["serverAuth", "clientAuth"],
    publicKey,
    ...validity(period),
  };
}

/** The credential of a proxy on the xDS port: exactly one URI SAN and no other name (evidence.md C1). */
export function xdsClient(proxy: ProxyIdentity, period: Period, publicKey: KeyObject): IssueRequest {
  return {
    commonName: shownCommonName(proxyCommonName(proxy)),
    dnsNames: [],
    uris: [proxyUri(proxy)],
    usages: ["clientAuth"],
    publicKey,
    ...validity(period),
  };
}

/** The xDS server's own certificate; the first name is its common name. */
export function xdsServer(
  dnsNames: readonly [string, ...string[]],
  period: Period,
  publicKey: KeyObject,
): IssueRequest {
  return {
    commonName: fitCommonName(dnsNames[0]),
    dnsNames,
    uris: [],
    usages: ["serverAuth"],
    publicKey,
    ...validity(period),
  };
}

/**
 * When to renew a certificate that was issued at `now`, all in ms since the epoch: with max(life / 3, 5 min) left (OSM's rule;
 * C6 asks for two thirds of the life too). One that lives for less than ten minutes, because its root ends, is renewed at
 * half its life, so that nothing is renewed without a pause. The noise that keeps proxies apart is the caller's.
 */
export function renewalTime(now: number, notAfter: number): number {
  const life = notAfter - now;
  return notAfter - Math.min(Math.max(life / 3, MIN_RENEWAL_MARGIN_MS), life / 2);
}

/**
 * A dotted name cut to 64 characters at the end of a label, so that what is left never shows half a name. The whole name
 * is in the SAN, by which every decision is made; OSM wrote longer ones, which strict X.520 readers refuse. The uuid and
 * kind of a proxy (at most 44 characters) always survive.
 */
export function fitCommonName(name: string, max = MAX_COMMON_NAME): string {
  if (name.length <= max) return name;
  const end = name.lastIndexOf(".", max);
  return name.slice(0, end > 0 ? end : max);
}

/**
 * A cut name ends with a dot, so that no verifier takes it for the host name that it is not: without a DNS name beside it, the
 * common name would be held against the root's name constraints (OpenSSL, RFC 5280 says nothing of it).
 */
function shownCommonName(name: string): string {
  return name.length <= MAX_COMMON_NAME ? name : `${fitCommonName(name, MAX_COMMON_NAME - 1)}.`;
}

function validity({ now, earliest = now, validityMs }: Period): {
  readonly notBefore: number;
  readonly notAfter: number;
} {
  return { notBefore: earliest - BACKDATE_MS, notAfter: now + validityMs };
}
