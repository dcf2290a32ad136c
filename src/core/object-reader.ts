/**
 * Reads an untrusted object field by field and collects every problem, so that one look at the answer is enough to mend
 * a manifest. A reader never throws; values that are missing or wrong come back undefined and as a problem.
 */

import type { Problem } from "./errors.ts";
import { closest } from "./suggest.ts";

export type Fields = Readonly<Record<string, unknown>>;

/** One object of a manifest: its fields, where it stands (`spec.provider`, empty for the whole), and the list that collects problems. */
export type ObjectReader = {
  readonly path: string;
  readonly fields: Fields;
  readonly problems: Problem[];
  /** Known fields that a misspelt one stands for: already reported, so not reported as missing too. */
  readonly misspelt: ReadonlySet<string>;
};

export function isObject(value: unknown): value is Fields {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** What a field that is not known here was meant to be: `meant` where it is one of this object's own, and what to do. */
export type Stray = { readonly meant?: string; readonly hint: string };

/**
 * Opens an object; fields other than `known` are reported as MR1002. `stray` may know better than its spelling what such a
 * field is: one that stands in the wrong place, or had this name for a while.
 */
export function openObject(
  path: string,
  value: unknown,
  known: readonly string[],
  problems: Problem[],
  stray: (field: string, content: unknown) => Stray | undefined = () => undefined,
): ObjectReader {
  if (!isObject(value)) {
    malformed(problems, path, `${show(value)} is not an object`, `Give ${path} the fields ${known.join(", ")}.`);
    return { path, fields: {}, problems, misspelt: new Set(known) };
  }
  const misspelt = new Set<string>();
  for (const [field, content] of Object.entries(value)) {
    if (known.includes(field)) continue;
    const explained = stray(field, content);
    if (explained !== undefined) {
      if (explained.meant !== undefined) misspelt.add(explained.meant);
      const message = `${path === "" ? "" : `${path}: `}unknown field ${field}`;
      problems.push({ code: "MR1002", message, hint: explained.hint });
      continue;
    }
    const meant = closest(field, known);
    if (meant !== undefined) misspelt.add(meant);
    problems.push({
      code: "MR1002",
      message: `${path === "" ? "" : `${path}: `}unknown field ${field}${meant === undefined ? "" : `, did you mean ${meant}?`}`,
      hint:
        meant === undefined
          ? `Known here: ${known.join(", ")}. Remove ${field}.`
          : `Write \`${meant}: …\` instead of \`${field}: …\`.${comma(content)}`,
    });
  }
  return { path, fields: value, problems, misspelt };
}

/** A field that is itself an object. */
export function objectField(
  reader: ObjectReader,
  name: string,
  known: readonly string[],
  stray?: (field: string, content: unknown) => Stray | undefined,
): ObjectReader {
  const path = pathOf(reader, name);
  if (reader.fields[name] === undefined || reader.fields[name] === null) {
    missing(reader, name);
    return { path, fields: {}, problems: reader.problems, misspelt: new Set(known) };
  }
  return openObject(path, reader.fields[name], known, reader.problems, stray);
}

/** A text that `accept` approves of; `what` completes "… is not". */
export function textField(
  reader: ObjectReader,
  name: string,
  what: string,
  accept: (text: string) => boolean,
  fallback?: string,
): string {
  const value = reader.fields[name];
  if (value === undefined || value === null) {
    if (fallback === undefined) missing(reader, name);
    return fallback ?? "";
  }
  if (typeof value === "string" && accept(value)) return value;
  malformed(
    reader.problems,
    pathOf(reader, name),
    `${show(value)} is not ${what}`,
    `Set ${pathOf(reader, name)} to ${what}.${comma(value)}${quotes(value)}`,
  );
  return "";
}

/** One of a few words. */
export function wordField<Word extends string>(
  reader: ObjectReader,
  name: string,
  words: readonly [Word, ...Word[]],
): Word {
  return textField(reader, name, `one of ${words.join(", ")}`, (text) => words.some((word) => word === text)) as Word;
}

/** A whole number between two limits, both allowed. */
export function integerField(reader: ObjectReader, name: string, minimum: number, maximum: number): number {
  const value = reader.fields[name];
  if (value === undefined || value === null) missing(reader, name);
  else if (typeof value === "number" && Number.isInteger(value) && value >= minimum && value <= maximum) return value;
  else {
    const what = `a whole number from ${minimum} to ${maximum}`;
    malformed(reader.problems, pathOf(reader, name), `${show(value)} is not ${what}`, `Set it to ${what}, unquoted.`);
  }
  return 0;
}

export function booleanField(reader: ObjectReader, name: string, fallback: boolean): boolean {
  const value = reader.fields[name];
  if (value === undefined || value === null) return fallback;
  if (typeof value === "boolean") return value;
  malformed(
    reader.problems,
    pathOf(reader, name),
    `${show(value)} is not true or false`,
    "Write true or false, unquoted.",
  );
  return fallback;
}

/** Reports a value that is of the wrong kind or form (MR1003). */
export function malformed(problems: Problem[], path: string, message: string, hint: string): void {
  problems.push({ code: "MR1003", message: `${path}: ${message}`, hint });
}

function missing(reader: ObjectReader, name: string): void {
  if (reader.misspelt.has(name)) return;
  malformed(
    reader.problems,
    pathOf(reader, name),
    "is missing",
    `Add \`${name}: …\`${reader.path === "" ? "" : ` under ${reader.path}`}.`,
  );
}

function pathOf(reader: ObjectReader, name: string): string {
  return reader.path === "" ? name : `${reader.path}.${name}`;
}

/** Manifests pasted from a JSON-minded document end lines with commas (the seed's cert-manager example does). */
function comma(value: unknown): string {
  return typeof value === "string" && value.endsWith(",") ? " YAML puts no comma at the end of a line: remove it." : "";
}

/** `name: 123` and `name: on` are texts to whoever writes them. */
function quotes(value: unknown): string {
  return typeof value === "number" || typeof value === "boolean" ? ` If it is meant as a text: "${value}".` : "";
}

function show(value: unknown): string {
  const text = JSON.stringify(value) ?? String(value);
  return text.length > 80 ? `${text.slice(0, 77)}...` : text;
}
