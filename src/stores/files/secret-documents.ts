/** The text of a file that holds a Kubernetes Secret, in the forms in which people keep one. No file system here. */

import { MeshrootError } from "../../core/errors.ts";
import { type Fields, isObject } from "../../core/object-reader.ts";
import type { SecretRef } from "../../core/roots/mesh-root.ts";
import { MANAGED_BY, type Secret } from "../../ports/store.ts";
import { listItems } from "./manifest-list.ts";
import type { Place } from "./root-documents.ts";
import { yamlDocuments } from "./yaml-documents.ts";

/** `only`: nothing else is in the file. */
export type FoundSecret = { readonly secret: Secret; readonly place: Place; readonly only: boolean };

type Candidate = { readonly object: Fields; readonly place: Place };

const NEVER_REPLACED = "meshroot never replaces a secret that it can't read.";
const BASE64 = /^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/;

/**
 * The secret `ref` in `text`: alone, among several documents, or in a list. Throws MR2005 naming `path` where it is not there
 * or can't be read; no text of it repeats what the file holds.
 */
export function findSecret(path: string, ref: SecretRef, text: string): FoundSecret {
  const { objects, count } = objectsOf(path, ref, text);
  const secrets = objects.filter(({ object }) => object.kind === "Secret");
  if (secrets.length === 0) throw noSecret(path, ref, objects);
  const wanted = secrets.filter(({ object: { metadata } }) => isNamed(metadata, ref));
  const [first, second] = wanted;
  if (first === undefined) throw misnamed(path, ref, secrets);
  if (second !== undefined) {
    const what = `it holds ${ref.namespace}/${ref.name} ${wanted.length} times`;
    throw unreadableSecret(path, what, "Leave the one that is meant.");
  }
  const { metadata } = first.object;
  const labels = isObject(metadata) && isObject(metadata.labels) ? stringValues(metadata.labels) : undefined;
  const data = { ...decodeData(path, text, first.object.data), ...decodeText(path, first.object.stringData) };
  const secret = { ...ref, data, ...(labels === undefined ? {} : { labels }) };
  return { secret, place: first.place, only: count === 1 };
}

/** MR2005: `what` names the file or the secret. */
export function unreadableSecret(what: string, why: string, hint: string): MeshrootError {
  return new MeshrootError("MR2005", `can't read secret ${what}: ${why}`, `${hint} ${NEVER_REPLACED}`);
}

function objectsOf(path: string, ref: SecretRef, text: string): { objects: Candidate[]; count: number } {
  const { documents, fault = documents.find(({ faults }) => faults.length > 0)?.faults[0] } = yamlDocuments(text);
  if (/^-----BEGIN /m.test(text) && !/^kind:|"kind":/m.test(text))
    throw unreadableSecret(path, "it is PEM, not a Secret", howToMake(ref));
  if (fault !== undefined) {
    // The library's messages quote the text around the fault, which may be a key: only the place is passed on.
    const hint = `Mend line ${fault.line}${madeByUs(text) ? ", or restore the file from a backup" : ""}.`;
    throw unreadableSecret(path, `YAML syntax error in line ${fault.line}`, hint);
  }
  const all = documents.flatMap(({ value }, document) => {
    const items = listItems(value, { apiVersion: "v1", kind: "Secret" }) ?? [{ path: [], object: value }];
    return items.map((item) => ({ object: item.object, place: { document, path: item.path } }));
  });
  return { objects: all.filter((one): one is Candidate => isObject(one.object)), count: all.length };
}

function noSecret(path: string, ref: SecretRef, objects: readonly Candidate[]): MeshrootError {
  const kinds = objects.map(({ object: { kind } }) => (typeof kind === "string" ? kind.slice(0, 60) : "no kind"));
  const found = kinds.length === 0 ? "it holds no object" : `found ${kinds.slice(0, 5).join(", ")}`;
  const sealed = kinds.find((kind) => /^(?:SealedSecret|ExternalSecret)$/.test(kind));
  const hint =
    sealed === undefined ? howToMake(ref) : `Put the Secret itself here; a ${sealed} is only opened in a cluster.`;
  return unreadableSecret(path, `it is not of kind Secret (${found})`, hint);
}

function isNamed(metadata: unknown, ref: SecretRef): boolean {
  return isObject(metadata) && metadata.name === ref.name && (metadata.namespace ?? ref.namespace) === ref.namespace;
}

function misnamed(path: string, ref: SecretRef, secrets: readonly Candidate[]): MeshrootError {
  const names = secrets.map(({ object: { metadata } }) => {
    if (!isObject(metadata)) return "one without metadata";
    return `${metadata.namespace === undefined ? "" : `${shown(metadata.namespace)}/`}${shown(metadata.name)}`;
  });
  return unreadableSecret(
    path,
    `its metadata don't say ${ref.namespace}/${ref.name}, as its path does, but ${names.slice(0, 5).join(", ")}`,
    `Write \`name: ${ref.name}\` and \`namespace: ${ref.namespace}\` under metadata, or give the MeshRootCertificate's secretRef the other name.`,
  );
}

function shown(name: unknown): string {
  return JSON.stringify(name)?.slice(0, 80) ?? "no name";
}

/** Kubernetes takes null for nothing at all, here and as a value. */
function decodeData(path: string, text: string, data: unknown): Record<string, Buffer> {
  if (data === undefined || data === null) return {};
  if (!isObject(data)) throw unreadableSecret(path, "data is not a map", "Write `data:` with a line for each key.");
  const decoded: Record<string, Buffer> = {};
  for (const [key, value] of Object.entries(data)) {
    const compact = value === null ? "" : typeof value === "string" ? value.replace(/\s/g, "") : undefined;
    // Buffer.from skips what is not base64; a key that is silently cut short is worse than an error.
    if (compact === undefined || !BASE64.test(compact)) throw notBase64(path, text, key, String(value));
    decoded[key] = Buffer.from(compact, "base64");
  }
  return decoded;
}

function notBase64(path: string, text: string, key: string, value: string): MeshrootError {
  const what = `data["${key}"] is not base64`;
  if (value.includes("-----BEGIN ")) {
    const hint = `Move ${key} from data to stringData, which takes PEM as it is, or write its base64 (\`base64 -w0 FILE\`).`;
    return unreadableSecret(path, `${what} but PEM`, hint);
  }
  if (value.startsWith("ENC["))
    return unreadableSecret(path, `${what} but encrypted by sops`, "Decrypt the file first: `sops -d -i FILE`.");
  const hint = `Write the base64 of the whole file (\`base64 -w0 FILE\`), or its text under stringData${madeByUs(text) ? "; or restore the file from a backup" : ""}.`;
  return unreadableSecret(path, what, hint);
}

/** `stringData` wins over `data`, as the API server has it. */
function decodeText(path: string, data: unknown): Record<string, Buffer> {
  if (data === undefined || data === null) return {};
  const hint = "Write each value of stringData as a block: `ca.crt: |`, and the PEM below it, indented.";
  if (!isObject(data)) throw unreadableSecret(path, "stringData is not a map", hint);
  return Object.fromEntries(
    Object.entries(data).map(([key, value]) => {
      if (typeof value !== "string" && value !== null)
        throw unreadableSecret(path, `stringData["${key}"] is not a text`, hint);
      return [key, Buffer.from(value ?? "", "utf8")];
    }),
  );
}

function howToMake(ref: SecretRef): string {
  return (
    `Make one from the two PEM files: \`kubectl create secret generic ${ref.name} -n ${ref.namespace} ` +
    "--from-file=ca.crt=CERTIFICATE --from-file=private.key=KEY --dry-run=client -o yaml`."
  );
}

/** Whether a file that can't be read any more was made by us: then, and only then, is there a backup of it. */
function madeByUs(text: string): boolean {
  return text.includes(MANAGED_BY.key) && text.includes(MANAGED_BY.value);
}

function stringValues(object: Fields): Record<string, string> {
  return Object.fromEntries(
    Object.entries(object).filter((entry): entry is [string, string] => typeof entry[1] === "string"),
  );
}
