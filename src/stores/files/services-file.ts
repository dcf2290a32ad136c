/**
 * `<data>/services.yaml`: which identities stand behind a service, so that its callers can match them. A map from
 * `namespace/service` to a list of `serviceAccount.namespace` or `{serviceAccount, namespace}`.
 */

import { MeshrootError, type Problem } from "../../core/errors.ts";
import { identityName, isDnsLabel, type ServiceIdentity } from "../../core/identity.ts";
import { isObject } from "../../core/object-reader.ts";
import type { Services, ServicesRead, Watch } from "../../ports/store.ts";
import { readText } from "../../runtime/read-text.ts";
import { errorText, isSystemError } from "../../runtime/system-error.ts";
import { type WatchOptions, watchFiles } from "./watch-files.ts";
import { yamlDocuments } from "./yaml-documents.ts";

/** Each proxy that asks for a service matches each of its identities; a bundle of thousands is no bundle any more. */
const MAX_SERVICES = 10_000;
const MAX_IDENTITIES = 50_000;
/** The rest of thousands of faults helps nobody. */
const MAX_PROBLEMS = 20;

/** Reads the text of a services file. Either all of it or, with any problem (MR2006), an empty map. */
export function parseServices(text: string): ServicesRead {
  const { documents, fault = documents.find(({ faults }) => faults.length > 0)?.faults[0] } = yamlDocuments(text);
  if (fault !== undefined)
    return failed([invalid(`YAML syntax error in line ${fault.line}, column ${fault.column}: ${fault.what}`)]);
  if (documents.length > 1) return failed([invalid(`${documents.length} documents instead of one`)]);
  const object = documents[0]?.value;
  if (object === null || object === undefined) return { services: new Map(), problems: [] };
  if (!isObject(object)) return failed([invalid("not a map of services")]);
  const entries = Object.entries(object);
  if (entries.length > MAX_SERVICES) return failed([tooMany(`${entries.length} services`, MAX_SERVICES)]);

  const problems: Problem[] = [];
  const services = new Map<string, readonly ServiceIdentity[]>();
  let identities = 0;
  for (const [service, listed] of entries) {
    const [namespace = "", name = "", ...more] = service.split("/");
    if (more.length > 0 || !isDnsLabel(namespace) || !isDnsLabel(name))
      problems.push(invalid(`"${service}" is not namespace/service`));
    if (!Array.isArray(listed)) problems.push(invalid(`${service} has no list of identities`));
    else services.set(service, readIdentities(service, listed, problems));
    identities += services.get(service)?.length ?? 0;
    if (problems.length >= MAX_PROBLEMS) break;
  }
  if (identities > MAX_IDENTITIES) problems.push(tooMany(`${identities} identities`, MAX_IDENTITIES));
  return problems.length > 0 ? failed(problems.slice(0, MAX_PROBLEMS)) : { services, problems };
}

/** Reads the file; one that is not there means no services. Throws MR2006 where it can't be read. */
export async function readServices(path: string): Promise<ServicesRead> {
  return parseServices(await servicesText(path));
}

/** Hands over the services at once and after every change; with problems, the last good services stay. */
export async function watchServices(
  path: string,
  onChange: (read: ServicesRead) => void,
  options?: WatchOptions,
): Promise<Watch> {
  return watchFiles(path, servicesReader(path), onChange, options);
}

/** Reads the file at each call; while its bytes stay the same, the answer is the very same object. */
export function servicesReader(path: string): () => Promise<ServicesRead> {
  let lastGood: Services = new Map();
  let last: { readonly text: string; readonly read: ServicesRead } | undefined;
  return async () => {
    const text = await servicesText(path);
    if (last?.text === text) return last.read;
    const { services, problems } = parseServices(text);
    if (problems.length === 0) lastGood = services;
    last = { text, read: { services: lastGood, problems } };
    return last.read;
  };
}

async function servicesText(path: string): Promise<string> {
  try {
    return (await readText(path)).text;
  } catch (error) {
    if (isSystemError(error, "ENOENT")) return "";
    const { code, message, hint } = invalid(`can't read ${path}: ${errorText(error)}`);
    throw new MeshrootError(code, message, error instanceof MeshrootError ? error.hint : hint, error);
  }
}

function readIdentities(service: string, listed: readonly unknown[], problems: Problem[]): ServiceIdentity[] {
  const identities = new Map<string, ServiceIdentity>();
  for (const entry of listed) {
    if (problems.length >= MAX_PROBLEMS) break;
    const identity = readIdentity(entry);
    if (identity === undefined) problems.push(noIdentity(service, entry));
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

/** `1.5` may be the account 1 of the namespace 5, but to YAML it is a number. */
function noIdentity(service: string, entry: unknown): Problem {
  const shown = (JSON.stringify(entry) ?? "nothing").slice(0, 100);
  const problem = invalid(`${service}: ${shown} is no service identity`);
  return typeof entry === "number" ? { ...problem, hint: `Put it in quotes: "${shown}". ${problem.hint}` } : problem;
}

function tooMany(what: string, limit: number): Problem {
  return {
    ...invalid(`${what}, more than ${limit}`),
    hint: "List the services that a proxy of this mesh calls, only.",
  };
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
