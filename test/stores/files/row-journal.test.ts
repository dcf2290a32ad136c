import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { appendFile, copyFile, mkdir, readFile, rename, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { type TestContext, test } from "node:test";
import { rowJournal } from "../../../src/stores/files/row-journal.ts";
import { temporaryDirectory } from "../../support/data-dir.ts";
import fc from "../../support/property.ts";

const MODULE = JSON.stringify(import.meta.resolve("../../../src/stores/files/row-journal.ts"));

async function journalPath(t: TestContext): Promise<string> {
  return join(await temporaryDirectory(t), "ledger.jsonl");
}

test("the last value of a key wins, null removes it, also after a restart", async (t) => {
  const path = await journalPath(t);
  const journal = rowJournal(path);
  assert.equal((await journal.load()).size, 0);
  await journal.write([
    { key: "a", value: 1 },
    { key: "b", value: { deep: ["ü", null] } },
  ]);
  await journal.write([
    { key: "a", value: null },
    { key: "c", value: "line\nbreak" },
  ]);
  await journal.close();
  const expected = new Map<string, unknown>([
    ["b", { deep: ["ü", null] }],
    ["c", "line\nbreak"],
  ]);
  assert.deepEqual(await rowJournal(path).load(), expected);
  assert.equal((await stat(path)).mode & 0o777, 0o600);
});

test("any sequence of concurrent writes reads back as a map would", async (t) => {
  const directory = await temporaryDirectory(t);
  const row = fc.record({
    key: fc.constantFrom("a", "b", "c", "d"),
    value: fc.oneof(fc.jsonValue(), fc.constant(null)),
  });
  let run = 0;
  await fc.assert(
    fc.asyncProperty(fc.array(fc.array(row, { maxLength: 4 }), { maxLength: 12 }), async (calls) => {
      const path = join(directory, `${run++}.jsonl`);
      const journal = rowJournal(path);
      const model = new Map<string, unknown>();
      const writes = calls.map((rows) => {
        for (const { key, value } of rows) value === null ? model.delete(key) : model.set(key, value);
        return journal.write(rows);
      });
      await Promise.all(writes);
      await journal.close();
      // By key: sorted as texts, an object with a key "toString" would be called.
      const plain = (map: Map<string, unknown>) => JSON.stringify([...map].sort(([a], [b]) => (a < b ? -1 : 1)));
      assert.equal(plain(await rowJournal(path).load()), plain(model));
    }),
    { numRuns: 40 },
  );
});

test("a line torn by a crash is ignored, and does not spoil what is written next", async (t) => {
  const path = await journalPath(t);
  await writeFile(path, '{"k":"a","v":1}\n{"k":"b","v":"ü');
  const journal = rowJournal(path);
  assert.deepEqual(await journal.load(), new Map([["a", 1]]));
  await journal.write([{ key: "c", value: 3 }]);
  await journal.close();
  assert.equal(await readFile(path, "utf8"), '{"k":"a","v":1}\n{"k":"c","v":3}\n');
});

test("any other line that is no row is MR2004, and nothing is written behind it", async (t) => {
  const path = await journalPath(t);
  for (const bad of ["", "{", "[]", '{"v":1}', '{"k":1,"v":1}', '{"k":"a"}', "\0\0"]) {
    const text = `{"k":"a","v":1}\n${bad}\n{"k":"b","v":2}\n`;
    await writeFile(path, text);
    await assert.rejects(rowJournal(path).load(), { code: "MR2004", message: /line 2/ });
    await assert.rejects(rowJournal(path).write([{ key: "c", value: 3 }]), { code: "MR2004" });
    assert.equal(await readFile(path, "utf8"), text);
  }
});

test("a write that fails half-way is taken back, and the journal goes on", async (t) => {
  const path = await journalPath(t);
  // A file size limit stands in for a full disk: the kernel writes what fits, then fails.
  const script = `import { rowJournal } from ${MODULE};
    const journal = rowJournal(${JSON.stringify(path)});
    await journal.write([{ key: "a", value: 1 }]);
    const failed = await journal.write([{ key: "b", value: "x".repeat(100_000) }]).catch((error) => error.code);
    await journal.write([{ key: "c", value: 3 }]);
    process.stdout.write(String(failed));`;
  const limited = ["-c", 'ulimit -f 16 && exec "$@"', "sh", process.execPath, "--input-type=module", "--eval", script];
  const child = spawnSync("sh", limited, { encoding: "utf8" });
  assert.equal(child.stdout, "MR2002", child.stderr);
  assert.equal(await readFile(path, "utf8"), '{"k":"a","v":1}\n{"k":"c","v":3}\n');
});

test("a journal that could not be opened is opened again for the next write", async (t) => {
  const directory = join(await temporaryDirectory(t), "later");
  const journal = rowJournal(join(directory, "ledger.jsonl"));
  await assert.rejects(journal.write([{ key: "a", value: 1 }]), { code: "MR2002", message: /ENOENT/ });
  await mkdir(directory);
  await journal.write([{ key: "b", value: 2 }]);
  await journal.close();
  assert.deepEqual(await rowJournal(join(directory, "ledger.jsonl")).load(), new Map([["b", 2]]));
});

test("what is written to a file that was moved away or deleted is not called durable", async (t) => {
  const path = await journalPath(t);
  const journal = rowJournal(path);
  await journal.write([{ key: "a", value: 1 }]);
  await rename(path, `${path}.away`);
  await assert.rejects(journal.write([{ key: "b", value: 2 }]), { code: "MR2002" });
  await assert.rejects(journal.write([{ key: "b", value: 2 }]), { code: "MR2004", message: /it is gone/ });
  await rename(`${path}.away`, path);
  await journal.write([{ key: "c", value: 3 }]);
  await copyFile(path, `${path}.copy`);
  await rename(`${path}.copy`, path);
  await assert.rejects(journal.write([{ key: "d", value: 4 }]), { code: "MR2002", message: /another file/ });
  await journal.write([{ key: "e", value: 5 }]);
  await journal.close();
  assert.deepEqual(
    await rowJournal(path).load(),
    new Map([
      ["a", 1],
      ["c", 3],
      ["e", 5],
    ]),
  );
});

test("is compacted when it is long and mostly history", async (t) => {
  const path = await journalPath(t);
  const journal = rowJournal(path);
  for (let round = 0; round < 12; round++)
    await journal.write(Array.from({ length: 100 }, (_, index) => ({ key: `p${index}`, value: round })));
  await journal.write([{ key: "last", value: true }]);
  await journal.close();
  const lines = (await readFile(path, "utf8")).split("\n").length;
  assert.ok(lines < 1000, `${lines} lines`);
  const rows = await rowJournal(path).load();
  assert.equal(rows.size, 101);
  assert.equal(rows.get("p99"), 11);
});

test("a long journal that is all alive is left alone", async (t) => {
  const path = await journalPath(t);
  const lines = Array.from({ length: 1500 }, (_, index) => `${JSON.stringify({ k: `p${index}`, v: 0 })}\n`);
  await writeFile(path, lines.join(""));
  const { ino } = await stat(path);
  const journal = rowJournal(path);
  await journal.write([{ key: "p0", value: 1 }]);
  await journal.close();
  assert.equal((await stat(path)).ino, ino);
});

test("after kill -9 every acknowledged row is there", async (t) => {
  const path = await journalPath(t);
  const script = `import { rowJournal } from ${MODULE};
    const journal = rowJournal(${JSON.stringify(path)});
    const writer = async (name) => {
      for (let n = 0; ; n++) {
        await journal.write([{ key: name + n, value: n }, { key: name, value: n }]);
        process.stdout.write(name + n + "\\n");
      }
    };
    await Promise.all(["a", "b", "c"].map(writer));`;
  const child = spawn(process.execPath, ["--input-type=module", "--eval", script], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  const acknowledged: string[] = [];
  const closed = once(child, "close");
  for await (const line of createInterface({ input: child.stdout })) {
    acknowledged.push(line);
    if (acknowledged.length === 500) child.kill("SIGKILL");
  }
  await closed;
  assert.ok(acknowledged.length >= 500);
  const rows = await rowJournal(path).load();
  for (const key of acknowledged) assert.equal(rows.get(key), Number(key.slice(1)), key);
});

test("rows appended by hand count like any others", async (t) => {
  const path = await journalPath(t);
  const journal = rowJournal(path);
  await journal.write([{ key: "a", value: 1 }]);
  await journal.close();
  await appendFile(path, '{"k":"a","v":2}\n');
  assert.deepEqual(await rowJournal(path).load(), new Map([["a", 2]]));
});
