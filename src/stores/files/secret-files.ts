/** SecretStore on files: `secrets/<namespace>/<name>.yaml` (or .yml, .json), a Kubernetes Secret each, mode 0600. */

import { mkdir } from "node:fs/promises";
import { dirname, join } from "node:path";
import { stringify } from "yaml";
import { MeshrootError } from "../../core/errors.ts";
import { isDnsLabel, isDnsName } from "../../core/identity.ts";
import type { SecretRef } from "../../core/roots/mesh-root.ts";
import type { Secret, SecretStore } from "../../ports/store.ts";
import {
  type BeforeStep,
  createAtomically,
  removeDurably,
  syncDirectory,
  writeAtomically,
} from "../../runtime/atomic-write.ts";
import { readText } from "../../runtime/read-text.ts";
import { diskHint, errorText, faultText, isSystemError } from "../../runtime/system-error.ts";
import { cutDocument } from "./root-edit.ts";
import { findSecret, unreadableSecret } from "./secret-documents.ts";

/** What people call a manifest; we write the first. */
const ENDINGS = [".yaml", ".yml", ".json"] as const;

/**
 * The secrets under `directory` (DataDir.secrets). Every method throws MR2005 where a secret is there but can't be read;
 * its text never holds any of the file's content. `exposed` is told, once each, of files that were read and that others than
 * their owner may open (`mode`: octal, like "644"); meshroot writes them 0600.
 */
export function secretFiles(
  directory: string,
  beforeStep?: BeforeStep,
  exposed: (path: string, mode: string) => void = () => undefined,
): SecretStore {
  const known = new Set<string>();
  const options = { mode: 0o600, beforeStep };
  const pathOf = (ref: SecretRef): string => {
    // A name from a manifest becomes a path here; both forms rule out slashes and "..".
    if (isDnsLabel(ref.namespace) && isDnsName(ref.name)) return join(directory, ref.namespace, ref.name);
    const hint = "Give secretRef the name and the namespace of a Secret: lower-case letters, digits, dashes and dots.";
    throw unreadableSecret(`${ref.namespace}/${ref.name}`, "that is no name of a secret", hint);
  };

  const locate = async (ref: SecretRef): Promise<{ path: string; text: string; mode: number } | undefined> => {
    const found = [];
    for (const ending of ENDINGS) {
      const path = `${pathOf(ref)}${ending}`;
      try {
        const { text, mode } = await readText(path);
        found.push({ path, text, mode });
      } catch (error) {
        if (isSystemError(error, "ENOENT")) continue;
        const hint = `Make ${path} a plain file that the user running meshroot may read.`;
        throw unreadableSecret(path, errorText(error), error instanceof MeshrootError ? error.hint : hint);
      }
    }
    const [first, second] = found;
    if (first !== undefined && second !== undefined) {
      const hint = "Delete or rename the one that is not meant.";
      throw unreadableSecret(first.path, `${second.path} is there too, for the same secret`, hint);
    }
    return first;
  };

  const read = async (ref: SecretRef): Promise<Secret | undefined> => {
    const file = await locate(ref);
    if (file === undefined) return undefined;
    const { path, text, mode } = file;
    const { secret } = findSecret(path, ref, text);
    if ((mode & 0o077) !== 0 && !known.has(path)) exposed(path, mode.toString(8));
    known.add(path);
    return secret;
  };

  const createOrLoad = async (secret: Secret): Promise<Secret> => {
    const path = `${pathOf(secret)}${ENDINGS[0]}`;
    const present = await read(secret);
    if (present !== undefined) return present;
    await writing(path, async () => {
      await makeDirectory(dirname(path), beforeStep);
      await createAtomically(path, manifestOf(secret), options);
    });
    return (await read(secret)) ?? (await createOrLoad(secret));
  };

  return {
    read,

    createOrLoad,

    async write(secret) {
      const path = (await locate(secret))?.path ?? `${pathOf(secret)}${ENDINGS[0]}`;
      await writing(path, async () => {
        await makeDirectory(dirname(path), beforeStep);
        await writeAtomically(path, manifestOf(secret), options);
      });
    },

    async remove(ref) {
      const file = await locate(ref);
      if (file === undefined) return;
      const { place, only } = findSecret(file.path, ref, file.text);
      try {
        if (only) await removeDurably(file.path, beforeStep);
        else await writeAtomically(file.path, cutDocument(file.text, place.document, place.path), options);
      } catch (error) {
        if (!isSystemError(error, "ENOENT")) throw unwritable(file.path, error);
      }
    },
  };
}

async function writing(path: string, write: () => Promise<void>): Promise<void> {
  await write().catch((error: unknown) => {
    throw unwritable(path, error);
  });
}

/** Without the words of the system's error beyond what went wrong: the text of a fault that lasts stays the same. */
function unwritable(path: string, error: unknown): MeshrootError {
  return new MeshrootError("MR2002", `can't write ${path}: ${faultText(error)}`, diskHint(path, error), error);
}

async function makeDirectory(directory: string, beforeStep?: BeforeStep): Promise<void> {
  beforeStep?.("make-directory", directory);
  const first = await mkdir(directory, { recursive: true, mode: 0o700 });
  if (first !== undefined) await syncDirectory(dirname(first), beforeStep);
}

function manifestOf(secret: Secret): string {
  const data = Object.fromEntries(Object.entries(secret.data).map(([key, bytes]) => [key, bytes.toString("base64")]));
  const { name, namespace, labels } = secret;
  const metadata = { name, namespace, ...(labels === undefined ? {} : { labels }) };
  return stringify(
    { apiVersion: "v1", kind: "Secret", metadata, type: "Opaque", data },
    { schema: "yaml-1.1", lineWidth: 0 },
  );
}
