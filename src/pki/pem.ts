/** PEM (RFC 7468): reading bundles as people and tools leave them, and writing them in one normal form. */

import { X509Certificate } from "node:crypto";
import { MeshrootError, type Problem } from "../core/errors.ts";
import { type CertificateInfo, inspectX509 } from "./inspect.ts";

export type ParsedCertificate = CertificateInfo & {
  /** In normal form: lines of 64, LF, a final newline. */
  readonly pem: string;
  readonly der: Buffer;
  readonly x509: X509Certificate;
};

export type ParsedBundle = {
  /** In the order of the text, each once. */
  readonly certificates: readonly ParsedCertificate[];
  /** MR3005 each; none repeats what stands in the text. */
  readonly problems: readonly Problem[];
};

const CERTIFICATE_LABELS = new Set(["CERTIFICATE", "X509 CERTIFICATE"]);
const HINT = "Give only whole -----BEGIN CERTIFICATE----- … -----END CERTIFICATE----- blocks.";

/**
 * Reads every certificate in `text`, whatever its line ends, with text between the blocks, or glued together where a
 * final newline was missing. What can't be used becomes a problem, and the rest is still returned. Never throws.
 */
export function parseBundle(text: string): ParsedBundle {
  const certificates = new Map<string, ParsedCertificate>();
  const problems: Problem[] = [];
  for (const [index, block] of blocks(text).entries()) {
    const parsed = parseBlock(block);
    if (typeof parsed === "string") {
      const message = `PEM block ${index + 1} (line ${block.line}) ${parsed}`;
      problems.push({ code: "MR3005", message, hint: HINT });
    } else if (!certificates.has(parsed.fingerprint)) certificates.set(parsed.fingerprint, parsed);
  }
  return { certificates: [...certificates.values()], problems };
}

/** One certificate, no more and no less. Throws MR3005 naming `what` otherwise. */
export function parseOne(text: string, what: string): ParsedCertificate {
  const { certificates, problems } = parseBundle(text);
  const [problem] = problems;
  if (problem !== undefined) throw new MeshrootError("MR3005", `${what}: ${problem.message}`, problem.hint);
  const [certificate] = certificates;
  if (certificate === undefined || certificates.length > 1)
    throw new MeshrootError("MR3005", `${what} holds ${certificates.length} certificates instead of one`, HINT);
  return certificate;
}

/** The certificates one after the other in normal form, in the given order; an empty text for an empty list. */
export function encodeBundle(certificates: readonly Pick<ParsedCertificate, "der">[]): string {
  return certificates.map(({ der }) => certificatePem(der)).join("");
}

/** DER as PEM in normal form. */
export function certificatePem(der: Buffer): string {
  const lines = der.toString("base64").match(/.{1,64}/g) ?? [];
  return `-----BEGIN CERTIFICATE-----\n${lines.join("\n")}\n-----END CERTIFICATE-----\n`;
}

/** What stands between two boundary lines; `body` is undefined where the matching end line is missing. */
type Block = { readonly line: number; readonly label: string; readonly body: string | undefined };

/** Goes from boundary to boundary, so that a block without an end costs itself only and never swallows its neighbour. */
function blocks(text: string): Block[] {
  const found: Block[] = [];
  let open: { readonly label: string; readonly line: number; readonly from: number } | undefined;
  let line = 1;
  let counted = 0;
  for (const match of text.matchAll(/-----(BEGIN|END) ([A-Z0-9 ]+)-----/g)) {
    const [boundary, kind, label = ""] = match;
    for (; counted < match.index; counted += 1) if (text[counted] === "\n") line += 1;
    if (open !== undefined) {
      const ends = kind === "END" && label === open.label;
      found.push({ ...open, body: ends ? text.slice(open.from, match.index) : undefined });
    }
    open = kind === "BEGIN" ? { label, line, from: match.index + boundary.length } : undefined;
  }
  return open === undefined ? found : [...found, { ...open, body: undefined }];
}

/** The certificate, or what is wrong with the block. */
function parseBlock({ label, body }: Block): ParsedCertificate | string {
  if (body === undefined) return "has no matching end line";
  if (!CERTIFICATE_LABELS.has(label)) return `is a ${label}, not a CERTIFICATE`;
  const base64 = body.replace(/\s+/g, "");
  // Buffer.from skips what is not base64; a certificate that was cut or pasted badly deserves to be told apart.
  if (!/^[A-Za-z0-9+/]+={0,2}$/.test(base64) || base64.length % 4 !== 0) return "is not base64";
  try {
    const x509 = new X509Certificate(Buffer.from(base64, "base64"));
    return { ...inspectX509(x509), pem: certificatePem(x509.raw), der: x509.raw, x509 };
  } catch {
    return "is not an X.509 certificate";
  }
}
