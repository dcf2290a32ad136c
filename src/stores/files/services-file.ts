/**
 * `<data>/services.yaml`: which identities stand behind a service, so that its callers can match them. A map from
 * `namespace/service` to a list of `serviceAccount.namespace` or `{serviceAccount, namespace}`.
 */

import { readFile } from "node:fs/promises";
import { LineCounter, parseDocument } from "yaml";
import { MeshrootError, type Problem } from "../../core/errors.ts";
import { identityName, isDnsLabel, type ServiceIdentity } from "../../core/identity.ts";
import { isObject } from "../../core/object-reader.ts";
import { errorText, isSystemError } from "./system-error.ts";
import { type Watch, type WatchOptions, watchFiles } from "./watch-files.ts";

/** `namespace/service` -> the identities behind it, each once. */
export type Services = ReadonlyMap<string, readonly ServiceIdentity[]>;
export type ServicesRead = { readonly services: Services; readonly problems: readonly Problem[] };

/** Reads the text of a services file. Either all of it or, with any problem (MR2006), an empty map. */
export function parseServices(text: string): ServicesRead {
  const lines = new LineCounter();
  const document = parseDocument(text, { prettyErrors: false, logLevel: "error", lineCounter: lines });
  const [fault] = document.errors;
  if (fault !== undefined) {
    const { line, col } = lines.linePos(fault.pos[0]);
    return failed([invalid(`YAML syntax error in line ${line}, column ${col}`)]);
  }
  let object: unknown;
  try {
    object = document.toJS();
  } catch {
    return failed([invalid("YAML aliases that can't be resolved")]);
  }
  if (object === null || object === undefined) return { services: new Map(), problems: [] };
  if (!isObject(object)) return failed([invalid("not a map of services")]);

  const problems: Problem[] = [];
  const services = new Map<string, readonly ServiceIdentity[]>();
  for (const [service, listed] of Object.entries(object)) {
    const [namespace = "", name = "", ...more] = service.split("/");
    if (more.length > 0 || !isDnsLabel(namespace) || !isDnsLabel(name))
      problems.push(invalid(`"${service}" is not namespace/service`));
    if (!Array.isArray(listed)) problems.push(invalid(`${service} has no list of identities`));
    else services.set(service, readIdentities(service, listed, problems));
  }
  return problems.length > 0 ? failed(problems) : { services, problems };
}

/** Reads the file; one that is not there means no services. Throws MR2006 where it can't be read. */
export async function readServices(path: string): Promise<ServicesRead> {
  try {
    return parseServices(await readFile(path, "utf8"));
  } catch (error) {
    if (isSystemError(error, "ENOENT")) return { services: new Map(), problems: [] };
    const { code, message, hint } = invalid(`can't read ${path}: ${errorText(error)}`);
    throw new MeshrootError(code, message, hint, error);
  }
}

/** Hands over the services at once and after every change; with problems, the last good services stay. */
export async function watchServices(
  path: string,
  onChange: (read: ServicesRead) => void,
  options?: WatchOptions,
): Promise<Watch> {
  let lastGood: Services = new Map();
  const read = async (): Promise<ServicesRead> => {
    const { services, problems } = await readServices(path);
    if (problems.length === 0) lastGood = services;
    return { services: lastGood, problems };
  };
  return watchFiles(path, read, onChange, options);
}

function readIdentities(service: string, listed: readonly unknown[], problems: Problem[]): ServiceIdentity[] {
  const identities = new Map<string, ServiceIdentity>();
  for (const entry of listed) {
    const identity = readIdentity(entry);
    if (identity === undefined) problems.push(invalid(`${service}: ${JSON.stringify(entry)} is no service identity`));
    else identities.set(identityName(identity), identity);
  }
  return [...identities.values()];
}

function readIdentity(entry: unknown): ServiceIdentity | undefined {
  const parts =
    typeof entry === "string" ? entry.split(".") : isObject(entry) ? [entry.serviceAccount, entry.namespace] : [];
  const [serviceAccount, namespace, ...more] = parts;
  if (typeof serviceAccount !== "string" || typeof namespace !== "string" || more.length > 0) return undefined;
  return isDnsLabel(serviceAccount) && isDnsLabel(namespace) ? { serviceAccount, namespace } : undefined;
}

function failed(problems: readonly Problem[]): ServicesRead {
  return { services: new Map(), problems };
}

function invalid(message: string): Problem {
  return {
    code: "MR2006",
    message: `services.yaml: ${message}`,
    hint: "Write lines like `bookstore/bookstore: [bookstore.bookstore]` (namespace/service: serviceAccount.namespace).",
  };
}
