/** Documents that list what the code knows are complete, and what they lead to exists. */

import assert from "node:assert/strict";
import { existsSync, globSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";

const REPOSITORY = fileURLToPath(new URL("../../", import.meta.url));
const DOCUMENTS = globSync(["*.md", "docs/*.md", "envoy-examples/**/*.md"], { cwd: REPOSITORY }).sort();

const read = (path: string) => readFile(join(REPOSITORY, path), "utf8");

test("docs/waiting.md has every reason of a hold", async () => {
  const [source, document] = await Promise.all([read("src/core/rotation/holds.ts"), read("docs/waiting.md")]);
  const union = /export type HoldReason =([^;]+);/.exec(source)?.[1] ?? "";
  const reasons = [...union.matchAll(/"(\w+)"/g)].map(([, reason = ""]) => reason);
  assert.ok(reasons.length >= 11);
  for (const reason of reasons) assert.match(document, new RegExp(`^\\| .*\`${reason}\`.* \\|`, "m"), reason);
});

/** Without fenced blocks: what stands there is no link and no heading. */
const prose = (markdown: string) => markdown.replace(/^```[\s\S]*?^```$/gm, "");

/** Names that a heading can be linked by, as GitHub makes them. */
function anchors(markdown: string): Set<string> {
  const seen = new Map<string, number>();
  const names = new Set<string>();
  for (const [, heading = ""] of prose(markdown).matchAll(/^#+ +(.+?)\s*$/gm)) {
    const text = heading.replace(/\[([^\]]*)\]\([^)]*\)/g, "$1").toLowerCase();
    const name = text.replace(/[^\p{L}\p{N}\-_ ]/gu, "").replaceAll(" ", "-");
    const times = seen.get(name) ?? 0;
    seen.set(name, times + 1);
    names.add(times === 0 ? name : `${name}-${times}`);
  }
  return names;
}

/** What is wrong with the links of one document that lead to other files or to headings. */
async function deadLinks(document: string): Promise<{ links: number; dead: string[] }> {
  const text = prose(await read(document)).replace(/`[^`\n]*`/g, "code");
  const targets = [...text.matchAll(/\]\(([^)\s]+)[^)]*\)|^\[[^\]]+\]: +(\S+)/gm)]
    .map(([, inline, reference]) => inline ?? reference ?? "")
    .filter((target) => !/^[a-z]+:/i.test(target));
  const dead: string[] = [];
  for (const target of targets) {
    const [path = "", fragment] = target.split("#");
    const file = path === "" ? document : join(dirname(document), path);
    if (!existsSync(join(REPOSITORY, file))) dead.push(`${document}: ${target}: no such file`);
    else if (fragment !== undefined && !(file.endsWith(".md") && anchors(await read(file)).has(fragment)))
      dead.push(`${document}: ${target}: no such heading`);
  }
  return { links: targets.length, dead };
}

test("every relative link of a document leads to a file that exists, and to a heading of it", async () => {
  assert.ok(DOCUMENTS.includes("README.md") && DOCUMENTS.includes("docs/evidence.md"));
  const found = await Promise.all(DOCUMENTS.map(deadLinks));
  assert.deepEqual(
    found.flatMap(({ dead }) => dead),
    [],
  );
  assert.ok(found.reduce((sum, { links }) => sum + links, 0) >= 30, "links were found at all");
});

test("every document that a document or a comment names exists", async () => {
  const sources = globSync(["src/**/*.ts", "test/**/*.ts", "bench/**/*.ts", "proto/**/*.proto"], { cwd: REPOSITORY });
  assert.ok(sources.length > 300);
  const named = await Promise.all(
    [...DOCUMENTS, ...sources.filter((file) => !file.startsWith("test/packaging/"))].map(async (document) =>
      [...(await read(document)).matchAll(/[\w./-]*\w\.md\b/g)].map(([name]) => ({ document, name })),
    ),
  );
  const places = (document: string, name: string) => [join(dirname(document), name), name, join("docs", name)];
  const missing = named
    .flat()
    .filter(({ document, name }) => !places(document, name).some((place) => existsSync(join(REPOSITORY, place))));
  assert.deepEqual(missing, []);
});

test("README.md leads to every document in docs/", async () => {
  const readme = await read("README.md");
  for (const document of DOCUMENTS.filter((path) => path.startsWith("docs/")))
    assert.ok(readme.includes(`(${document})`), document);
});
