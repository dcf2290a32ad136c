/**
 * For each rule of docs/evidence.md (E, C) and docs/xds-protocol.md (R, T, X) the tests that hold it, by the rule's number in
 * their titles. Exits with 1 when a rule has none, or when a title cites a rule that does not exist.
 */

import { readdir, readFile } from "node:fs/promises";
import { join, relative } from "node:path";

const ROOT = new URL("../../", import.meta.url).pathname;
const DOCUMENTS = ["docs/evidence.md", "docs/xds-protocol.md"];
const CITED = /\b[ECRTX]\d+(?:-[ECRTX]\d+)?\b/g;
/** A title stands alone on its line, or follows `test(`: transcripts in a table are titled by their key. */
const TITLE = /(?:\btest(?:\.\w+)?\(\s*|^ {2})(?:"((?:[^"\\]|\\.)*)"|`((?:[^`\\]|\\.)*)`)(?=[,:])/gm;

type Cited = { readonly file: string; readonly title: string };

async function rulesOf(document: string): Promise<string[]> {
  const text = await readFile(join(ROOT, document), "utf8");
  return [...text.matchAll(/^\| ([ECRTX]\d+) \|/gm)].map((match) => match[1] ?? "");
}

/** `R10-R12` cites all three. */
function rulesIn(title: string): Set<string> {
  return new Set(
    (title.match(CITED) ?? []).flatMap((cited) => {
      const [, letter = "", from = "", to = from] = /^(\w)(\d+)(?:-\w(\d+))?$/.exec(cited) ?? [];
      return Array.from({ length: Number(to) - Number(from) + 1 }, (_, index) => `${letter}${Number(from) + index}`);
    }),
  );
}

/** A title may begin with the number of an input that once failed (`C9: …`), which is no rule. */
const ROW = /^[A-E]\d+(?=: )/;

async function citations(rules: readonly string[]): Promise<Map<string, Cited[]>> {
  const tests = new Map<string, Cited[]>();
  const entries = await readdir(join(ROOT, "test"), { recursive: true, withFileTypes: true });
  for (const entry of entries) {
    if (!entry.isFile() || !entry.name.endsWith(".test.ts")) continue;
    const path = join(entry.parentPath, entry.name);
    const file = relative(ROOT, path);
    for (const match of (await readFile(path, "utf8")).matchAll(TITLE)) {
      const title = match[1] ?? match[2] ?? "";
      const cited = rulesIn(title);
      const row = ROW.exec(title)?.[0];
      if (row !== undefined && !rules.includes(row)) cited.delete(row);
      for (const rule of cited) tests.set(rule, [...(tests.get(rule) ?? []), { file, title }]);
    }
  }
  return tests;
}

const rules = (await Promise.all(DOCUMENTS.map(rulesOf))).flat();
const tests = await citations(rules);
for (const rule of rules) {
  const held = tests.get(rule) ?? [];
  console.log(`${rule}  ${held.length === 0 ? "NO TEST" : ""}`);
  for (const { file, title } of held) console.log(`      ${file}: ${title}`);
}
const missing = rules.filter((rule) => !tests.has(rule));
const unknown = [...tests.keys()].filter((rule) => !rules.includes(rule));
if (missing.length > 0) console.error(`\nwithout a test: ${missing.join(", ")}`);
if (unknown.length > 0) console.error(`\ncited, and in none of ${DOCUMENTS.join(", ")}: ${unknown.join(", ")}`);
console.log(`\n${rules.length} rules, ${rules.length - missing.length} with tests`);
process.exitCode = missing.length + unknown.length > 0 || rules.length === 0 ? 1 : 0;
