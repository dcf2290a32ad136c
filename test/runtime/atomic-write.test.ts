import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { readdir, readFile, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { type WriteStep, writeAtomically } from "../../src/runtime/atomic-write.ts";
import { temporaryDirectory } from "../support/data-dir.ts";

const STEPS: WriteStep[] = ["open", "write", "sync", "rename", "sync-directory"];

test("writes the content with its mode, whatever the umask, and leaves nothing else", async (t) => {
  const directory = await temporaryDirectory(t);
  const path = join(directory, "file");
  await writeAtomically(path, "one", { mode: 0o666 });
  await writeAtomically(path, Buffer.from("two"), { mode: 0o600 });
  assert.equal(await readFile(path, "utf8"), "two");
  assert.equal((await stat(path)).mode & 0o777, 0o600);
  assert.deepEqual(await readdir(directory), ["file"]);
});

for (const step of STEPS) {
  const outcome = step === "sync-directory" ? "new" : "old";

  test(`a failure before ${step} leaves the ${outcome} content and no temporary file`, async (t) => {
    const directory = await temporaryDirectory(t);
    const path = join(directory, "file");
    await writeFile(path, "old");
    const beforeStep = (next: WriteStep) => {
      if (next === step) throw new Error("no space");
    };
    await assert.rejects(writeAtomically(path, "new", { mode: 0o600, beforeStep }), /no space/);
    assert.equal(await readFile(path, "utf8"), outcome);
    assert.deepEqual(await readdir(directory), ["file"]);
  });

  test(`a kill -9 before ${step} leaves the ${outcome} content`, async (t) => {
    const path = join(await temporaryDirectory(t), "file");
    await writeFile(path, "old");
    const child = spawnSync(process.execPath, [
      "--input-type=module",
      "--eval",
      `import { writeAtomically } from ${JSON.stringify(import.meta.resolve("../../src/runtime/atomic-write.ts"))};
       const beforeStep = (step) => step === "${step}" && process.kill(process.pid, "SIGKILL");
       await writeAtomically(${JSON.stringify(path)}, "new", { mode: 0o600, beforeStep });`,
    ]);
    assert.equal(child.signal, "SIGKILL");
    assert.equal(await readFile(path, "utf8"), outcome);
  });
}
