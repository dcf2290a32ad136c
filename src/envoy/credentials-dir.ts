/** A directory with one certificate, its key and a trust bundle that change together (evidence.md C2). */

import { randomBytes } from "node:crypto";
import { mkdir, open, readdir, readlink, rename, rm, symlink, unlink } from "node:fs/promises";
import { join } from "node:path";
import { MeshrootError } from "../core/errors.ts";

export type Credentials = {
  /** Leaf first, then intermediates. */
  readonly certPem: string;
  readonly keyPem: string;
  /** Every root to trust. */
  readonly caPem: string;
  /** Further plain file names and contents that change in the same rename. */
  readonly files?: Readonly<Record<string, string>>;
};

export const CREDENTIAL_FILES = { cert: "tls.crt", key: "tls.key", ca: "ca.crt" } as const;

/** The names of OSM v1.3 for the same three files, as further links. */
const OSM_LINKS = { "sds_cert.pem": "tls.crt", "sds_key.pem": "tls.key", "cacert.pem": "ca.crt" } as const;

const DATA = "..data";
const NEXT = "..data_tmp";
const VERSION_PREFIX = "..v-";
/** No write takes longer. */
const WRITTEN_MS = 60_000;
const PLAIN_NAME = /^[A-Za-z0-9_-][A-Za-z0-9._-]*$/;

/**
 * Writes the set as a new folder and swaps it in by one rename of the `..data` link, as Kubernetes does for volumes: a
 * reader sees the old set or the new one, and Envoy's watched_directory sees exactly one move. Two renames would let it
 * load the new certificate with the old key (V: KEY_VALUES_MISMATCH). Synced to disk before the swap, mode 0700/0600;
 * the old folder is removed. Two writers at the same time: one may fail. Throws MR2002 when the directory can't be written.
 */
export async function writeCredentials(dir: string, credentials: Credentials): Promise<void> {
  const files: Record<string, string> = {
    ...credentials.files,
    [CREDENTIAL_FILES.cert]: credentials.certPem,
    [CREDENTIAL_FILES.key]: credentials.keyPem,
    [CREDENTIAL_FILES.ca]: credentials.caPem,
  };
  for (const name of Object.keys(files)) {
    if (!PLAIN_NAME.test(name)) {
      throw new MeshrootError(
        "MR2002",
        `"${name}" is not a plain file name`,
        "Use letters, digits, dot, dash, underscore.",
      );
    }
  }
  try {
    await mkdir(dir, { recursive: true, mode: 0o700 });
    const folder = `${VERSION_PREFIX}${timestamp(new Date())}-${randomBytes(3).toString("hex")}`;
    const before = await readlink(join(dir, DATA)).catch(() => undefined);
    await writeFolder(join(dir, folder), files);
    await rm(join(dir, NEXT), { force: true });
    await symlink(folder, join(dir, NEXT));
    await rename(join(dir, NEXT), join(dir, DATA));
    await setLinks(dir, files);
    await syncDir(dir);
    await removeOldFolders(dir, folder, before);
  } catch (error) {
    throw new MeshrootError(
      "MR2002",
      `can't write credentials to ${dir}: ${(error as Error).message}`,
      "Check that this user owns the directory and that its disk has room.",
      error,
    );
  }
}

async function writeFolder(path: string, files: Readonly<Record<string, string>>): Promise<void> {
  await mkdir(path, { mode: 0o700 });
  for (const [name, content] of Object.entries(files)) {
    const file = await open(join(path, name), "wx", 0o600);
    try {
      await file.writeFile(content);
      await file.sync();
    } finally {
      await file.close();
    }
  }
  await syncDir(path);
}

/** The links that users see. They never change once made, since all of them lead through `..data`. */
async function setLinks(dir: string, files: Readonly<Record<string, string>>): Promise<void> {
  const links = new Map<string, string>(Object.entries(OSM_LINKS).map(([name, file]) => [name, `${DATA}/${file}`]));
  for (const name of Object.keys(files)) links.set(name, `${DATA}/${name}`);
  for (const [name, target] of links) {
    const path = join(dir, name);
    const present = await readlink(path).catch(() => undefined);
    if (present === target) continue;
    await rm(path, { force: true });
    await symlink(target, path);
  }
  for (const name of await readdir(dir)) {
    if (name.startsWith("..") || links.has(name)) continue;
    const target = await readlink(join(dir, name)).catch(() => undefined);
    if (target?.startsWith(`${DATA}/`)) await unlink(join(dir, name));
  }
}

/** The set before this one, and what a write left that did not get as far as its rename; one that is under way stays. */
async function removeOldFolders(dir: string, current: string, before: string | undefined): Promise<void> {
  const young = `${VERSION_PREFIX}${timestamp(new Date(Date.now() - WRITTEN_MS))}`;
  for (const name of await readdir(dir)) {
    if (!name.startsWith(VERSION_PREFIX) || name === current) continue;
    if (name === before || name < young) await rm(join(dir, name), { recursive: true, force: true });
  }
}

async function syncDir(path: string): Promise<void> {
  const handle = await open(path, "r");
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

function timestamp(date: Date): string {
  return date.toISOString().replace(/[-:]/g, "").replace("T", "-").slice(0, 15);
}
