/** Whose xDS certificate it is, for those who hold it themselves. The server judges strangers' (xds/client-identity.ts). */

import { X509Certificate } from "node:crypto";
import { type ProxyIdentity, parseProxyUri } from "../core/identity.ts";

/** Undefined for what is no certificate, or no xDS certificate of ours: exactly one SAN, a URI of the form of C1. */
export function xdsIdentity(certificate: string | X509Certificate): ProxyIdentity | undefined {
  let x509: X509Certificate;
  try {
    x509 = typeof certificate === "string" ? new X509Certificate(certificate) : certificate;
  } catch {
    return undefined;
  }
  const names = x509.subjectAltName ?? "";
  return names.startsWith("URI:") ? parseProxyUri(names.slice("URI:".length)) : undefined;
}
