/** Manifests of roots in the forms that other tools print, and what a manifest may cost. */

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { readFile, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { parse, stringify } from "yaml";
import { meshRootManifest } from "../../../src/core/roots/mesh-root-manifest.ts";
import { rootFiles } from "../../../src/stores/files/root-files.ts";
import { temporaryDirectory } from "../../support/data-dir.ts";
import { manifest, root } from "../../support/roots.ts";

const [A, B, C] = [root("a", "active"), root("b", "passive"), root("c", "inactive")];

/** As `kubectl get mrc -o yaml` prints it. */
function exported(...roots: ReturnType<typeof root>[]) {
  const items = roots.map((each) => {
    const { metadata, ...rest } = meshRootManifest(each);
    const uid = "5b0a6c0e-0000-4000-8000-000000000000";
    return {
      ...rest,
      metadata: { ...metadata, generation: 1, resourceVersion: "7", uid },
      status: { state: "active" },
    };
  });
  return { apiVersion: "v1", items, kind: "List", metadata: { resourceVersion: "" } };
}

const typed = (list: ReturnType<typeof exported>) => ({
  ...list,
  apiVersion: "config.openservicemesh.io/v1alpha2",
  kind: "MeshRootCertificateList",
  items: list.items.map(({ apiVersion: _, kind: __, ...item }) => item),
});

const forms: Readonly<Record<string, { file: string; text: string }>> = {
  "kubectl's YAML": { file: "all.yaml", text: stringify(exported(A, B, C)) },
  "kubectl's JSON": { file: "all.json", text: `${JSON.stringify(exported(A, B, C), undefined, 4)}\n` },
  "the API server's answer": { file: "all.yml", text: JSON.stringify(typed(exported(A, B, C))) },
  "a list in a list": {
    file: "all.yaml",
    text: JSON.stringify({ ...exported(), items: [exported(A, B), exported(C)] }),
  },
  "a list beside documents": { file: "all.yaml", text: `${manifest("a", "active")}---\n${stringify(exported(B, C))}` },
};

test("B3: roots in a list are read, changed and removed one by one, in every form", async (t) => {
  for (const [what, { file, text }] of Object.entries(forms)) {
    const directory = await temporaryDirectory(t);
    const files = rootFiles(directory, "osm-system");
    await writeFile(join(directory, file), text);
    const roles = async () => {
      const { roots, problems } = await files.list();
      assert.deepEqual(problems, [], what);
      return roots.map(({ name, role }) => `${name} ${role}`);
    };
    assert.deepEqual(await roles(), ["a active", "b passive", "c inactive"], what);
    const { createdAt } = (await files.list()).roots[1] ?? assert.fail();
    await files.setRole({ ...B, createdAt }, "active", { forceUnsafe: 'a "reason"' });
    assert.deepEqual(await roles(), ["a active", "b active", "c inactive"], what);
    assert.equal((await files.list()).roots[1]?.forceUnsafe, 'a "reason"', what);
    assert.equal((await files.list()).roots[1]?.createdAt, createdAt, what);
    await files.setRole(B, "passive");
    assert.equal((await files.list()).roots[1]?.forceUnsafe, undefined, what);
    await files.remove(C);
    assert.deepEqual(await roles(), ["a active", "b passive"], what);
    const left = await readFile(join(directory, file), "utf8");
    if (text.startsWith("{")) assert.doesNotThrow(() => JSON.parse(left), what);
    await files.remove(B);
    await files.remove(A);
    await assert.rejects(readFile(join(directory, file)), { code: "ENOENT" }, what);
  }
});

test("B3: one root of kubectl's list changes nothing else in it", async (t) => {
  const directory = await temporaryDirectory(t);
  const path = join(directory, "all.yaml");
  const text = stringify(exported(A, B));
  await writeFile(path, text);
  await rootFiles(directory, "osm-system").setRole(B, "active");
  assert.equal(await readFile(path, "utf8"), text.replace("role: passive", "role: active"));
});

test("B3: a list of one thing and another says which is no root, and where that belongs", async (t) => {
  const directory = await temporaryDirectory(t);
  const files = rootFiles(directory, "osm-system");
  const secret = { apiVersion: "v1", kind: "Secret", metadata: { name: "a-ca" } };
  const list = exported(A);
  await writeFile(join(directory, "all.yaml"), stringify({ ...list, items: [...list.items, secret] }));
  const { roots, problems } = await files.list();
  assert.deepEqual(
    roots.map(({ name }) => name),
    ["a"],
  );
  assert.match(problems[0]?.problem.message ?? "", /found apiVersion v1, kind Secret/);
  assert.match(problems[0]?.problem.hint ?? "", /secrets\/NAMESPACE\/NAME\.yaml/);
  await writeFile(join(directory, "all.yaml"), stringify(exported()));
  assert.match((await files.list()).problems[0]?.problem.message ?? "", /no manifest in this file/);
});

test("B3: UTF-16, a byte order mark and Windows line ends are no obstacle, here either", async (t) => {
  const directory = await temporaryDirectory(t);
  const files = rootFiles(directory, "osm-system");
  const utf16 = (text: string) => Buffer.from(`\ufeff${text}`, "utf16le");
  await writeFile(join(directory, "a.yaml"), utf16(manifest("a", "active").replaceAll("\n", "\r\n")));
  await writeFile(join(directory, "b.yaml"), `\ufeff${manifest("b", "passive")}`);
  assert.deepEqual(await files.list().then(({ roots, problems }) => [roots.length, problems]), [2, []]);
  await files.setRole(A, "passive");
  assert.deepEqual(
    (await files.list()).roots.map(({ role }) => role),
    ["passive", "passive"],
  );
});

test("D2: a manifest of 50 MB, a pipe, an endless file are refused by what they are; the others stay", async (t) => {
  const directory = await temporaryDirectory(t);
  const files = rootFiles(directory, "osm-system");
  await writeFile(join(directory, "a.yaml"), manifest("a", "active"));
  await writeFile(join(directory, "b.yaml"), Buffer.alloc(50 * 1024 * 1024, "a: b\n"));
  await symlink("/dev/zero", join(directory, "c.yaml"));
  execFileSync("mkfifo", [join(directory, "d.yaml")]);
  const { roots, problems } = await files.list();
  assert.deepEqual(
    roots.map(({ name }) => name),
    ["a"],
  );
  assert.deepEqual(
    problems.map(({ source, problem }) => `${source} ${problem.code}`),
    ["b.yaml MR2010", "c.yaml MR2002", "d.yaml MR2002"],
  );
  assert.match(problems[0]?.problem.message ?? "", /larger than 1024 KiB/);
});

test("D2: what would take the parser for ever, or all memory, is one problem", async (t) => {
  const directory = await temporaryDirectory(t);
  const files = rootFiles(directory, "osm-system");
  const texts: readonly [string, RegExp][] = [
    ["[".repeat(100_000), /nested too deeply|sufficiently indented/],
    [Array.from({ length: 150 }, (_, depth) => `${" ".repeat(depth)}a:`).join("\n"), /nested too deeply/],
    ["---\n".repeat(100_000), /more than 1000 documents/],
    [`- &a x\n${"- *a\n".repeat(200)}`, /more than 100 aliases/],
    [manifest("a", "active").replace("  role:", "  role: passive\n  role:"), /map keys must be unique/],
  ];
  for (const [text, expected] of texts) {
    await writeFile(join(directory, "a.yaml"), text);
    const { roots, problems } = await files.list();
    assert.deepEqual(roots, []);
    assert.match(problems[0]?.problem.message ?? "", expected);
    assert.equal(problems[0]?.problem.code, "MR2003");
  }
});

test("D2: what did not change is not parsed again", async (t) => {
  const directory = await temporaryDirectory(t);
  const files = rootFiles(directory, "osm-system");
  await writeFile(join(directory, "a.yaml"), manifest("a", "active"));
  const first = (await files.list()).roots[0];
  assert.equal((await files.list()).roots[0], first, "the same object");
  await writeFile(join(directory, "a.yaml"), manifest("a", "passive"));
  assert.equal((await files.list()).roots[0]?.role, "passive");
});

test("B9: a root whose name is a word of YAML 1.1 is written so that kubectl reads a text", async (t) => {
  const directory = await temporaryDirectory(t);
  const files = rootFiles(directory, "osm-system");
  for (const name of ["on", "y", "no", "1e3", "0777", "2001-01-01"]) {
    await files.create(root(name, "inactive"));
    const text = await readFile(join(directory, `${name}.yaml`), "utf8");
    assert.equal(parse(text, { version: "1.1" }).metadata.name, name);
  }
  assert.equal((await files.list()).roots.length, 6);
});
