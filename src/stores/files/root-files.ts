/** The roots of the embedded mode: MeshRootCertificate manifests in `<data>/roots/*.yaml`. */

import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { stringify } from "yaml";
import { MeshrootError, type Problem } from "../../core/errors.ts";
import { FORCE_UNSAFE_ANNOTATION, type MeshRoot, type RootListing, rootKey } from "../../core/roots/mesh-root.ts";
import { creationTimestamp, meshRootManifest } from "../../core/roots/mesh-root-manifest.ts";
import type { RootEditor, Watch } from "../../ports/store.ts";
import { type BeforeStep, createAtomically, removeDurably, writeAtomically } from "../../runtime/atomic-write.ts";
import { readText } from "../../runtime/read-text.ts";
import { errorText, isSystemError } from "../../runtime/system-error.ts";
import { findRoot, type Place, type RootDocument, readRootDocuments } from "./root-documents.ts";
import { cutDocument, editDocument } from "./root-edit.ts";
import { type RootWatchOptions, watchRoots } from "./root-watch.ts";
import { HOLDOFF_MS } from "./watch-files.ts";

/** The listing, the watch and the editor of the port, on files. Whoever edits holds the lock of edits. */
export type RootFiles = RootEditor & {
  /** Hands over the complete list, at once and after every change (watch-files.ts). */
  watch(onChange: (list: RootListing) => void, options?: RootWatchOptions): Promise<Watch>;
};

type Held = { readonly root: MeshRoot; readonly file: string };
type LastGood = ReadonlyMap<string, Held>;
type ManifestFile = {
  readonly file: string;
  readonly text: string;
  readonly documents: readonly RootDocument[];
  readonly problems: readonly Problem[];
};

/** A mesh has a handful of roots. */
const MAX_FILES = 1000;

/** The roots under `directory` (DataDir.roots). */
export function rootFiles(directory: string, defaultNamespace: string, beforeStep?: BeforeStep): RootFiles {
  const options = { mode: 0o600, beforeStep };
  let lastGood: LastGood = new Map();

  const readDirectory = directoryReader(directory, defaultNamespace);

  const list = async (): Promise<RootListing> => {
    const { held, ...result } = assemble(await readDirectory(), lastGood);
    lastGood = held;
    return result;
  };

  /** The file and document that hold `root`; fails rather than guess when the file has changed underneath. */
  const locate = async (root: MeshRoot): Promise<{ path: string; text: string; place: Place; only: boolean }> => {
    for (const { file, text, documents } of await readDirectory()) {
      const place = findRoot(documents, rootKey(root));
      if (place !== undefined) return { path: join(directory, file), text, place, only: documents.length === 1 };
    }
    throw new MeshrootError(
      "MR1009",
      `no readable manifest of root ${root.name} in ${directory}`,
      "`meshroot root list` shows the roots there are, and the files that can't be read.",
    );
  };

  return {
    list,
    watch(onChange, options = {}) {
      const read = async (lacksOne: (found: RootListing) => boolean): Promise<RootListing> => {
        const before = lastGood;
        const found = await list();
        if (!lacksOne(found)) return found;
        // Some editors move a file away before they write it again: a root is gone when it is gone twice.
        await sleep(options.holdoffMs ?? HOLDOFF_MS);
        lastGood = before;
        return list();
      };
      return watchRoots(directory, read, onChange, options);
    },

    async create(root, text) {
      const name = root.namespace === defaultNamespace ? root.name : `${root.namespace}.${root.name}`;
      const path = join(directory, `${name}.yaml`);
      // The file's own date changes with every edit, so the date of creation has to be in the manifest.
      const dated =
        text === undefined
          ? stringify(meshRootManifest(root), { schema: "yaml-1.1", lineWidth: 0 })
          : editDocument(text, 0, [
              { path: ["metadata", "creationTimestamp"], value: creationTimestamp(root.createdAt) },
            ]);
      if (!(await writing(path, () => createAtomically(path, dated, options)))) throw fileExists(path);
    },

    async setRole(root, role, { forceUnsafe } = {}) {
      const { path, text, place } = await locate(root);
      const edited = editDocument(text, place.document, [
        { path: [...place.path, "metadata", "creationTimestamp"], value: creationTimestamp(root.createdAt) },
        { path: [...place.path, "metadata", "annotations", FORCE_UNSAFE_ANNOTATION], value: forceUnsafe },
        { path: [...place.path, "spec", "role"], value: role },
      ]);
      await writing(path, () => writeAtomically(path, edited, options));
    },

    async remove(root) {
      const { path, text, place, only } = await locate(root);
      await writing(path, async () => {
        if (!only) return writeAtomically(path, cutDocument(text, place.document, place.path), options);
        return removeDurably(path, beforeStep);
      });
    },
  };
}

/** Reads the whole folder at each call, and parses only what has changed since the last one. */
function directoryReader(directory: string, defaultNamespace: string): () => Promise<readonly ManifestFile[]> {
  let known: ReadonlyMap<string, ManifestFile & { readonly createdAt: number }> = new Map();

  const readManifest = async (file: string) => {
    const path = join(directory, file);
    try {
      const { text, birthtimeMs, mtimeMs } = await readText(path);
      const createdAt = Math.floor(Math.min(birthtimeMs > 0 ? birthtimeMs : mtimeMs, mtimeMs));
      const before = known.get(file);
      if (before?.text === text && before.createdAt === createdAt) return before;
      const documents = readRootDocuments(text, { createdAt, defaultNamespace });
      return { file, text, createdAt, documents, problems: documents.flatMap(({ problems }) => problems) };
    } catch (error) {
      if (isSystemError(error, "ENOENT")) return undefined;
      const { code, message, hint } = error instanceof MeshrootError ? error : unusable(path, error);
      const problem = { code, message: message.slice(code.length + 1), hint };
      return { file, text: "", createdAt: Number.NaN, documents: [], problems: [problem] };
    }
  };

  return async () => {
    const files: (ManifestFile & { readonly createdAt: number })[] = [];
    // One after the other: of a folder with many large files only one is in memory beside what is kept.
    for (const name of await manifestNames(directory)) {
      const file = await readManifest(name);
      if (file !== undefined) files.push(file);
    }
    known = new Map(files.map((file) => [file.file, file]));
    return files;
  };
}

/** Throws MR2002, and MR2010 for a folder that holds far more than roots. */
async function manifestNames(directory: string): Promise<string[]> {
  let names: string[];
  try {
    names = await readdir(directory);
  } catch (error) {
    throw unusable(directory, error);
  }
  // Leading dots are editors' and our own unfinished files.
  const manifests = names.filter((name) => /^[^.].*\.(?:ya?ml|json)$/.test(name)).sort();
  if (manifests.length <= MAX_FILES) return manifests;
  throw new MeshrootError(
    "MR2010",
    `${directory} holds ${manifests.length} manifests, more than ${MAX_FILES}`,
    "Keep nothing but the roots of this mesh there.",
  );
}

/** Puts one list together; where a file can't be read now, what it last held stays. */
function assemble(files: readonly ManifestFile[], lastGood: LastGood): RootListing & { readonly held: LastGood } {
  const found = new Map<string, Held[]>();
  const problems: { source: string; problem: Problem }[] = [];
  for (const { file, documents, problems: own } of files) {
    problems.push(...own.map((problem) => ({ source: file, problem })));
    for (const { root } of documents) {
      if (root !== undefined) found.set(rootKey(root), [...(found.get(rootKey(root)) ?? []), { root, file }]);
    }
  }

  const held = new Map<string, Held>();
  for (const [key, copies] of found) {
    // Of two copies the one that counted before goes on to count: a stray copy of a file must not move a role.
    const chosen = copies.find(({ file }) => file === lastGood.get(key)?.file) ?? copies[0];
    if (chosen !== undefined) held.set(key, chosen);
    if (copies.length > 1 && chosen !== undefined) problems.push(duplicate(copies, chosen));
  }
  const broken = new Set(files.filter((file) => file.problems.length > 0).map(({ file }) => file));
  const outdated = [...lastGood].filter(([key, { file }]) => !held.has(key) && broken.has(file));
  for (const [key, kept] of outdated) held.set(key, kept);

  const roots = [...held.values()].map(({ root }) => root);
  roots.sort((a, b) => (rootKey(a) < rootKey(b) ? -1 : 1));
  return { roots, outdated: outdated.map(([key]) => key), problems, held };
}

function duplicate(copies: readonly Held[], chosen: Held): { source: string; problem: Problem } {
  const files = copies.map(({ file }) => file).join(" and ");
  return {
    source: files,
    problem: {
      code: "MR1010",
      message: `root ${chosen.root.name} is there twice, in ${files}`,
      hint: `The one in ${chosen.file} counts. Delete the other, or rename it so that it ends neither in .yaml nor in .json.`,
    },
  };
}

async function writing<Value>(path: string, write: () => Promise<Value>): Promise<Value> {
  try {
    return await write();
  } catch (error) {
    throw unusable(path, error);
  }
}

function unusable(path: string, error: unknown): MeshrootError {
  return new MeshrootError(
    "MR2002",
    `can't use ${path}: ${errorText(error)}`,
    "Check that the user running meshroot owns the data directory and that the disk is not full.",
    error,
  );
}

function fileExists(path: string): MeshrootError {
  return new MeshrootError(
    "MR1010",
    `${path} already exists`,
    "Choose another name, or delete that file if it is a leftover.",
  );
}
