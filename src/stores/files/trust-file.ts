/** The trust in force as one JSON file, with the revision that stored it; the one before it stays beside it as `.bak`. */

import { access, readFile } from "node:fs/promises";
import { dirname } from "node:path";
import { MeshrootError } from "../../core/errors.ts";
import { isObject } from "../../core/object-reader.ts";
import type { Stored, TrustStore } from "../../ports/store.ts";
import { type BeforeStep, syncDirectory, writeAtomically } from "../../runtime/atomic-write.ts";
import { diskHint, errorText, faultText, isSystemError, ownerHint } from "../../runtime/system-error.ts";
import type { RowJournal } from "./row-journal.ts";

/** TrustStore on files. */
export type TrustFile = TrustStore & {
  /** Whether there is a trust. Throws MR2004 where it was lost. */
  exists(): Promise<boolean>;
  /** Resolves when nothing is being written any more. */
  settled(): Promise<void>;
};

/**
 * The file at `path`, which only the holder of the server's lock writes. `ledger`: what is beside it. Reads and writes are carried out
 * in their order. Throws MR2004 rather than overwrite what it can't read, and MR2002.
 */
export function trustFile(
  path: string,
  ledger: Pick<RowJournal, "begin" | "isUsed">,
  beforeStep?: BeforeStep,
): TrustFile {
  let last: Promise<unknown> = Promise.resolve();
  /** The highest revision that was tried: it may be on disk, whatever became of its write. */
  let tried = 0;
  /** A write failed. What is read now may be its, and not durable. */
  let isInDoubt = false;

  const inTurn = <Value>(work: () => Promise<Value>): Promise<Value> => {
    const mine = last.then(work);
    // A failure is its caller's matter; the next one starts from the file as it is.
    last = mine.catch(() => undefined);
    return mine;
  };

  const writing = async (write: () => Promise<void>): Promise<void> => {
    try {
      await write();
    } catch (error) {
      throw error instanceof MeshrootError ? error : unwritable(path, error);
    }
  };

  const read = async (): Promise<Stored | undefined> => {
    const found = await readDocument(path);
    if (found === undefined && (await ledger.isUsed())) throw unreadable(path, "it is gone, and the ledger is there");
    if (isInDoubt) await writing(() => syncDirectory(dirname(path), beforeStep));
    isInDoubt = false;
    return found && { revision: found.revision, value: found.value };
  };

  const write = async (value: object, expected: number | undefined): Promise<number> => {
    const previous = await readDocument(path);
    if (previous === undefined && expected !== undefined) throw unreadable(path, "it is gone");
    if (previous?.revision !== expected) throw overtaken(path, previous?.revision, expected);
    const revision = Math.max(previous?.revision ?? 0, tried) + 1;
    const options = { mode: 0o600, beforeStep };
    await writing(async () => {
      // Before the first trust, so that no trust stands without a ledger.
      if (previous === undefined) await ledger.begin();
      else await writeAtomically(`${path}.bak`, previous.text, options);
      tried = revision;
      isInDoubt = true;
      await writeAtomically(path, `${JSON.stringify({ revision, ...value })}\n`, options);
      isInDoubt = false;
    });
    return revision;
  };

  return {
    read: () => inTurn(read),
    write: (value, expected) => inTurn(() => write(value, expected)),
    exists: async () => (await readDocument(path)) !== undefined,
    settled: async () => void (await last),
  };
}

type Document = Stored & { readonly text: string };

async function readDocument(path: string): Promise<Document | undefined> {
  let text: string;
  try {
    text = await readFile(path, "utf8");
  } catch (error) {
    if (!isSystemError(error, "ENOENT")) throw unreadable(path, errorText(error), error);
    // Every write leaves both files, so a backup alone means that trust.json was lost, and with it what was promised.
    if (await exists(`${path}.bak`)) throw unreadable(path, "it is gone, only its backup is there");
    return undefined;
  }
  let parsed: unknown;
  try {
    parsed = JSON.parse(text);
  } catch {
    throw unreadable(path, "it is not JSON");
  }
  if (!isObject(parsed)) throw unreadable(path, "it holds no object");
  const { revision = olderRevision(parsed), ...value } = parsed;
  if (!Number.isSafeInteger(revision)) throw unreadable(path, "its revision is no whole number");
  return { text, value, revision: revision as number };
}

/** Of what was written before there were revisions: its generation rose with every change of the bundle. */
function olderRevision({ trust }: Readonly<Record<string, unknown>>): number {
  const generation = isObject(trust) ? trust.generation : undefined;
  return Number.isSafeInteger(generation) ? (generation as number) : 0;
}

async function exists(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  );
}

function overtaken(path: string, found: number | undefined, expected: number | undefined): MeshrootError {
  const wanted = expected === undefined ? "none was there before" : `this server goes by revision ${expected}`;
  return new MeshrootError(
    "MR2021",
    `${path} holds revision ${found}, and ${wanted}: somebody else has written it`,
    "Nothing was overwritten. If a backup was put in its place, restart the server: it goes on from that. Else find out who writes to this data directory; it is for one server alone.",
  );
}

export function unwritable(path: string, error: unknown): MeshrootError {
  return new MeshrootError("MR2002", `can't write ${path}: ${faultText(error)}`, diskHint(path, error), error);
}

function unreadable(path: string, why: string, error?: unknown): MeshrootError {
  return new MeshrootError(
    "MR2004",
    `can't read ${path}: ${why}`,
    ownerHint(path, error) ??
      `Nothing was overwritten. Put ${path}.bak (the state before the last change) or a backup in its place.`,
    error,
  );
}
