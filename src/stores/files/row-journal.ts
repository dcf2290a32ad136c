/**
 * Rows by key in an append-only file: one JSON line `{"k":key,"v":value}` per change, null for a removed row, and the last
 * line of a key wins. Appending costs one fsync however many rows and callers share it.
 */

import { type FileHandle, open, readFile, stat } from "node:fs/promises";
import { dirname } from "node:path";
import { setImmediate as nextTurn } from "node:timers/promises";
import { MeshrootError } from "../../core/errors.ts";
import { isObject } from "../../core/object-reader.ts";
import { type BeforeStep, syncDirectory, writeAtomically } from "./atomic-write.ts";
import { errorText, isSystemError } from "./system-error.ts";

/** `value`: anything that JSON can hold, opaque here; null removes the row. */
export type Row = { readonly key: string; readonly value: unknown };

export type RowJournal = {
  /** Makes the file if there is none, so that one that is missing later is known to be lost. */
  begin(): Promise<void>;
  /** The live rows. `mustExist`: MR2004 where there is no file. */
  load(mustExist?: boolean): Promise<Map<string, unknown>>;
  write(rows: readonly Row[]): Promise<void>;
  close(): Promise<void>;
};

/** Open file, its length up to the last line that is known to be whole, and what decides on compaction. */
type Opened = { file: FileHandle; length: number; lines: number; readonly live: Set<string> };
type Waiting = { readonly rows: readonly Row[]; resolve(): void; reject(error: unknown): void };

const COMPACT_LINES = 1000;
const COMPACT_RATIO = 4;
/** A few milliseconds of parsing. */
const LINES_AT_A_TIME = 1000;
const MODE = 0o600;
const GONE = "it is gone, and the rows that were in it";

/** The journal at `path`, which is created by `begin` or with the first row. Throws MR2004 (unreadable) and MR2002 (can't write). */
export function rowJournal(path: string, beforeStep?: BeforeStep): RowJournal {
  let opened: Opened | undefined;
  /** Whether rows were written or read: then a journal that isn't there was lost, and is not begun anew without them. */
  let begun = false;
  let waiting: Waiting[] = [];
  let flushing: Promise<void> | undefined;

  /** One turn per group: all that was queued while the previous fsync ran is written by the next one. */
  const flush = async (): Promise<void> => {
    while (waiting.length > 0) {
      const group = waiting;
      waiting = [];
      try {
        opened ??= await openJournal(path, begun, beforeStep);
        await append(path, opened, group, beforeStep);
        begun = true;
      } catch (error) {
        // After a failed append the file's state is in doubt; the next write opens and measures it again.
        await opened?.file.close().catch(() => undefined);
        opened = undefined;
        for (const caller of group) caller.reject(error);
        continue;
      }
      for (const caller of group) caller.resolve();
      if (opened.lines > COMPACT_LINES && opened.lines > COMPACT_RATIO * opened.live.size)
        opened = await compact(path, opened, beforeStep);
    }
    flushing = undefined;
  };

  return {
    async begin() {
      if (opened !== undefined) return;
      const { file } = await openJournal(path, begun, beforeStep);
      await file.close();
    },
    async load(mustExist = false) {
      const { rows, found } = await readJournal(path);
      if (mustExist && !found) throw unreadable(path, GONE);
      begun = rows.size > 0;
      return rows;
    },
    write(rows) {
      if (rows.length === 0) return Promise.resolve();
      return new Promise((resolve, reject) => {
        waiting.push({ rows, resolve, reject });
        flushing ??= flush();
      });
    },
    async close() {
      await flushing;
      await opened?.file.close();
      opened = undefined;
    },
  };
}

async function append(path: string, opened: Opened, group: readonly Waiting[], beforeStep?: BeforeStep): Promise<void> {
  const rows = group.flatMap((caller) => caller.rows);
  const bytes = Buffer.from(rows.map(lineOf).join(""));
  try {
    await sameFile(path, opened.file);
    beforeStep?.("append", path);
    await opened.file.appendFile(bytes);
    beforeStep?.("sync", path);
    await opened.file.datasync();
  } catch (error) {
    // Half a line in the middle of the file would make it unreadable, so it is taken back here or when it is next opened.
    await opened.file.truncate(opened.length).catch(() => undefined);
    throw new MeshrootError(
      "MR2002",
      `can't write ${path}: ${errorText(error)}`,
      "Make room or mend the disk under the data directory; meshroot sends nothing that it can't record first.",
      error,
    );
  }
  opened.length += bytes.length;
  opened.lines += rows.length;
  for (const row of rows) {
    if (row.value === null) opened.live.delete(row.key);
    else opened.live.add(row.key);
  }
}

/** Rows in a file that was moved away or deleted are durable to nobody: the next start reads what is at `path`. */
async function sameFile(path: string, file: FileHandle): Promise<void> {
  const [there, mine] = await Promise.all([stat(path), file.stat()]);
  if (there.ino !== mine.ino || there.dev !== mine.dev) throw new Error("another file was put in its place");
}

/** Opens for appending, without the torn line that a crash may have left. */
async function openJournal(path: string, begun: boolean, beforeStep?: BeforeStep): Promise<Opened> {
  const { rows, lines, length, found } = await readJournal(path);
  if (begun && !found) throw unreadable(path, GONE);
  beforeStep?.("open", path);
  const file = await open(path, "a", MODE);
  await file.truncate(length);
  await file.sync();
  await syncDirectory(dirname(path), beforeStep);
  return { file, length, lines, live: new Set(rows.keys()) };
}

/** Rewrites the file with the live rows only. If that fails (disk full), the long file goes on to serve. */
async function compact(path: string, opened: Opened, beforeStep?: BeforeStep): Promise<Opened | undefined> {
  try {
    const { rows } = await readJournal(path);
    const lines = [...rows].map(([key, value]) => lineOf({ key, value }));
    await writeAtomically(path, lines.join(""), { mode: MODE, beforeStep });
  } catch {
    // Not at once again: the next attempt comes after as many lines as the first one did.
    opened.lines = 0;
    return opened;
  }
  await opened.file.close().catch(() => undefined);
  return undefined;
}

type Read = { rows: Map<string, unknown>; lines: number; length: number; found: boolean };

async function readJournal(path: string): Promise<Read> {
  let bytes: Buffer;
  try {
    bytes = await readFile(path);
  } catch (error) {
    if (isSystemError(error, "ENOENT")) return { rows: new Map(), lines: 0, length: 0, found: false };
    throw unreadable(path, errorText(error));
  }
  // A line without its end was never acknowledged: a crash came first.
  const length = bytes.lastIndexOf("\n") + 1;
  const whole = bytes.toString("utf8", 0, length);
  const lines = whole.split("\n").slice(0, -1);
  const rows = new Map<string, unknown>();
  for (const [index, line] of lines.entries()) {
    // A compaction comes in the middle of a push: who waits for an answer is not to wait for all of it.
    if (index % LINES_AT_A_TIME === LINES_AT_A_TIME - 1) await nextTurn();
    const { key, value } = parseLine(path, line, index + 1);
    if (value === null) rows.delete(key);
    else rows.set(key, value);
  }
  return { rows, lines: lines.length, length, found: true };
}

function lineOf(row: Row): string {
  return `${JSON.stringify({ k: row.key, v: row.value ?? null })}\n`;
}

function parseLine(path: string, line: string, number: number): Row {
  let entry: unknown;
  try {
    entry = JSON.parse(line);
  } catch {
    throw unreadable(path, `line ${number} is not JSON`);
  }
  if (!isObject(entry) || typeof entry.k !== "string" || !("v" in entry))
    throw unreadable(path, `line ${number} is not a row`);
  return { key: entry.k, value: entry.v };
}

function unreadable(path: string, why: string): MeshrootError {
  return new MeshrootError(
    "MR2004",
    `can't read ${path}: ${why}`,
    "Nothing was overwritten. Restore the file from a backup; without it meshroot can't know what proxies may be running.",
  );
}
