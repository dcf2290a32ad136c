/** The openssl command as an oracle that shares no code with ours. */

import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** Runs openssl with `files` written to a directory of its own, which is its working directory. Throws when it fails. */
export function openssl(args: readonly string[], files: Readonly<Record<string, string | Buffer>> = {}): string {
  const directory = mkdtempSync(join(tmpdir(), "meshroot-openssl-"));
  try {
    for (const [name, content] of Object.entries(files)) writeFileSync(join(directory, name), content, { mode: 0o600 });
    const { status, stdout, stderr } = spawnSync("openssl", args, { cwd: directory, encoding: "utf8" });
    if (status !== 0) throw new Error(`openssl ${args.join(" ")}: ${stdout}${stderr}`);
    return stdout;
  } finally {
    rmSync(directory, { recursive: true });
  }
}

/**
 * Throws unless the first certificate of `chainPem` chains to `rootsPem` at `now` (ms) for `purpose`. `strict` adds the
 * rules of RFC 5280 that OpenSSL leaves out by default.
 */
export function opensslVerify(
  chainPem: string,
  rootsPem: string,
  now: number,
  purpose: "sslserver" | "sslclient" | "any" = "any",
  strict = true,
): void {
  const time = ["-attime", String(Math.floor(now / 1000))];
  const args = ["verify", ...(strict ? ["-x509_strict"] : []), ...time, "-purpose", purpose];
  openssl([...args, "-CAfile", "roots.pem", "-untrusted", "chain.pem", "chain.pem"], {
    "roots.pem": rootsPem,
    "chain.pem": chainPem,
  });
}
