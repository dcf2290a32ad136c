/** SecretStore on files: `secrets/<namespace>/<name>.yaml`, a Kubernetes Secret each, mode 0600. */

import { mkdir, readFile, stat } from "node:fs/promises";
import { dirname, join } from "node:path";
import { parseDocument, stringify } from "yaml";
import type { Secret, SecretStore } from "../../controller/ports.ts";
import { MeshrootError } from "../../core/errors.ts";
import { isDnsLabel, isDnsName } from "../../core/identity.ts";
import type { SecretRef } from "../../core/mesh-root.ts";
import { isObject } from "../../core/object-reader.ts";
import { type BeforeStep, createAtomically, removeDurably, syncDirectory, writeAtomically } from "./atomic-write.ts";
import { diskHint, faultText, isSystemError } from "./system-error.ts";

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
    if (isDnsLabel(ref.namespace) && isDnsName(ref.name)) return join(directory, ref.namespace, `${ref.name}.yaml`);
    throw unreadable(`${ref.namespace}/${ref.name}`, "that is no name of a secret");
  };

  const read = async (ref: SecretRef): Promise<Secret | undefined> => {
    const path = pathOf(ref);
    let text: string;
    let mode: number;
    try {
      text = await readFile(path, "utf8");
      mode = (await stat(path)).mode & 0o777;
    } catch (error) {
      if (isSystemError(error, "ENOENT")) return undefined;
      throw unreadable(path, error instanceof Error ? error.message : "unknown error");
    }
    const secret = parseSecret(path, ref, text);
    if ((mode & 0o077) !== 0 && !known.has(path)) exposed(path, mode.toString(8));
    known.add(path);
    return secret;
  };

  const createOrLoad = async (secret: Secret): Promise<Secret> => {
    const path = pathOf(secret);
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
      const path = pathOf(secret);
      await writing(path, async () => {
        await makeDirectory(dirname(path), beforeStep);
        await writeAtomically(path, manifestOf(secret), options);
      });
    },

    async remove(ref) {
      const path = pathOf(ref);
      try {
        await removeDurably(path, beforeStep);
      } catch (error) {
        if (!isSystemError(error, "ENOENT")) throw unwritable(path, error);
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
  return stringify({ apiVersion: "v1", kind: "Secret", metadata, type: "Opaque", data }, { lineWidth: 0 });
}

function parseSecret(path: string, ref: SecretRef, text: string): Secret {
  // Messages of the YAML parser quote the text around the fault, which may be a key: only the place is passed on.
  const document = parseDocument(text, { prettyErrors: true });
  const [fault] = document.errors;
  if (fault !== undefined) throw unreadable(path, `YAML syntax error in line ${fault.linePos?.[0].line ?? "?"}`);
  let object: unknown;
  try {
    object = document.toJS();
  } catch {
    throw unreadable(path, "YAML aliases that can't be resolved");
  }
  if (!isObject(object) || object.kind !== "Secret") throw unreadable(path, "it is not of kind Secret");
  const { metadata, data } = object;
  if (!isObject(metadata) || metadata.name !== ref.name || (metadata.namespace ?? ref.namespace) !== ref.namespace)
    throw unreadable(path, `its metadata don't say ${ref.namespace}/${ref.name}, as its path does`);
  const labels = isObject(metadata.labels) ? stringValues(metadata.labels) : undefined;
  return { ...ref, data: decodeData(path, data ?? {}), ...(labels === undefined ? {} : { labels }) };
}

function decodeData(path: string, data: unknown): Record<string, Buffer> {
  if (!isObject(data)) throw unreadable(path, "data is not a map");
  const decoded: Record<string, Buffer> = {};
  for (const [key, value] of Object.entries(data)) {
    const compact = typeof value === "string" ? value.replace(/\s/g, "") : undefined;
    // Buffer.from skips what is not base64; a key that is silently cut short is worse than an error.
    if (compact === undefined || !/^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/.test(compact))
      throw unreadable(path, `data["${key}"] is not base64`);
    decoded[key] = Buffer.from(compact, "base64");
  }
  return decoded;
}

function stringValues(object: Readonly<Record<string, unknown>>): Record<string, string> {
  return Object.fromEntries(
    Object.entries(object).filter((entry): entry is [string, string] => typeof entry[1] === "string"),
  );
}

function unreadable(what: string, why: string): MeshrootError {
  return new MeshrootError(
    "MR2005",
    `can't read secret ${what}: ${why}`,
    "Restore the file from a backup or mend it by hand; meshroot never replaces a secret that it can't read.",
  );
}
