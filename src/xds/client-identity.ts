/** Who an xDS client is: what its certificate proves, and nothing that it claims (evidence.md C1). */

import { X509Certificate } from "node:crypto";
import { MeshrootError } from "../core/errors.ts";
import { type ProxyIdentity, parseProxyUri } from "../core/identity.ts";
import { type RootId, rootOf, type TrustInForce } from "../core/trust.ts";

export type ClientIdentity = {
  readonly proxy: ProxyIdentity;
  /** The root that its certificate chains to. */
  readonly root: RootId;
  /** Milliseconds since the epoch. */
  readonly notAfter: number;
};

/**
 * Reads the identity from a client certificate (DER). Throws MR4001, with what to do, when the certificate does not chain
 * to a root that the xDS port accepts, is not valid at `now`, or is no xDS certificate of ours: exactly one URI SAN of the
 * form of C1, in a trust domain in force. A service leaf never passes.
 */
export function identifyClient(der: Buffer, trust: TrustInForce, now: number): ClientIdentity {
  const certificate = new X509Certificate(der);
  const notAfter = certificate.validToDate.getTime();
  const uris = uriSans(certificate.subjectAltName ?? "");
  const proxy = uris.length === 1 ? parseProxyUri(uris[0] ?? "") : undefined;
  if (proxy === undefined) {
    throw refused(
      `the certificate of ${subjectOf(certificate)} is no xDS certificate of meshroot: it needs exactly one URI SAN meshroot://…`,
      "Give Envoy the files that `meshroot proxy bootstrap` wrote.",
    );
  }
  const who = `${proxy.serviceAccount}.${proxy.namespace} (${proxy.uuid})`;
  if (now >= notAfter)
    throw refused(
      `the xDS certificate of ${who} expired at ${certificate.validTo}`,
      "Write a new one with `meshroot proxy bootstrap`.",
    );
  if (now < certificate.validFromDate.getTime())
    throw refused(
      `the xDS certificate of ${who} is valid from ${certificate.validFrom} only`,
      "Check the clocks of both machines.",
    );
  const root = trust.xds.find((id) => {
    const issuer = new X509Certificate(rootOf(trust, id).certificatePem);
    return (
      certificate.checkIssued(issuer) && certificate.verify(issuer.publicKey) && now < issuer.validToDate.getTime()
    );
  });
  if (root === undefined) {
    throw refused(
      `the xDS certificate of ${who} is under a root that is no longer trusted (issuer ${certificate.issuer.replaceAll("\n", ", ")})`,
      "Write a new bootstrap for it with `meshroot proxy bootstrap`.",
    );
  }
  const domains = trust.xds.map((id) => rootOf(trust, id).form.trustDomain);
  if (!domains.includes(proxy.trustDomain))
    throw refused(
      `trust domain ${proxy.trustDomain} of ${who} is not in force`,
      "Write a new bootstrap for it with `meshroot proxy bootstrap`.",
    );
  return { proxy, root, notAfter };
}

/** Anybody may have written it, so it is cut. */
function subjectOf(certificate: X509Certificate): string {
  return (certificate.subject ?? "(no subject)").replaceAll("\n", ", ").slice(0, 200);
}

/** URI SANs as Node prints them; a quoted entry (Node quotes what could be misread) is no URI of ours. */
function uriSans(text: string): string[] {
  return text.split(", ").flatMap((entry) => (entry.startsWith("URI:") ? [entry.slice("URI:".length)] : []));
}

function refused(message: string, hint: string): MeshrootError {
  return new MeshrootError("MR4001", message, hint);
}
