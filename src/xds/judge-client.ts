/** What a TLS handshake says of a client, and of one that failed. */

import { X509Certificate } from "node:crypto";
import type { TLSSocket } from "node:tls";
import { MeshrootError } from "../core/errors.ts";
import type { ServerHints } from "./hints.ts";

export type JudgedClient<Identity> =
  | { readonly kind: "verified"; readonly certificate: X509Certificate; readonly identity: Identity }
  | { readonly kind: "refused"; readonly reason: string; readonly hint: string };

/** `identify` throws to refuse a certificate. */
export function judgeClient<Identity>(
  socket: TLSSocket,
  { identify, hints }: { readonly identify: (certificate: X509Certificate) => Identity; readonly hints: ServerHints },
): JudgedClient<Identity> {
  // Not getPeerX509Certificate: Node 24.20 then keeps 6 KB outside the heap for each connection (test/load/soak.test.ts).
  const der = socket.getPeerCertificate().raw as Buffer | undefined;
  if (der === undefined) return refused("the client sent no certificate", hints.noCertificate);
  let certificate: X509Certificate;
  let identity: Identity;
  try {
    certificate = new X509Certificate(der);
    identity = identify(certificate);
  } catch (error) {
    return refused((error as Error).message, error instanceof MeshrootError ? error.hint : "");
  }
  if (!socket.authorized)
    return refused(`client certificate refused: ${String(socket.authorizationError)}`, hints.unverified);
  if (socket.alpnProtocol !== "h2")
    return refused("the client does not speak HTTP/2 (ALPN h2)", "Set alpn_protocols: [h2] in its cluster.");
  return { kind: "verified", certificate, identity };
}

function refused(
  reason: string,
  hint: string,
): { readonly kind: "refused"; readonly reason: string; readonly hint: string } {
  return { kind: "refused", reason, hint };
}

/** OpenSSL's message holds a thread id, a source line and a newline; its `reason` says what happened. */
export function handshakeFailure(error: Error & { readonly code?: string; readonly reason?: string }): string {
  if (isDistrust(error)) return "TLS handshake failed: the client does not trust the root of this server's certificate";
  return `TLS handshake failed: ${error.reason ?? error.message.split("\n")[0]}`;
}

/** The client does not trust our certificate. */
export function isDistrust({ code }: NodeJS.ErrnoException): boolean {
  return code === "ERR_SSL_TLSV1_ALERT_UNKNOWN_CA" || code === "ERR_SSL_TLSV1_UNKNOWN_CA";
}

export function isCutOff(error: NodeJS.ErrnoException): boolean {
  return error.code === "ECONNRESET";
}
