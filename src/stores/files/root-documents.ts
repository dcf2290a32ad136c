/** The text of one manifest file, read document by document. No file system here. */

import { type Document, LineCounter, parseAllDocuments } from "yaml";
import type { Problem } from "../../core/errors.ts";
import { type MeshRoot, rootKey } from "../../core/mesh-root.ts";
import { type ParseOptions, parseMeshRoot } from "../../core/mesh-root-parse.ts";

/** One YAML document of a manifest file: its own text, and either the root that it describes or what is wrong with it. */
export type RootDocument = { readonly text: string; readonly root?: MeshRoot; readonly problems: readonly Problem[] };

/**
 * Every document of `text`; never throws. Problems are MR2003 (with line and column) and those of `parseMeshRoot`. A text
 * without any document is a problem too: an editor that has just emptied the file must not look like a deletion.
 */
export function readRootDocuments(text: string, options: ParseOptions): readonly RootDocument[] {
  const lines = new LineCounter();
  const documents = parseDocuments(text, lines);
  if (documents.length === 0) return [{ text, problems: [EMPTY] }];
  // Documents of one file that say nothing of their age were made in their order.
  return documents.map((document, index) =>
    readDocument(text, document, lines, { ...options, createdAt: options.createdAt + index }),
  );
}

/** Position of the document that describes root `key` (`namespace/name`), -1 if there is none. */
export function findRoot(documents: readonly RootDocument[], key: string): number {
  return documents.findIndex(({ root }) => root !== undefined && rootKey(root) === key);
}

/** The documents of `text` that hold more than comments, with line numbers that `lines` resolves. */
export function parseDocuments(text: string, lines = new LineCounter()): Document.Parsed[] {
  const documents = parseAllDocuments(text, { prettyErrors: false, logLevel: "error", lineCounter: lines });
  return "empty" in documents
    ? []
    : documents.filter(
        (document) =>
          (document.contents !== null && document.contents.range[1] > document.contents.range[0]) ||
          document.errors.length > 0,
      );
}

const EMPTY: Problem = {
  code: "MR1001",
  message: "no manifest in this file",
  hint: "Delete the file to remove its roots; as long as it is there and empty, their last good version stays.",
};

function readDocument(
  text: string,
  document: Document.Parsed,
  lines: LineCounter,
  options: ParseOptions,
): RootDocument {
  const own = text.slice(document.range[0], document.range[2]);
  const faults = document.errors.map((error) => syntaxProblem(text, error.message, lines.linePos(error.pos[0])));
  let object: unknown;
  try {
    object = document.toJS();
  } catch {
    // Only aliases make a well-formed document unreadable: undefined ones, or so many that they would fill the memory.
    return {
      text: own,
      problems: [...faults, syntaxProblem(text, "unusable alias", lines.linePos(document.range[0]))],
    };
  }
  const parsed = parseMeshRoot(object, options);
  if ("root" in parsed)
    return faults.length > 0 ? { text: own, problems: faults } : { text: own, root: parsed.root, problems: [] };
  // What a broken document seems to lack may just be unreadable, but a misspelt field is misspelt all the same.
  const certain = faults.length === 0 ? parsed.problems : parsed.problems.filter(({ code }) => code === "MR1002");
  return { text: own, problems: [...faults, ...certain] };
}

function syntaxProblem(text: string, message: string, at: { line: number; col: number }): Problem {
  const line = text.split("\n")[at.line - 1] ?? "";
  // Behind a colon the parser quotes the file, and a file that landed here by mistake may hold a key.
  const [what = message] = message.split(/[:"]/);
  return {
    code: "MR2003",
    message: `YAML syntax error in line ${at.line}, column ${at.col}: ${what.trim()}`,
    hint: /,\s*$/.test(line)
      ? `YAML puts no comma at the end of a line: remove the one in line ${at.line}.`
      : `Mend line ${at.line} and save again; until then the last good version stays.`,
  };
}
