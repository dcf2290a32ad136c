/** The set of credentials that a proxy's folder holds, with the versions under which the server sent them. */

import { randomBytes } from "node:crypto";
import { readFile, readlink } from "node:fs/promises";
import { join } from "node:path";
import { MeshrootError } from "../core/errors.ts";
import { CREDENTIAL_FILES, writeCredentials } from "../envoy/credentials-dir.ts";

export type HeldCredentials = {
  readonly certPem: string;
  readonly keyPem: string;
  readonly caPem: string;
  /** Empty for what `meshroot proxy bootstrap` wrote: no stream has sent it. */
  readonly versions: ReadonlyMap<string, string>;
};

/** Swaps with the credentials, so that a version is never said of other bytes. */
const VERSIONS_FILE = "versions.json";
const DATA = "..data";
const ATTEMPTS = 5;

/** One set, never half of two. Throws MR2002. The result holds the private key: not for logs. */
export async function readHeld(certDir: string): Promise<HeldCredentials> {
  for (let attempt = 1; ; attempt++) {
    const before = await readlink(join(certDir, DATA)).catch(() => undefined);
    try {
      const folder = join(certDir, before ?? "");
      const [certPem, keyPem, caPem] = await Promise.all(
        [CREDENTIAL_FILES.cert, CREDENTIAL_FILES.key, CREDENTIAL_FILES.ca].map((name) =>
          readFile(join(folder, name), "utf8"),
        ),
      );
      const versions = await readFile(join(folder, VERSIONS_FILE), "utf8").then(parseVersions, () => NONE);
      return { certPem: certPem ?? "", keyPem: keyPem ?? "", caPem: caPem ?? "", versions };
    } catch (error) {
      // Somebody swapped the set while it was read, which removes the old one.
      const after = await readlink(join(certDir, DATA)).catch(() => undefined);
      if (after !== before && attempt < ATTEMPTS) continue;
      const hint = "Write the credentials again with `meshroot proxy bootstrap`, into the same folder.";
      throw new MeshrootError("MR2002", `can't read credentials: ${(error as Error).message}`, hint, error);
    }
  }
}

/** One rename for all of it (C2). The PEM goes to disk as it came, comment line included (E2). Throws MR2002. */
export async function writeHeld(certDir: string, held: HeldCredentials): Promise<void> {
  const { certPem, keyPem, caPem, versions } = held;
  const files = { [VERSIONS_FILE]: `${JSON.stringify(Object.fromEntries(versions))}\n` };
  await writeCredentials(certDir, { certPem, keyPem, caPem, files });
}

/** True if a reader of the files could not tell the two apart. */
export function sameBytes(a: HeldCredentials, b: HeldCredentials): boolean {
  return a.certPem === b.certPem && a.keyPem === b.keyPem && a.caPem === b.caPem;
}

/**
 * The same PEM behind a comment line of its own (E2). V: after a reload that failed, Envoy skips files that are equal to
 * the last ones that it loaded, and goes on holding the refused ones for when their companion changes.
 */
export function inUniqueBytes(pem: string): string {
  return `meshroot ${randomBytes(8).toString("hex")}\n${pem.replace(/^meshroot [0-9a-f]+\n/, "")}`;
}

const NONE: ReadonlyMap<string, string> = new Map();

function parseVersions(text: string): ReadonlyMap<string, string> {
  try {
    const entries = Object.entries(JSON.parse(text) as Record<string, unknown>);
    return new Map(entries.filter((entry): entry is [string, string] => typeof entry[1] === "string"));
  } catch {
    return NONE;
  }
}
