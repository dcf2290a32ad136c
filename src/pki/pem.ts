/** PEM bundles (RFC 7468): read leniently, written in one way. */

import { X509Certificate } from "node:crypto";
import type { Problem } from "../core/errors.ts";
import { type CertificateInfo, inspectCertificate } from "./inspect.ts";

export type BundleEntry = CertificateInfo & { /** Normalised, with a final newline. */ readonly pem: string };

export type ParsedBundle = { readonly certificates: readonly BundleEntry[]; readonly problems: readonly Problem[] };

const BLOCK = /-----BEGIN ([A-Z0-9 ]+)-----([\s\S]*?)-----END \1-----/g;

/**
 * Certificates in their order, each once. Tolerates CRLF, text between the blocks, and a missing final newline even where
 * the next block begins on the same line (F20). Blocks of other kinds are skipped, unreadable ones are problems (MR3005).
 */
export function parseBundle(text: string): ParsedBundle {
  const certificates = new Map<string, BundleEntry>();
  const problems: Problem[] = [];
  for (const [, label, body = ""] of text.matchAll(BLOCK)) {
    if (label !== "CERTIFICATE") continue;
    const der = Buffer.from(body.replaceAll(/\s/g, ""), "base64");
    try {
      const info = inspectCertificate(new X509Certificate(der));
      certificates.set(info.fingerprint, { ...info, pem: toPem("CERTIFICATE", der) });
    } catch {
      const message = `certificate ${certificates.size + problems.length + 1} of the bundle can't be read`;
      problems.push({ code: "MR3005", message, hint: "check it with `openssl x509 -text`, or take it out of the bundle" });
    }
  }
  return { certificates: [...certificates.values()], problems };
}

export function encodeBundle(certificates: readonly Pick<BundleEntry, "pem">[]): string {
  return certificates.map(({ pem }) => pem).join("");
}

/** Lines of 64 characters and a final newline, as RFC 7468 section 2 wants generators to write it. */
export function toPem(label: string, der: Buffer): string {
  const lines = der.toString("base64").match(/.{1,64}/g) ?? [];
  return `-----BEGIN ${label}-----\n${lines.join("\n")}\n-----END ${label}-----\n`;
}
