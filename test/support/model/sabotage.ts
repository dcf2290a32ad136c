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

/** The outcome of at most `count` histories from `seed`, up to the first breach. */
export async function runSabotaged(sabotage: Sabotage, count: number, seed: number): Promise<Outcome> {
  const directory = await mkdtemp(join(tmpdir(), "meshroot-sabotage-"));
  try {
    for (const part of ["src", "test/support", "package.json", "proto"])
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
    const script = join(directory, "test/support/model/run-histories.ts");
    const child = spawn(process.execPath, [script, String(count), String(seed), "no-shrink"], {
      stdio: ["ignore", "pipe", "inherit"],
    });
    const [output] = await Promise.all([text(child.stdout), once(child, "exit")]);
    return JSON.parse(output) as Outcome;
  } finally {
    await rm(directory, { recursive: true });
  }
}
