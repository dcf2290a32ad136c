/**
 * `run.ts [PART... | all | FILE...]`: runs the parts, by default `quick`, (parts.ts) one after the other, or the files, says which files took longest,
 * and ends with one line that counts. Exits with 1 when a test failed, or, with CI=true, was skipped: everything is installed there.
 */

import { availableParallelism } from "node:os";
import { run } from "node:test";
import { spec } from "node:test/reporters";
import { filesOf, PART_NAMES, type PartName, partNamed } from "./parts.ts";

const TIMEOUT_MS = 900_000;
const SLOWEST = 10;

type Count = { passed: number; failed: number; skipped: number };
type Run = { readonly name: string; readonly files: string[]; readonly concurrency: number };

const ROOT = new URL("..", import.meta.url).pathname;
process.chdir(ROOT);
// Also for what tests start: stripping types and compiling takes half of a command's time.
process.env.NODE_COMPILE_CACHE ??= `${ROOT}node_modules/.cache/compiled`;

const CORES = availableParallelism();

function runsOf(words: readonly string[]): Run[] {
  if (words.length > 0 && words.every((word) => word.endsWith(".test.ts")))
    return [{ name: "files", files: [...words], concurrency: CORES }];
  const names = words.includes("all") ? PART_NAMES : words;
  if (!names.every((word): word is PartName => PART_NAMES.some((name) => name === word))) {
    console.error(`usage: run.ts [PART... | all | FILE.test.ts...]   (parts: ${PART_NAMES.join(", ")})`);
    process.exit(2);
  }
  return names.map((name) => ({ name, files: filesOf(name), concurrency: partNamed(name).concurrency ?? CORES }));
}

const times: { readonly file: string; readonly seconds: number }[] = [];
const total: Count = { passed: 0, failed: 0, skipped: 0 };
const skipped: string[] = [];

async function runTests({ files, concurrency }: Run): Promise<void> {
  const events = run({ files, concurrency, timeout: TIMEOUT_MS });
  events.on("test:summary", ({ file, counts, duration_ms }) => {
    if (file !== undefined) {
      times.push({ file: file.slice(ROOT.length), seconds: duration_ms / 1000 });
      return;
    }
    total.passed += counts.passed;
    total.failed += counts.tests - counts.passed - counts.skipped - counts.todo;
    total.skipped += counts.skipped;
  });
  events.on("test:pass", ({ skip, name }) => {
    if (skip !== undefined) skipped.push(`${name}: ${skip}`);
  });
  for await (const chunk of events.compose(spec)) process.stdout.write(chunk as string);
}

const words = process.argv.slice(2);
const lines: string[] = [];
for (const one of runsOf(words.length === 0 ? ["quick"] : words)) {
  const startedAt = performance.now();
  if (one.files.length > 1) console.log(`\n== ${one.name}: ${one.files.length} files`);
  await runTests(one);
  lines.push(`${((performance.now() - startedAt) / 1000).toFixed(0).padStart(6)} s  ${one.name}`);
}
const slowest = times.sort((a, b) => b.seconds - a.seconds).slice(0, SLOWEST);
lines.push("the slowest files:", ...slowest.map(({ file, seconds }) => `${seconds.toFixed(1).padStart(6)} s  ${file}`));
if (times.length > 1) console.log(`\n${lines.join("\n")}`);
const { CI } = process.env;
const mayNotSkip = CI === "true" && total.skipped > 0;
if (mayNotSkip) console.error(`\nskipped, and in CI nothing may be:\n${skipped.join("\n")}`);
console.log(`\n${total.passed} passed, ${total.failed} failed, ${total.skipped} skipped`);
process.exit(total.failed > 0 || total.passed === 0 || mayNotSkip ? 1 : 0);
