/** Who an xDS client is: what its certificate proves, and nothing that it claims (evidence.md C1). */

import { X509Certificate } from "node:crypto";
import { MeshrootError } from "../core/errors.ts";
import type { XdsCredential } from "../core/evidence/ledger-state.ts";
import { fingerprintOf } from "../core/fingerprint.ts";
import { foreignText } from "../core/foreign-text.ts";
import { type ProxyIdentity, parseProxyUri } from "../core/identity.ts";
import { type RootId, rootOf, type TrustedRoot, type TrustInForce } from "../core/roots/trust.ts";

export type ClientIdentity = { readonly proxy: ProxyIdentity; readonly credential: XdsCredential };

const REMEDY = "Write new credentials for it with `meshroot proxy bootstrap`, into the folder that it has.";

/**
 * Reads the identity from a client certificate. Throws MR4001, with what to do, when the certificate does not chain
 * to a root that the xDS port accepts, is not valid at `now`, or is no xDS certificate of ours: exactly one URI SAN of the
 * form of C1, in a trust domain in force. A service leaf never passes.
 */
export function identifyClient(certificate: X509Certificate, trust: TrustInForce, now: number): ClientIdentity {
  const notBefore = certificate.validFromDate.getTime();
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
  if (now >= notAfter) throw refused(`the xDS certificate of ${who} expired at ${certificate.validTo}`, REMEDY);
  if (now < notBefore)
    throw refused(
      `the xDS certificate of ${who} is valid from ${certificate.validFrom} only`,
      "Check the clocks of both machines.",
    );
  const isIssuer = (id: RootId) => now < rootOf(trust, id).notAfter && isUnder(certificate, rootOf(trust, id));
  // One CA may stand behind two MRCs of different trust domains.
  const isNamesake = (id: RootId) => rootOf(trust, id).form.trustDomain === proxy.trustDomain;
  const root = trust.xds.find((id) => isNamesake(id) && isIssuer(id)) ?? trust.xds.find(isIssuer);
  if (root === undefined) {
    const former = trust.retired?.findLast((one) => isUnder(certificate, one));
    throw refused(
      former === undefined
        ? `the xDS certificate of ${who} is under a root that this mesh does not trust (issuer ${shown(certificate.issuer)})`
        : `the xDS certificate of ${who} is under ${former.name}, a root that has left the mesh (${former.fingerprint.slice(0, 12)})`,
      `${REMEDY} An agent (\`meshroot proxy agent\`) beside its Envoy keeps it from being left behind.`,
    );
  }
  const domains = trust.xds.map((id) => rootOf(trust, id).form.trustDomain);
  if (!domains.includes(proxy.trustDomain))
    throw refused(`trust domain ${proxy.trustDomain} of ${who} is not in force`, REMEDY);
  return { proxy, credential: { fingerprint: fingerprintOf(certificate), root, notBefore, notAfter } };
}

/** A signature holds for ever, so each is verified once; what changes with time and trust is asked anew. */
const verified = new WeakMap<X509Certificate, Map<string, boolean>>();
const parsed = new WeakMap<TrustedRoot, X509Certificate>();

function isUnder(certificate: X509Certificate, root: TrustedRoot): boolean {
  const known = verified.get(certificate) ?? new Map<string, boolean>();
  verified.set(certificate, known);
  const found = known.get(root.fingerprint);
  if (found !== undefined) return found;
  const issuer = parsed.get(root) ?? new X509Certificate(root.certificatePem);
  parsed.set(root, issuer);
  const result = certificate.checkIssued(issuer) && certificate.verify(issuer.publicKey);
  known.set(root.fingerprint, result);
  return result;
}

/** Anybody may have written it, so it is cut. */
function subjectOf(certificate: X509Certificate): string {
  return shown(certificate.subject ?? "(no subject)");
}

function shown(name: string): string {
  return foreignText(name.replaceAll("\n", ", "), 200);
}

/** URI SANs as Node prints them; a quoted entry (Node quotes what could be misread) is no URI of ours. */
function uriSans(text: string): string[] {
  return text.split(", ").flatMap((entry) => (entry.startsWith("URI:") ? [entry.slice("URI:".length)] : []));
}

function refused(message: string, hint: string): MeshrootError {
  return new MeshrootError("MR4001", message, hint);
}
