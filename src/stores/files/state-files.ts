/** What the controller must not forget (evidence.md E7), under `<data>/state/`. */

import { access, readFile } from "node:fs/promises";
import { join } from "node:path";
import { MeshrootError } from "../../core/errors.ts";
import { isObject } from "../../core/object-reader.ts";
import { type BeforeStep, tryToWrite, writeAtomically } from "../../runtime/atomic-write.ts";
import { diskHint, errorText, faultText, isSystemError, ownerHint } from "../../runtime/system-error.ts";
import { type Row, rowJournal } from "./row-journal.ts";

export type StateFiles = {
  /** The trust in force as it was last saved, undefined on a first start. Throws MR2004, also where only a ledger is there. */
  loadTrust(): Promise<unknown>;
  /** Durable when it resolves. Calls are carried out in their order. Throws MR2004 rather than overwrite what it can't read. */
  saveTrust(value: object): Promise<void>;
  /** The live rows by key. Throws MR2004, also where there is a trust in force and no ledger beside it. */
  loadRows(): Promise<Map<string, unknown>>;
  /** Durable when it resolves; a null value removes the row. Rows of one call, and calls, keep their order. */
  writeRows(rows: readonly Row[]): Promise<void>;
  /** Writes a block that nobody reads, and takes it away. Throws MR2002. */
  probe(): Promise<void>;
  close(): Promise<void>;
};

/** Opens the state under `directory` (DataDir.state). Nothing is read before it is asked for. */
export function stateFiles(directory: string, beforeStep?: BeforeStep): StateFiles {
  const journal = rowJournal(join(directory, "ledger.jsonl"), beforeStep);
  const path = join(directory, "trust.json");
  let last: Promise<void> = Promise.resolve();

  const saveOrSay = async (value: object): Promise<void> => {
    try {
      await save(value);
    } catch (error) {
      throw error instanceof MeshrootError ? error : unwritable(path, error);
    }
  };

  const save = async (value: object): Promise<void> => {
    const previous = await readJson(path);
    const options = { mode: 0o600, beforeStep };
    // Before the first trust, so that no trust stands without a ledger.
    if (previous === undefined) await journal.begin();
    else await writeAtomically(`${path}.bak`, previous.text, options);
    await writeAtomically(path, `${JSON.stringify(value)}\n`, options);
  };

  return {
    async loadTrust() {
      const found = await readJson(path);
      if (found === undefined && (await journal.isUsed()))
        throw unreadable(path, "it is gone, and the ledger is there");
      return found?.value;
    },
    saveTrust(value) {
      const mine = last.then(() => saveOrSay(value));
      // A failed save is its caller's matter; the next one starts from the file as it is.
      last = mine.catch(() => undefined);
      return mine;
    },
    loadRows: async () => journal.load((await readJson(path)) !== undefined),
    writeRows: journal.write,
    async probe() {
      const probe = join(directory, "probe");
      try {
        await tryToWrite(probe, beforeStep);
      } catch (error) {
        throw unwritable(probe, error);
      }
    },
    async close() {
      await last;
      await journal.close();
    },
  };
}

async function readJson(path: string): Promise<{ text: string; value: object } | undefined> {
  let text: string;
  try {
    text = await readFile(path, "utf8");
  } catch (error) {
    if (!isSystemError(error, "ENOENT")) throw unreadable(path, errorText(error), error);
    // Every save leaves both files, so a backup alone means that trust.json was lost, and with it what was promised.
    if (await exists(`${path}.bak`)) throw unreadable(path, "it is gone, only its backup is there");
    return undefined;
  }
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw unreadable(path, "it is not JSON");
  }
  if (!isObject(value)) throw unreadable(path, "it holds no object");
  return { text, value };
}

async function exists(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  );
}

function unwritable(path: string, error: unknown): MeshrootError {
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
