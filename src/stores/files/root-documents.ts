/** The text of one manifest file, read object by object. No file system here. */

import { stringify } from "yaml";
import type { Problem } from "../../core/errors.ts";
import { MESH_ROOT_API_VERSION, MESH_ROOT_KIND, type MeshRoot, rootKey } from "../../core/roots/mesh-root.ts";
import { type ParseOptions, parseMeshRoot } from "../../core/roots/mesh-root-parse.ts";
import { listItems } from "./manifest-list.ts";
import { type YamlDocument, type YamlFault, yamlDocuments } from "./yaml-documents.ts";

/** Where an object stands in a file: in which document, and by which path below it (`items`, 3) where that is a list. */
export type Place = { readonly document: number; readonly path: readonly (string | number)[] };

/** One object of a manifest file: its own text, and either the root that it describes or what is wrong with it. */
export type RootDocument = {
  readonly text: string;
  readonly place: Place;
  readonly root?: MeshRoot;
  readonly problems: readonly Problem[];
};

/**
 * Every object of `text`, those of lists one by one; never throws. Problems are MR2003 (with line and column) and those of
 * `parseMeshRoot`. A text without any object is a problem too: an editor that has just emptied the file must not look like a
 * deletion.
 */
export function readRootDocuments(text: string, options: ParseOptions): readonly RootDocument[] {
  const { documents, fault } = yamlDocuments(text);
  const whole = { text, place: { document: 0, path: [] } };
  if (fault !== undefined) return [{ ...whole, problems: [syntaxProblem(text, fault)] }];
  const found = documents.flatMap((document, index) => readDocument(text, document, index));
  if (found.length === 0) return [{ ...whole, problems: [EMPTY] }];
  // Objects of one file that say nothing of their age were made in their order.
  return found.map((read, index) => read({ ...options, createdAt: options.createdAt + index }));
}

/** The place of root `key` (`namespace/name`), undefined if it is not there. */
export function findRoot(documents: readonly RootDocument[], key: string): Place | undefined {
  return documents.find(({ root }) => root !== undefined && rootKey(root) === key)?.place;
}

const EMPTY: Problem = {
  code: "MR1001",
  message: "no manifest in this file",
  hint: "Delete the file to remove its roots; as long as it is there and empty, their last good version stays.",
};

type Reader = (options: ParseOptions) => RootDocument;

function readDocument(text: string, document: YamlDocument, index: number): Reader[] {
  const { parsed, value, faults } = document;
  const own = text.slice(parsed.range[0], parsed.range[2]);
  const problems = faults.map((fault) => syntaxProblem(text, fault));
  const items = listItems(value, { apiVersion: MESH_ROOT_API_VERSION, kind: MESH_ROOT_KIND });
  if (items === undefined) return [reader(own, { document: index, path: [] }, value, problems)];
  if (problems.length > 0) return [() => ({ text: own, place: { document: index, path: [] }, problems })];
  return items.map(({ path, object }) =>
    reader(stringify(object, { schema: "yaml-1.1", lineWidth: 0 }), { document: index, path }, object, problems),
  );
}

function reader(text: string, place: Place, object: unknown, faults: readonly Problem[]): Reader {
  return (options) => {
    if (object === undefined && faults.length > 0) return { text, place, problems: faults };
    const parsed = parseMeshRoot(object, options);
    if ("root" in parsed)
      return faults.length > 0 ? { text, place, problems: faults } : { text, place, root: parsed.root, problems: [] };
    // What a broken document seems to lack may just be unreadable, but a misspelt field is misspelt all the same.
    const certain = faults.length === 0 ? parsed.problems : parsed.problems.filter(({ code }) => code === "MR1002");
    return { text, place, problems: [...faults, ...certain] };
  };
}

function syntaxProblem(text: string, { what, line, column }: YamlFault): Problem {
  const source = text.split("\n")[line - 1] ?? "";
  return {
    code: "MR2003",
    message: `YAML syntax error in line ${line}, column ${column}: ${what}`,
    hint: /,\s*$/.test(source)
      ? `YAML puts no comma at the end of a line: remove the one in line ${line}.`
      : `Mend line ${line} and save again; until then the last good version stays.`,
  };
}
