import assert from "node:assert/strict";
import { rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { parseServices, readServices, servicesReader, watchServices } from "../../../src/stores/files/services-file.ts";
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

test("D2: 5,000 services cost in proportion, and are parsed only when the bytes change", async (t) => {
  const text = (count: number) =>
    Array.from({ length: count }, (_, at) => `ns-${at}/svc-${at}: [sa-${at}.ns-${at}, other-${at}.ns-${at}]\n`).join(
      "",
    );
  const cpuMs = (count: number) => {
    const input = text(count);
    const runs = Array.from({ length: 3 }, () => {
      const before = process.cpuUsage();
      assert.equal(parseServices(input).services.size, count);
      const { user, system } = process.cpuUsage(before);
      return (user + system) / 1000;
    });
    return Math.min(...runs);
  };
  cpuMs(1000);
  // Quadratic would be 64 times as much for 8 times as many.
  const [few, many] = [cpuMs(1000), cpuMs(8000)];
  assert.ok(many < 24 * few, `1,000 services take ${few} ms, 8,000 take ${many} ms`);

  const path = join(await temporaryDirectory(t), "services.yaml");
  await writeFile(path, text(100));
  const read = servicesReader(path);
  const first = await read();
  assert.equal(await read(), first, "the same object: it was not parsed again");
  await writeFile(path, text(101));
  assert.equal((await read()).services.size, 101);
  await writeFile(path, `${text(100)}[`);
  assert.equal((await read()).services.size, 101, "the last good ones stay");
});

test("D2: more bytes, services or identities than a mesh can have are refused as a whole", async (t) => {
  const rows: [string, RegExp][] = [
    [Array.from({ length: 10_001 }, (_, at) => `a/b${at}: []\n`).join(""), /10001 services, more than 10000/],
    [`a/b: [${Array.from({ length: 50_001 }, (_, at) => `x${at}.y`).join(", ")}]`, /50001 identities, more than 50000/],
    ["a/b: []\na/b: []\n", /line 2.*map keys must be unique/],
    ["a/b: [1.5]\n", /1\.5 is no service identity/],
    ["a/b: []\n---\nc/d: []\n", /2 documents instead of one/],
  ];
  for (const [text, expected] of rows) {
    const { services, problems } = parseServices(text);
    assert.equal(services.size, 0);
    assert.match(problems.map(({ message }) => message).join(), expected);
  }
  assert.match(parseServices("a/b: [1.5]\n").problems[0]?.hint ?? "", /^Put it in quotes: "1.5"/);
  assert.equal(parseServices(Array.from({ length: 5000 }, (_, at) => `x${at}: y\n`).join("")).problems.length, 20);
  const path = join(await temporaryDirectory(t), "services.yaml");
  await writeFile(path, Buffer.alloc(50 * 1024 * 1024, "a/b: []\n"));
  await assert.rejects(readServices(path), /MR2006.*larger than 1024 KiB/);
});
