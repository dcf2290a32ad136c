/**
 * Rows by key in an append-only file: one JSON line `{"k":key,"v":value}` per change, null for a removed row, and the last
 * line of a key wins. Appending costs one fsync however many rows and callers share it.
 */

import { type FileHandle, open, readFile, stat } from "node:fs/promises";
import { dirname } from "node:path";
import { setImmediate as nextTurn } from "node:timers/promises";
import { MeshrootError } from "../../core/errors.ts";
import { isObject } from "../../core/object-reader.ts";
import type { EvidenceRow as Row } from "../../ports/store.ts";
import { type BeforeStep, syncDirectory, writeAtomically } from "../../runtime/atomic-write.ts";
import { diskHint, errorText, faultText, isSystemError, ownerHint } from "../../runtime/system-error.ts";

export type RowJournal = {
  /** Makes the file if there is none, so that one that is missing or empty later is known to be lost. */
  begin(): Promise<void>;
  /** Whether anything was ever written there but by `begin`. */
  isUsed(): Promise<boolean>;
  /** The live rows. `mustExist`: MR2004 where there is no file, or an empty one. */
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
const EMPTY = "there is nothing in it: the rows that were there are lost";
/** What stands in front of the rows, so that an emptied file is not taken for a new one. No row has an empty key. */
const HEADER = { key: "", value: { format: 1 } };

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
        const known = error instanceof MeshrootError ? error : unwritable(path, error);
        for (const caller of group) caller.reject(known);
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
      const { file, length } = await openJournal(path, begun, beforeStep);
      try {
        if (length > 0) return;
        beforeStep?.("append", path);
        await file.appendFile(lineOf(HEADER));
        beforeStep?.("sync", path);
        await file.sync();
      } finally {
        await file.close();
      }
    },
    async isUsed() {
      const { hasHeader, lines, torn } = await readJournal(path);
      // A crash in the middle of `begin` leaves a part of the header.
      return lines > (hasHeader ? 1 : 0) || (torn !== "" && (hasHeader || !lineOf(HEADER).startsWith(torn)));
    },
    async load(mustExist = false) {
      const { rows, found, lines } = await readJournal(path);
      if (mustExist && !found) throw unreadable(path, GONE);
      if (mustExist && lines === 0) throw unreadable(path, EMPTY);
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
    throw error;
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
    const { rows, hasHeader } = await readJournal(path);
    const lines = [...rows].map(([key, value]) => lineOf({ key, value }));
    const header = hasHeader ? lineOf(HEADER) : "";
    await writeAtomically(path, header + lines.join(""), { mode: MODE, beforeStep });
  } catch {
    // Not at once again: the next attempt comes after as many lines as the first one did.
    opened.lines = 0;
    return opened;
  }
  await opened.file.close().catch(() => undefined);
  return undefined;
}

type Read = {
  rows: Map<string, unknown>;
  lines: number;
  /** Of the whole lines, in bytes; `torn` is what stands behind them. */
  length: number;
  torn: string;
  found: boolean;
  hasHeader: boolean;
};

const NOTHING: Omit<Read, "rows"> = { lines: 0, length: 0, torn: "", found: false, hasHeader: false };

async function readJournal(path: string): Promise<Read> {
  let bytes: Buffer;
  try {
    bytes = await readFile(path);
  } catch (error) {
    if (isSystemError(error, "ENOENT")) return { ...NOTHING, rows: new Map() };
    throw unreadable(path, errorText(error), error);
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
  const hasHeader = rows.delete(HEADER.key);
  const torn = bytes.toString("utf8", length, length + 100);
  return { rows, lines: lines.length, length, torn, found: true, hasHeader };
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

function unwritable(path: string, error: unknown): MeshrootError {
  const hint = `${diskHint(path, error)} Meshroot sends nothing that it can't record first.`;
  return new MeshrootError("MR2002", `can't write ${path}: ${faultText(error)}`, hint, error);
}

function unreadable(path: string, why: string, error?: unknown): MeshrootError {
  return new MeshrootError(
    "MR2004",
    `can't read ${path}: ${why}`,
    ownerHint(path, error) ??
      "Nothing was overwritten. Restore the file from a backup; without it meshroot can't know what proxies may be running.",
    error,
  );
}
