/**
 * The data directory of the embedded mode:
 *
 *   roots/*.yaml                      MeshRootCertificate manifests, several documents per file allowed
 *   secrets/<namespace>/<name>.yaml   Secrets, mode 0600
 *   services.yaml                     optional: which identities stand behind a service
 *   state/                            what the controller must not forget (state-files.ts, row-journal.ts)
 *   lock, edit.lock                   held by the server, and by whoever edits roots
 */

import { access, chmod, constants, mkdir, readdir, rm, stat } from "node:fs/promises";
import { dirname, join, resolve } from "node:path";
import { MeshrootError } from "../../core/errors.ts";
import { type BeforeStep, isTemporary } from "../../runtime/atomic-write.ts";
import { takeLock } from "../../runtime/file-lock.ts";
import { errorText, isSystemError, ownerHint } from "../../runtime/system-error.ts";

export type DataDir = {
  /** Absolute path. */
  readonly path: string;
  readonly roots: string;
  readonly secrets: string;
  readonly state: string;
  readonly services: string;
  readonly editLock: string;
  /** Gives the lock back. */
  close(): Promise<void>;
};

export type DataDirOptions = {
  /** Whether to become the one server of this directory. */
  readonly lock: boolean;
  readonly beforeStep?: BeforeStep | undefined;
};

/**
 * Opens the data directory, creating what is missing (directories 0700). With `lock`, also sweeps up temporary files that
 * crashed writes left, since they may hold private keys. Throws MR2002 when it can't be used, MR2001 when another server
 * has it.
 */
export async function openDataDir(path: string, options: DataDirOptions): Promise<DataDir> {
  const base = resolve(path);
  const directories = { roots: join(base, "roots"), secrets: join(base, "secrets"), state: join(base, "state") };
  for (const directory of [base, ...Object.values(directories)]) await prepare(directory);
  await closeToOthers(directories.secrets);
  await closeToOthers(directories.state);
  const lock = options.lock ? await takeLock(join(base, "lock"), 0, options.beforeStep) : undefined;
  if (lock !== undefined) await sweep(base);
  return {
    path: base,
    ...directories,
    services: join(base, "services.yaml"),
    editLock: join(base, "edit.lock"),
    close: async () => lock?.release(),
  };
}

/** Throws MR2002 where there is no data directory: looking at one must not make it. */
export async function requireDataDir(path: string): Promise<void> {
  await access(join(path, "roots")).catch((error: unknown) => {
    throw new MeshrootError(
      "MR2002",
      `${path} is not a meshroot data directory`,
      "Give the server's --data-dir (or MESHROOT_DATA_DIR); `meshroot root create` begins a new one.",
      error,
    );
  });
}

async function prepare(directory: string): Promise<void> {
  try {
    await makeDirectories(directory);
    if (!(await stat(directory)).isDirectory()) throw new Error("it is a file, where a directory should be");
    await access(directory, constants.R_OK | constants.W_OK | constants.X_OK);
  } catch (error) {
    throw unusable(directory, error);
  }
}

/** Not by mkdir's own `recursive`, which tries for ever where a directory can never be made (seen in /proc). */
async function makeDirectories(directory: string): Promise<void> {
  const makeOne = () =>
    mkdir(directory, { mode: 0o700 }).catch((error: unknown) => {
      if (!isSystemError(error, "EEXIST")) throw error;
    });
  try {
    await makeOne();
  } catch (error) {
    if (!isSystemError(error, "ENOENT") || dirname(directory) === directory) throw error;
    await makeDirectories(dirname(directory));
    await makeOne();
  }
}

/** Keys must not become readable because somebody copied the directory with a wide umask. */
async function closeToOthers(directory: string): Promise<void> {
  try {
    const { mode } = await stat(directory);
    if ((mode & 0o077) !== 0) await chmod(directory, 0o700);
  } catch (error) {
    throw unusable(directory, error);
  }
}

function unusable(directory: string, error: unknown): MeshrootError {
  return new MeshrootError(
    "MR2002",
    `can't use ${directory}: ${errorText(error)}`,
    ownerHint(directory, error) ?? "Give --data-dir a directory that the user running meshroot owns and can write to.",
    error,
  );
}

/** Only what the holder of the lock writes; roots/ is left alone, a command may be writing there at this moment. */
async function sweep(base: string): Promise<void> {
  for (const directory of ["secrets", "state"]) {
    const path = join(base, directory);
    const names = await readdir(path, { recursive: true }).catch((error: unknown) => {
      throw unusable(path, error);
    });
    for (const name of names) {
      const file = join(path, name);
      if (isTemporary(name.slice(name.lastIndexOf("/") + 1))) await rm(file, { force: true });
    }
  }
}
