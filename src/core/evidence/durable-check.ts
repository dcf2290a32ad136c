/**
 * Whether what was read back is what this program writes: the trust in force, and a row of the ledger. A file that was edited,
 * cut or mixed from two backups must not be acted on. Each answer completes "can't read …: "; undefined: it is in order.
 */

import { isObject } from "../object-reader.ts";
import { rootId } from "../roots/trust.ts";

type Check = (value: unknown) => string | undefined;

const text: Check = (value) => (typeof value === "string" ? undefined : "is no text");
const time: Check = (value) => (typeof value === "number" && Number.isFinite(value) ? undefined : "is no time");
const flag: Check = (value) => (typeof value === "boolean" ? undefined : "is neither true nor false");
const count: Check = (value) => (Number.isSafeInteger(value) && Number(value) >= 0 ? undefined : "is no whole number");
const optional =
  (check: Check): Check =>
  (value) =>
    value === undefined ? undefined : check(value);
const oneOf =
  (...words: readonly string[]): Check =>
  (value) =>
    words.includes(value as string) ? undefined : `is none of ${words.join(", ")}`;

/** "what: is …" becomes "what is …", and a path where it lies deeper. */
function within(name: string, found: string | undefined): string | undefined {
  return found === undefined ? undefined : `${name}${/^is |^holds |^has /.test(found) ? " " : "."}${found}`;
}

function listOf(check: Check): Check {
  return (value) => {
    if (value === undefined) return "is missing";
    if (!Array.isArray(value)) return "is no list";
    for (const [index, one] of value.entries()) {
      const found = within(`${index}`, check(one));
      if (found !== undefined) return found;
    }
    return undefined;
  };
}

function shape(fields: Readonly<Record<string, Check>>): Check {
  return (value) => {
    if (value === undefined) return "is missing";
    if (!isObject(value)) return "is no object";
    for (const [name, check] of Object.entries(fields)) {
      const found = check(value[name]);
      const isMissing = value[name] === undefined && found !== undefined;
      if (found !== undefined) return within(name, isMissing ? "is missing" : found);
    }
    return undefined;
  };
}

const form = shape({ trustDomain: text, spiffe: flag });
const trustedRoot = shape({
  id: text,
  name: text,
  fingerprint: text,
  serial: text,
  form,
  certificatePem: text,
  notBefore: time,
  notAfter: time,
});

const trustShape = shape({
  generation: (value) => count(value) ?? (value === 0 ? "is 0" : undefined),
  signer: text,
  mesh: listOf(text),
  xds: listOf(text),
  xdsServer: text,
  trustDomains: optional(listOf(text)),
  retired: optional(listOf(trustedRoot)),
  roots: (value) => (isObject(value) ? listOf(trustedRoot)(Object.values(value)) : "is no object"),
});

type Trust = {
  readonly signer: string;
  readonly mesh: readonly string[];
  readonly xds: readonly string[];
  readonly xdsServer: string;
  readonly roots: Readonly<
    Record<string, { id: string; fingerprint: string; form: { trustDomain: string; spiffe: boolean } }>
  >;
};

/** The invariants of TrustInForce, too: each id has its record, the signer is in the bundle, what is in the mesh is on xDS. */
export function trustProblem(value: unknown): string | undefined {
  const misshapen = within("trust", trustShape(value));
  if (misshapen !== undefined) return misshapen;
  const { signer, mesh, xds, xdsServer, roots } = value as Trust;
  for (const [id, record] of Object.entries(roots))
    if (record.id !== id || rootId(record.fingerprint, record.form) !== id)
      return `the record of root ${id} is another one's`;
  const unknown = [signer, ...mesh, ...xds, xdsServer].find((id) => !Object.hasOwn(roots, id));
  if (unknown !== undefined) return `there is no record of root ${unknown}`;
  if (!mesh.includes(signer)) return "the signer is not in trust.mesh";
  const outside = [...mesh, xdsServer].find((id) => !xds.includes(id));
  return outside === undefined ? undefined : `root ${outside} is not in trust.xds`;
}

/** What of `authorities` is no way to a certificate authority. */
export function authoritiesProblem(value: unknown): string | undefined {
  if (!isObject(value)) return value === undefined ? "authorities is missing" : "authorities is no object";
  return within("authorities", listOf(shape({ kind: text }))(Object.values(value)));
}

const bundleContent = shape({ kind: oneOf("bundle", "xdsBundle"), version: text, roots: listOf(text) });
const leafContent = shape({
  kind: oneOf("leaf", "xdsLeaf"),
  version: text,
  root: text,
  notBefore: optional(time),
  notAfter: time,
});
const content: Check = (value) =>
  (isObject(value) && (value.kind === "bundle" || value.kind === "xdsBundle") ? bundleContent : leafContent)(value);
const consumer = oneOf("envoy", "agent");
const word = optional(shape({ reason: text, at: time }));

const rowShape = shape({
  identity: shape({
    serviceAccount: text,
    namespace: text,
    uuid: text,
    kind: oneOf("sidecar", "gateway"),
    trustDomain: text,
  }),
  slots: listOf(
    shape({
      consumer,
      name: text,
      kind: oneOf("leaf", "bundle", "xdsLeaf", "xdsBundle"),
      matchers: flag,
      mayRun: listOf(content),
      overlapped: flag,
      acked: optional(text),
      refusal: optional(shape({ version: text, at: time, attempts: count, retryAt: time })),
    }),
  ),
  lastContactAt: time,
  hadLeaf: flag,
  cutShort: optional(flag),
  error: optional(shape({ answering: text, message: text, at: time, names: listOf(text) })),
  auth: shape({ envoy: optional(text), agent: optional(text) }),
  credentialsUntil: optional(time),
  showsLeaf: optional(flag),
  stranger: optional(shape({ leafUntil: time })),
  issued: optional(
    listOf(shape({ fingerprint: text, root: text, notBefore: time, notAfter: time, bundle: bundleContent })),
  ),
  assumed: word,
  forgotten: word,
});

export function rowProblem(key: string, value: unknown): string | undefined {
  const misshapen = rowShape(value);
  if (misshapen !== undefined) return within(`the row of ${key}`, misshapen)?.replace(`${key}.`, `${key}: `);
  const { identity } = value as { identity: { uuid: string } };
  return identity.uuid === key ? undefined : `the row of ${key} is that of ${identity.uuid}`;
}
