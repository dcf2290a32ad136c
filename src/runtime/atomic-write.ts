/** Files that a crash leaves either as they were or as they were meant to be, never in between. */

import { randomBytes } from "node:crypto";
import { link, open, rename, rm } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { isSystemError } from "./system-error.ts";

/** All that changes a disk, in this folder. */
export type WriteStep =
  | "make-directory"
  | "open"
  | "write"
  | "append"
  | "sync"
  | "rename"
  | "link"
  | "remove"
  | "sync-directory";

/** For crash tests: called before each step with the path that it changes; what it throws, the write throws. */
export type BeforeStep = (step: WriteStep, path: string) => void;

export type WriteOptions = {
  /** Permission bits of the new file. */
  readonly mode: number;
  readonly beforeStep?: BeforeStep | undefined;
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
    options.beforeStep?.("rename", path);
    await rename(temporary, path);
  } catch (error) {
    await rm(temporary, { force: true });
    throw error;
  }
  await syncDirectory(dirname(path), options.beforeStep);
}

/**
 * Writes a new file; where the name is taken it does nothing and returns false, also for another process at the same
 * moment: the first one wins. Throws the system's error.
 */
export async function createAtomically(
  path: string,
  data: string | Uint8Array,
  options: WriteOptions,
): Promise<boolean> {
  const { beforeStep } = options;
  const temporary = await writeTemporary(path, data, options);
  try {
    beforeStep?.("link", path);
    await link(temporary, path);
    await syncDirectory(dirname(path), beforeStep);
    return true;
  } catch (error) {
    if (isSystemError(error, "EEXIST")) return false;
    throw error;
  } finally {
    beforeStep?.("remove", temporary);
    await rm(temporary, { force: true });
  }
}

/** A block that is written, synced and removed again: throws what a real write would. */
export async function tryToWrite(path: string, beforeStep?: BeforeStep): Promise<void> {
  const temporary = await writeTemporary(path, Buffer.alloc(4096), { mode: 0o600, beforeStep });
  beforeStep?.("remove", temporary);
  await rm(temporary, { force: true });
}

/** Removes a file for good. Throws the system's error, ENOENT too. */
export async function removeDurably(path: string, beforeStep?: BeforeStep): Promise<void> {
  beforeStep?.("remove", path);
  await rm(path);
  await syncDirectory(dirname(path), beforeStep);
}

/** Writes and syncs a file beside `path` and returns its path. */
async function writeTemporary(path: string, data: string | Uint8Array, options: WriteOptions): Promise<string> {
  const temporary = join(dirname(path), `.${basename(path)}.${process.pid}.${randomBytes(4).toString("hex")}.tmp`);
  options.beforeStep?.("open", temporary);
  const file = await open(temporary, "wx", options.mode);
  try {
    options.beforeStep?.("write", temporary);
    await file.writeFile(data);
    // The mode given to open() is cut by the umask.
    await file.chmod(options.mode);
    options.beforeStep?.("sync", temporary);
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
export async function syncDirectory(directory: string, beforeStep?: BeforeStep): Promise<void> {
  beforeStep?.("sync-directory", directory);
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
