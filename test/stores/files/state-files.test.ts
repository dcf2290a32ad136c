import assert from "node:assert/strict";
import { readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import type { WriteStep } from "../../../src/runtime/atomic-write.ts";
import { stateFiles } from "../../../src/stores/files/state-files.ts";
import { temporaryDirectory } from "../../support/data-dir.ts";

test("trust comes back as it was saved, and the one before stays as a backup", async (t) => {
  const directory = await temporaryDirectory(t);
  const state = stateFiles(directory);
  assert.equal(await state.loadTrust(), undefined);
  await Promise.all([state.saveTrust({ generation: 1 }), state.saveTrust({ generation: 2 })]);
  assert.deepEqual(await stateFiles(directory).loadTrust(), { generation: 2 });
  assert.deepEqual(JSON.parse(await readFile(join(directory, "trust.json.bak"), "utf8")), { generation: 1 });
});

test("unreadable trust is MR2004 and is not overwritten", async (t) => {
  const directory = await temporaryDirectory(t);
  const path = join(directory, "trust.json");
  await stateFiles(directory).saveTrust({ generation: 1 });
  for (const text of ["", "{", "[]", "null"]) {
    await writeFile(path, text);
    await assert.rejects(stateFiles(directory).loadTrust(), { code: "MR2004" });
    await assert.rejects(stateFiles(directory).saveTrust({ generation: 9 }), { code: "MR2004" });
    assert.equal(await readFile(path, "utf8"), text);
  }
});

test("trust that was lost while its backup is there is MR2004, not a first start", async (t) => {
  const directory = await temporaryDirectory(t);
  await writeFile(join(directory, "trust.json.bak"), "{}");
  await assert.rejects(stateFiles(directory).loadTrust(), { code: "MR2004", message: /only its backup/ });
});

test("a save that fails leaves a trust that can be read and saved again", async (t) => {
  for (const failing of ["open", "write", "sync", "rename"] satisfies WriteStep[]) {
    const directory = await temporaryDirectory(t);
    let armed = false;
    const state = stateFiles(directory, (step) => {
      if (armed && step === failing) throw new Error("no space");
    });
    await state.saveTrust({ generation: 1 });
    armed = true;
    await assert.rejects(state.saveTrust({ generation: 2 }), /no space/);
    armed = false;
    assert.deepEqual(await state.loadTrust(), { generation: 1 });
    await state.saveTrust({ generation: 3 });
    assert.deepEqual(await state.loadTrust(), { generation: 3 });
  }
});

test("rows go through to the journal", async (t) => {
  const directory = await temporaryDirectory(t);
  const state = stateFiles(directory);
  await state.writeRows([{ key: "p1", value: { mayRun: ["a"] } }]);
  await state.close();
  assert.deepEqual(await stateFiles(directory).loadRows(), new Map([["p1", { mayRun: ["a"] }]]));
});

test("a ledger that was lost beside its trust is MR2004, not an empty one (E7)", async (t) => {
  const directory = await temporaryDirectory(t);
  const first = stateFiles(directory);
  assert.deepEqual(await first.loadRows(), new Map(), "before there is a trust, there need be no ledger");
  await first.saveTrust({ generation: 1 });
  assert.deepEqual(await first.loadRows(), new Map(), "no proxy was ever here");
  await first.close();
  await rm(join(directory, "ledger.jsonl"));
  const next = stateFiles(directory);
  await assert.rejects(next.loadRows(), { code: "MR2004" });
  await next.close();
});
