import assert from "node:assert/strict";
import { rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { parseServices, readServices, watchServices } from "../../../src/stores/files/services-file.ts";
import { temporaryDirectory } from "../../support/data-dir.ts";

test("reads both forms of an identity, each identity once", () => {
  const { services, problems } = parseServices(
    "bookstore/bookstore: [v1.bookstore, {serviceAccount: v2, namespace: bookstore}, v1.bookstore]\nbooks/none: []\n",
  );
  assert.deepEqual(problems, []);
  assert.deepEqual(
    [...services],
    [
      [
        "bookstore/bookstore",
        [
          { serviceAccount: "v1", namespace: "bookstore" },
          { serviceAccount: "v2", namespace: "bookstore" },
        ],
      ],
      ["books/none", []],
    ],
  );
  for (const text of ["", "# nothing yet\n"])
    assert.deepEqual(parseServices(text), { services: new Map(), problems: [] });
});

test("MR2006 names every fault and gives no half of a file", () => {
  const rows: [string, RegExp][] = [
    ["a: [", /line 2, column 1/],
    ["- a", /not a map/],
    ["a: &x [*x, *y]", /YAML/],
    ["bookstore: [a.b]", /"bookstore" is not namespace\/service/],
    ["a/b/c: [a.b]", /"a\/b\/c" is not namespace\/service/],
    ["a/b: a.b", /a\/b has no list/],
    ["a/b: [a]", /a\/b: "a" is no service identity/],
    ["a/b: [a.b.c]", /no service identity/],
    ["a/b: [{serviceAccount: A, namespace: b}]", /no service identity/],
    ["a/b: [1]", /no service identity/],
  ];
  for (const [text, expected] of rows) {
    const { services, problems } = parseServices(`${text}\n`);
    assert.equal(services.size, 0);
    assert.match(problems.map(({ code, message }) => `${code} ${message}`).join(), expected);
    assert.ok(problems.every(({ code }) => code === "MR2006"));
  }
  assert.equal(parseServices("a: 1\nb: 2\n").problems.length, 4);
});

test("no file means no services; one that can't be read is MR2006", async (t) => {
  const directory = await temporaryDirectory(t);
  assert.equal((await readServices(join(directory, "services.yaml"))).services.size, 0);
  await assert.rejects(readServices(directory), { code: "MR2006" });
});

test("a watch follows the file from its creation to its removal and keeps the last good services", async (t) => {
  const path = join(await temporaryDirectory(t), "services.yaml");
  const wake: (() => void)[] = [];
  let last: Awaited<ReturnType<typeof readServices>> | undefined;
  const watch = await watchServices(
    path,
    (read) => {
      last = read;
      for (const resolve of wake.splice(0)) resolve();
    },
    { holdoffMs: 20, pollMs: 200 },
  );
  t.after(() => watch.close());
  const until = async (wanted: () => boolean) => {
    while (!wanted()) await new Promise<void>((resolve) => wake.push(resolve));
  };
  assert.equal(last?.services.size, 0);
  await writeFile(path, "a/b: [c.a]\n");
  await until(() => last?.services.size === 1);
  await writeFile(path, "a/b: [\n");
  await until(() => last?.problems.length === 1);
  assert.equal(last?.services.size, 1);
  await rm(path);
  await until(() => last?.problems.length === 0 && last.services.size === 0);
});
