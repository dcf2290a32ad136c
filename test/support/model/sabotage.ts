/** Runs the histories, or one test file, against the source with one defect in it. */

import { spawn } from "node:child_process";
import { once } from "node:events";
import { readFile, writeFile } from "node:fs/promises";
import { text } from "node:stream/consumers";
import { SEED } from "../seed.ts";
import { runHistories } from "./histories-process.ts";
import type { History } from "./history.ts";
import type { Sabotage } from "./sabotages.ts";

const ROOT = new URL("../../../", import.meta.url);
const HOOK = new URL("./sabotage-hook.ts", import.meta.url).href;
const KNOWN = new URL("./known.json", import.meta.url);

/** How many histories are looked at for one that notices, when the known one does so no more. */
const SEARCHED = 10_000;

/** What notices each sabotage, by its name: a history, or the title of a test in the file that the sabotage names. */
export type Known = Record<string, History | string>;

/** Breach: what noticed it, in one line; undefined: nothing did. */
export type Caught = {
  readonly breach: string | undefined;
  readonly after: string;
  /** What noticed it, if that was not known. */
  readonly found?: History | string | undefined;
};

export async function readKnown(): Promise<Known> {
  return JSON.parse(await readFile(KNOWN, "utf8")) as Known;
}

export async function writeKnown(known: Known): Promise<void> {
  const lines = Object.entries(known).map(([name, what]) => `  ${JSON.stringify(name)}: ${JSON.stringify(what)}`);
  await writeFile(KNOWN, `{\n${lines.join(",\n")}\n}\n`);
}

/** What is known to notice it; and where that doesn't any more, a search. */
export async function runSabotaged(sabotage: Sabotage, known: History | string | undefined): Promise<Caught> {
  const defects = [sabotage, ...(sabotage.also ?? [])].map(({ file, from, to }) => ({ file, from, to }));
  for (const { file, from } of defects) {
    const source = await readFile(new URL(file, ROOT), "utf8");
    if (source.split(from).length !== 2)
      throw new Error(`${sabotage.name}: its text is not once in ${file}; the code has moved, follow it`);
  }
  // With a defect in it nothing may be written anew.
  const { NODE_TEST_CONTEXT: _, MESHROOT_REWRITE: __, ...inherited } = process.env;
  const env = {
    ...inherited,
    MESHROOT_SABOTAGE: JSON.stringify(defects),
    NODE_OPTIONS: `${inherited.NODE_OPTIONS ?? ""} --import ${HOOK}`,
    // What is compiled here is nobody else's.
    NODE_DISABLE_COMPILE_CACHE: "1",
  };
  const { caughtBy } = sabotage;
  if (caughtBy === undefined) return byHistories(env, typeof known === "string" ? undefined : known);
  return byTest(env, caughtBy, typeof known === "string" ? known : undefined);
}

async function byHistories(env: NodeJS.ProcessEnv, known: History | undefined): Promise<Caught> {
  if (known !== undefined) {
    const { breach } = await runHistories({ known: [known] }, env);
    if (breach !== undefined) return { breach: firstLine(breach), after: "the known history" };
  }
  const { breach, histories, history } = await runHistories({ count: SEARCHED, seed: SEED }, env);
  const caught = breach === undefined ? undefined : firstLine(breach);
  return { breach: caught, after: `${histories} histories`, found: history };
}

/** It must fail for what the checks say, not crash. */
function firstLine(breach: string): string {
  return /Breach: ([^\n]*)/.exec(breach)?.[1] ?? `NO BREACH: ${breach}`;
}

async function byTest(env: NodeJS.ProcessEnv, file: string, title: string | undefined): Promise<Caught> {
  if (title !== undefined) {
    const { failed } = await runTests(env, file, [
      `--test-name-pattern=^${title.replace(/[.*+?^${}()|[\]\\]/g, "\\$&")}$`,
    ]);
    if (failed.includes(title)) return { breach: title, after: file };
  }
  const { failed, ran } = await runTests(env, file, []);
  if (!ran) return { breach: `NO BREACH: ${file} does not run at all`, after: file };
  return { breach: failed[0], after: file, found: failed[0] };
}

async function runTests(env: NodeJS.ProcessEnv, file: string, flags: readonly string[]) {
  const always = ["--test", "--test-force-exit", "--test-timeout=30000", "--test-reporter=tap"];
  const child = spawn(process.execPath, [...always, ...flags, file], {
    cwd: ROOT,
    env,
    stdio: ["ignore", "pipe", "inherit"],
  });
  const [output] = await Promise.all([text(child.stdout), once(child, "exit")]);
  const failed = [...output.matchAll(/^ *not ok \d+ - (.*)$/gm)].map((match) => match[1] ?? "");
  // A file that can't be loaded fails as a test of its own name.
  const ran = /^# pass [1-9]/m.test(output) || failed.some((title) => !title.endsWith(".test.ts"));
  return { failed, ran };
}
