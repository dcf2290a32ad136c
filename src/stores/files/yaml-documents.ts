/** The YAML library within limits: what a text costs stays in proportion to its length, and nothing is thrown. */

import { type Document, isCollection, isScalar, LineCounter, type Node, parseAllDocuments, visit } from "yaml";

/** A document that holds more than comments: its value, or what is wrong with it. */
export type YamlDocument = {
  readonly parsed: Document.Parsed;
  /** Undefined where a fault forbids to make one. */
  readonly value: unknown;
  readonly faults: readonly YamlFault[];
};
/** `line` and `column` count from 1; `what` quotes nothing of the text, which may be a key. */
export type YamlFault = { readonly what: string; readonly line: number; readonly column: number };

const MAX_DOCUMENTS = 1000;
/** Each one is looked up by walking through the document. */
const MAX_ALIASES = 100;
const MAX_DEPTH = 100;
const TOO_DEEP = "nested too deeply";

/**
 * Every document of `text`, or the one fault that forbids to read any. Keys that stand twice in a map are faults, as the
 * library's own check says, which compares each key with each other (5,000 services took it seconds).
 */
export function yamlDocuments(text: string): {
  readonly documents: readonly YamlDocument[];
  readonly fault?: YamlFault;
} {
  const lines = new LineCounter();
  const separators = text.match(/^---/gm)?.length ?? 0;
  if (separators > MAX_DOCUMENTS) return { documents: [], fault: at(lines, 0, `more than ${MAX_DOCUMENTS} documents`) };
  let parsed: readonly Document.Parsed[];
  try {
    parsed = parseYaml(text, lines);
  } catch {
    // The library's parser calls itself for each level.
    return { documents: [], fault: at(lines, 0, TOO_DEEP) };
  }
  return { documents: parsed.map((document) => readDocument(document, lines)) };
}

/** The documents of `text` that hold more than comments. Throws on a text that is nested too deeply. */
export function parseYaml(text: string, lines = new LineCounter()): Document.Parsed[] {
  const options = { prettyErrors: false, logLevel: "error", lineCounter: lines, uniqueKeys: false } as const;
  const documents = parseAllDocuments(text, options);
  if ("empty" in documents) return [];
  return documents.filter(({ contents, errors }) => {
    const holdsSomething = contents !== null && contents.range[1] > contents.range[0];
    return holdsSomething || errors.length > 0;
  });
}

function readDocument(parsed: Document.Parsed, lines: LineCounter): YamlDocument {
  const faults = parsed.errors.map((error) => at(lines, error.pos[0], wordsOf(error.message)));
  try {
    const own = structureFaults(parsed, lines);
    if (own.length > 0) return { parsed, value: undefined, faults: [...faults, ...own] };
    return { parsed, value: parsed.toJS(), faults };
  } catch {
    // Only aliases make a well-formed document unreadable: undefined ones, or so many that they would fill the memory.
    return { parsed, value: undefined, faults: [...faults, at(lines, parsed.range[0], "unusable alias")] };
  }
}

function structureFaults(parsed: Document.Parsed, lines: LineCounter): YamlFault[] {
  const faults: YamlFault[] = [];
  let aliases = 0;
  const fault = (node: Node | null, what: string) => {
    faults.push(at(lines, node?.range?.[0] ?? parsed.range[0], what));
    return visit.BREAK;
  };
  const tooDeep = (path: readonly unknown[]) => path.filter(isCollection).length > MAX_DEPTH;
  visit(parsed, {
    Alias: (_, alias) => {
      aliases += 1;
      return aliases > MAX_ALIASES ? fault(alias, `more than ${MAX_ALIASES} aliases`) : undefined;
    },
    Seq: (_, sequence, path) => (tooDeep(path) ? fault(sequence, TOO_DEEP) : undefined),
    Map: (_, map, path) => {
      if (tooDeep(path)) return fault(map, TOO_DEEP);
      const keys = new Set<unknown>();
      for (const { key } of map.items) {
        if (!isScalar(key)) continue;
        if (keys.has(key.value)) return fault(key, "map keys must be unique");
        keys.add(key.value);
      }
      return undefined;
    },
  });
  return faults;
}

/** Behind a colon the parser quotes the file, and a file that landed here by mistake may hold a key. */
function wordsOf(message: string): string {
  return message.startsWith("Maximum call stack") ? TOO_DEEP : (message.split(/[:"]/)[0] ?? message).trim();
}

function at(lines: LineCounter, offset: number, what: string): YamlFault {
  const { line, col } = lines.linePos(offset);
  return { what, line: Math.max(line, 1), column: Math.max(col, 1) };
}
