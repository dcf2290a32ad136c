/** Files that a crash leaves either as they were or as they were meant to be, never in between. */

import { randomBytes } from "node:crypto";
import { open, rename, rm } from "node:fs/promises";
import { basename, dirname, join } from "node:path";

export type WriteStep = "open" | "write" | "sync" | "rename" | "sync-directory";

export type WriteOptions = {
  /** Permission bits of the new file. */
  readonly mode: number;
  /** For crash tests: called before each step; what it throws, the write throws. */
  readonly beforeStep?: ((step: WriteStep) => void) | undefined;
};

/** Begins and ends the names of unfinished files, so that a listing skips them and the next start can sweep them. */
const TEMPORARY = /^\..*\.tmp$/;

/**
 * Replaces `path` with `data`: temporary file in the same directory, fsync, rename, fsync of the directory. Resolves once
 * the new content would survive a power cut. Throws the system's error and leaves the old file as it was.
 */
export async function writeAtomically(path: string, data: string | Uint8Array, options: WriteOptions): Promise<void> {
  const temporary = await writeTemporary(path, data, options);
  try {
    options.beforeStep?.("rename");
    await rename(temporary, path);
  } catch (error) {
    await rm(temporary, { force: true });
    throw error;
  }
  options.beforeStep?.("sync-directory");
  await syncDirectory(dirname(path));
}

/** Writes and syncs a file beside `path` and returns its path; the caller renames or links it into place. */
export async function writeTemporary(path: string, data: string | Uint8Array, options: WriteOptions): Promise<string> {
  const temporary = join(dirname(path), `.${basename(path)}.${process.pid}.${randomBytes(4).toString("hex")}.tmp`);
  options.beforeStep?.("open");
  const file = await open(temporary, "wx", options.mode);
  try {
    options.beforeStep?.("write");
    await file.writeFile(data);
    // The mode given to open() is cut by the umask.
    await file.chmod(options.mode);
    options.beforeStep?.("sync");
    await file.sync();
  } catch (error) {
    await file.close();
    await rm(temporary, { force: true });
    throw error;
  }
  await file.close();
  return temporary;
}

/** Makes a rename, link or unlink in `directory` durable. */
export async function syncDirectory(directory: string): Promise<void> {
  const handle = await open(directory, "r");
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

export function isTemporary(name: string): boolean {
  return TEMPORARY.test(name);
}
