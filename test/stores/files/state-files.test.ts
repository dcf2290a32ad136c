import assert from "node:assert/strict";
import { copyFile, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import type { WriteStep } from "../../../src/runtime/atomic-write.ts";
import { stateFiles } from "../../../src/stores/files/state-files.ts";
import { temporaryDirectory } from "../../support/data-dir.ts";

test("trust comes back as it was saved, and the one before stays as a backup", async (t) => {
  const directory = await temporaryDirectory(t);
  const state = stateFiles(directory);
  assert.equal(await state.trust.read(), undefined);
  await Promise.all([state.trust.write({ generation: 1 }, undefined), state.trust.write({ generation: 2 }, 1)]);
  assert.deepEqual(await stateFiles(directory).trust.read(), { revision: 2, value: { generation: 2 } });
  const backup = JSON.parse(await readFile(join(directory, "trust.json.bak"), "utf8"));
  assert.deepEqual(backup, { revision: 1, generation: 1 });
});

test("unreadable trust is MR2004 and is not overwritten", async (t) => {
  const directory = await temporaryDirectory(t);
  const path = join(directory, "trust.json");
  await stateFiles(directory).trust.write({ generation: 1 }, undefined);
  for (const text of ["", "{", "[]", "null"]) {
    await writeFile(path, text);
    await assert.rejects(stateFiles(directory).trust.read(), { code: "MR2004" });
    for (const expected of [undefined, 1])
      await assert.rejects(stateFiles(directory).trust.write({ generation: 9 }, expected), { code: "MR2004" });
    assert.equal(await readFile(path, "utf8"), text);
  }
});

test("trust that was lost while its backup is there is MR2004, not a first start", async (t) => {
  const directory = await temporaryDirectory(t);
  await writeFile(join(directory, "trust.json.bak"), "{}");
  await assert.rejects(stateFiles(directory).trust.read(), { code: "MR2004", message: /only its backup/ });
});

test("trust that was lost while a server goes by it is MR2004, and not made anew", async (t) => {
  const directory = await temporaryDirectory(t);
  const state = stateFiles(directory);
  const revision = await state.trust.write({ generation: 1 }, undefined);
  await rm(join(directory, "trust.json"));
  await assert.rejects(state.trust.write({ generation: 2 }, revision), { code: "MR2004", message: /it is gone/ });
  assert.deepEqual(await readdir(directory), ["ledger.jsonl"]);
});

test("trust of a version that knew no revisions counts by its generation, and can be replaced", async (t) => {
  const directory = await temporaryDirectory(t);
  for (const [document, revision] of [
    [{ format: 1, trust: { generation: 7 } }, 7],
    [{ format: 1 }, 0],
  ] as const) {
    await writeFile(join(directory, "trust.json"), JSON.stringify(document));
    const { trust } = stateFiles(directory);
    assert.deepEqual(await trust.read(), { revision, value: document });
    assert.equal(await trust.write({ format: 1 }, revision), revision + 1);
  }
  await writeFile(join(directory, "trust.json"), '{"revision":"7"}');
  await assert.rejects(stateFiles(directory).trust.read(), { code: "MR2004", message: /revision is no whole number/ });
});

test("trust that somebody put in its place while a server goes by another is MR2021, and not overwritten", async (t) => {
  const directory = await temporaryDirectory(t);
  const path = join(directory, "trust.json");
  const { trust } = stateFiles(directory);
  const first = await trust.write({ generation: 1 }, undefined);
  const second = await trust.write({ generation: 2 }, first);
  await copyFile(`${path}.bak`, path);
  const { hint, message, code } = await trust.write({ generation: 3 }, second).then(
    () => assert.fail(),
    (error) => error,
  );
  assert.equal(code, "MR2021");
  assert.match(message, /trust\.json holds revision 1, and this server goes by revision 2/);
  assert.match(hint, /Nothing was overwritten.*restart the server/);
  assert.deepEqual(await stateFiles(directory).trust.read(), { revision: first, value: { generation: 1 } });
});

test("what is read after a write whose outcome is not known was made durable first, or is not read", async (t) => {
  const directory = await temporaryDirectory(t);
  let broken = false;
  let renamed = "";
  const synced: string[] = [];
  const { trust } = stateFiles(directory, (step, path) => {
    if (step === "rename") renamed = path;
    if (step !== "sync-directory") return;
    if (broken && renamed.endsWith("trust.json")) throw new Error("EIO");
    synced.push(path);
  });
  const revision = await trust.write({ generation: 1 }, undefined);
  broken = true;
  await assert.rejects(trust.write({ generation: 2 }, revision), { code: "MR2002" });
  await assert.rejects(trust.read(), { code: "MR2002" });
  broken = false;
  synced.length = 0;
  await trust.read();
  assert.deepEqual(synced, [directory]);
});

test("a save that fails leaves a trust that can be read and saved again", async (t) => {
  for (const failing of ["open", "write", "sync", "rename"] satisfies WriteStep[]) {
    const directory = await temporaryDirectory(t);
    let armed = false;
    const state = stateFiles(directory, (step) => {
      if (armed && step === failing) throw new Error("no space");
    });
    const first = await state.trust.write({ generation: 1 }, undefined);
    armed = true;
    await assert.rejects(state.trust.write({ generation: 2 }, first), /no space/);
    armed = false;
    assert.deepEqual(await state.trust.read(), { revision: first, value: { generation: 1 } });
    const next = await state.trust.write({ generation: 3 }, first);
    assert.deepEqual(await state.trust.read(), { revision: next, value: { generation: 3 } });
  }
});

test("rows go through to the journal", async (t) => {
  const directory = await temporaryDirectory(t);
  const state = stateFiles(directory);
  await state.evidence.write([{ key: "p1", value: { mayRun: ["a"] } }]);
  await state.close();
  assert.deepEqual(await stateFiles(directory).evidence.read(), new Map([["p1", { mayRun: ["a"] }]]));
});

test("a ledger that was lost beside its trust is MR2004, not an empty one (E7)", async (t) => {
  const directory = await temporaryDirectory(t);
  const first = stateFiles(directory);
  assert.deepEqual(await first.evidence.read(), new Map(), "before there is a trust, there need be no ledger");
  await first.trust.write({ generation: 1 }, undefined);
  assert.deepEqual(await first.evidence.read(), new Map(), "no proxy was ever here");
  await first.close();
  await rm(join(directory, "ledger.jsonl"));
  const next = stateFiles(directory);
  await assert.rejects(next.evidence.read(), { code: "MR2004" });
  await next.close();
});
