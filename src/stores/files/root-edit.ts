/**
 * Edits a manifest file as a careful person would: only the value that changes changes; comments, order, quoting and
 * spacing stay to the byte. The result is read back and compared with what was meant; where the file is written in a way
 * that can't be spliced safely (flow style, aliases), the YAML library writes that document anew, comments included. JSON
 * stays JSON.
 */

import { type Document, isMap, isNode, isScalar, isSeq, type Pair, type ParsedNode, type YAMLMap } from "yaml";
import { canonicalJson } from "../../core/canonical-json.ts";
import { isObject } from "../../core/object-reader.ts";
import { parseYaml } from "./yaml-documents.ts";

type Path = readonly (string | number)[];
/** `value` undefined removes the field, and its parent if that is left empty. */
export type FieldEdit = { readonly path: Path; readonly value: string | undefined };

type Span = { readonly from: number; readonly to: number; readonly text: string };

/** Returns `text` with the fields of its document number `index` changed. */
export function editDocument(text: string, index: number, edits: readonly FieldEdit[]): string {
  return edits.reduce((edited, edit) => applyEdit(edited, index, edit), text);
}

/** Returns `text` without its document number `index`, or without the item of it that `path` leads to. */
export function cutDocument(text: string, index: number, path: Path = []): string {
  const documents = parseYaml(text);
  const document = documents[index];
  if (document === undefined) return text;
  const isAlone = (siblings: unknown) => isSeq(siblings) && siblings.items.length === 1;
  // A list that would be left empty goes as a whole.
  let cut = path;
  while (cut.length > 0 && isAlone(document.getIn(cut.slice(0, -1), true))) cut = cut.slice(0, -2);
  if (cut.length === 0) return text.slice(0, document.range[0]) + text.slice(document.range[2]);
  document.deleteIn(cut);
  return asJson(text, document) ?? documents.map((each) => each.toString({ lineWidth: 0 })).join("");
}

/** `document` in the form of `text`, undefined where that is no JSON. */
function asJson(text: string, document: Document): string | undefined {
  try {
    if (!isObject(JSON.parse(text))) return undefined;
  } catch {
    return undefined;
  }
  const indent = /^[ \t]+(?=")/m.exec(text)?.[0];
  return `${JSON.stringify(document.toJS(), undefined, indent)}${text.endsWith("\n") ? "\n" : ""}`;
}

function applyEdit(text: string, index: number, { path, value }: FieldEdit): string {
  const documents = parseYaml(text);
  const document = documents[index];
  if (document === undefined || document.getIn(path) === value) return text;
  const wanted = document.clone() as Document;
  if (value === undefined) removeField(wanted, path);
  else setField(wanted, path, value);
  const json = asJson(text, wanted);
  if (json !== undefined) return json;
  // In canonical form, because a new field is spliced in first while the library appends it.
  const meaning = documents.map((each) => canonicalJson((each === document ? wanted : each).toJS()));

  const span = value === undefined ? cutSpan(text, document, path) : putSpan(text, document, path, value);
  if (span !== undefined) {
    const spliced = text.slice(0, span.from) + span.text + text.slice(span.to);
    const readBack = parseYaml(spliced);
    const same = readBack.every((each, at) => each.errors.length === 0 && canonicalJson(each.toJS()) === meaning[at]);
    if (same && readBack.length === documents.length) return spliced;
  }
  return documents.map((each) => (each === document ? wanted : each).toString({ lineWidth: 0 })).join("");
}

function setField(document: Document, path: Path, value: string): void {
  const parent = path.slice(0, -1);
  // `annotations:` with nothing behind it is a null, which setIn can't put a field into.
  if (document.getIn(parent) === null) document.setIn(parent, document.createNode({ [path.at(-1) ?? ""]: value }));
  else document.setIn(path, value);
}

function removeField(document: Document, path: Path): void {
  document.deleteIn(path);
  const parent = document.getIn(path.slice(0, -1));
  if (isMap(parent) && parent.items.length === 0) document.deleteIn(path.slice(0, -1));
}

/** Puts a value in the place of the old one, or as a new first line into the nearest map that is there. */
function putSpan(text: string, document: Document.Parsed, path: Path, value: string): Span | undefined {
  const written = /^[a-z]+$/.test(value) ? value : JSON.stringify(value);
  const old = document.getIn(path, true);
  if (isScalar(old) && old.range) return { from: old.range[0], to: old.range[1], text: written };

  const depth = path.findLastIndex((_, at) => isMap(document.getIn(path.slice(0, at), true)));
  const place = firstKey(text, document.getIn(path.slice(0, depth), true));
  if (depth < 0 || place === undefined) return undefined;
  const indent = " ".repeat(place.column);
  const lines = path.slice(depth).map((key, level, rest) => {
    const name = /^[a-zA-Z]+$/.test(String(key)) ? key : JSON.stringify(key);
    return `${level === 0 ? "" : `\n${indent}${"  ".repeat(level)}`}${name}:${level === rest.length - 1 ? ` ${written}` : ""}`;
  });
  return { from: place.offset, to: place.offset, text: `${lines.join("")}\n${indent}` };
}

/** The lines of a field, or of its parent if it is all that the parent holds. */
function cutSpan(text: string, document: Document.Parsed, path: Path): Span | undefined {
  const map = document.getIn(path.slice(0, -1), true);
  if (!isMap(map)) return undefined;
  if (map.items.length === 1 && path.length > 1) return cutSpan(text, document, path.slice(0, -1));
  const pair = map.items.find((item) => isScalar(item.key) && item.key.value === path.at(-1)) as Pair<
    ParsedNode,
    ParsedNode
  >;
  const [from, to] = [pair?.key.range[0], pair?.value?.range[1]];
  if (from === undefined || to === undefined) return undefined;
  const lineStart = text.lastIndexOf("\n", from - 1) + 1;
  const lineEnd = text.indexOf("\n", to - 1) + 1;
  return /^ *$/.test(text.slice(lineStart, from)) && lineEnd > 0
    ? { from: lineStart, to: lineEnd, text: "" }
    : undefined;
}

/** Where the first field of a block-style map begins; undefined for a flow-style or empty one. */
function firstKey(text: string, node: unknown): { offset: number; column: number } | undefined {
  const key = isMap(node) ? (node as YAMLMap).items[0]?.key : undefined;
  if (!isNode(key) || !key.range) return undefined;
  const [offset] = key.range;
  const before = text.slice(text.lastIndexOf("\n", offset - 1) + 1, offset);
  return /^ *$/.test(before) ? { offset, column: before.length } : undefined;
}
