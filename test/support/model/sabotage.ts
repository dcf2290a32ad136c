/** Runs the histories against a copy of the source with one defect in it. */

import { spawn } from "node:child_process";
import { once } from "node:events";
import { cp, mkdtemp, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import type { Outcome } from "./run-histories.ts";
import type { Sabotage } from "./sabotages.ts";

const ROOT = new URL("../../../", import.meta.url).pathname;

/** Breach: what noticed it, in one line; undefined: nothing did. */
export type Caught = { readonly breach: string | undefined; readonly after: string };

/** At most `count` histories from `seed` up to the first breach, or the test file that is named. */
export async function runSabotaged(sabotage: Sabotage, count: number, seed: number): Promise<Caught> {
  const directory = await mkdtemp(join(tmpdir(), "meshroot-sabotage-"));
  try {
    for (const part of ["src", "test", "package.json", "proto", "bin"])
      await cp(join(ROOT, part), join(directory, part), { recursive: true });
    await symlink(join(ROOT, "node_modules"), join(directory, "node_modules"));
    for (const { file, from, to } of [sabotage, ...(sabotage.also ?? [])]) {
      const path = join(directory, file);
      const source = await readFile(path, "utf8");
      if (source.split(from).length !== 2)
        throw new Error(`${sabotage.name}: its text is not once in ${file}; the code has moved, follow it`);
      await writeFile(
        path,
        source.replace(from, () => to),
      );
    }
    return sabotage.caughtBy === undefined
      ? await byHistories(directory, count, seed)
      : await byTest(directory, sabotage.caughtBy);
  } finally {
    await rm(directory, { recursive: true });
  }
}

async function byHistories(directory: string, count: number, seed: number): Promise<Caught> {
  const script = join(directory, "test/support/model/run-histories.ts");
  const child = spawn(process.execPath, [script, String(count), String(seed), "no-shrink"], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  const [output] = await Promise.all([text(child.stdout), once(child, "exit")]);
  const { breach, histories } = JSON.parse(output) as Outcome;
  // It must fail for what the checks say, not crash.
  const why = breach === undefined ? undefined : (/Breach: ([^\n]*)/.exec(breach)?.[1] ?? `NO BREACH: ${breach}`);
  return { breach: why, after: `${histories} histories` };
}

async function byTest(directory: string, file: string): Promise<Caught> {
  const { NODE_TEST_CONTEXT: _, ...env } = process.env;
  const child = spawn(
    process.execPath,
    ["--test", "--test-force-exit", "--test-timeout=30000", "--test-reporter=tap", file],
    {
      cwd: directory,
      env,
      stdio: ["ignore", "pipe", "inherit"],
    },
  );
  const [output] = await Promise.all([text(child.stdout), once(child, "exit")]);
  const failed = [...output.matchAll(/^ *not ok \d+ - (.*)$/gm)].map((match) => match[1] ?? "");
  if (!/^# pass [1-9]/m.test(output)) return { breach: `NO BREACH: ${file} does not run at all`, after: file };
  return { breach: failed[0], after: file };
}
