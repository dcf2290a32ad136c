import assert from "node:assert/strict";
import { copyFile, mkdir, readdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import type { RootListing } from "../../../src/core/roots/mesh-root.ts";
import { rootFiles } from "../../../src/stores/files/root-files.ts";
import { temporaryDirectory } from "../../support/data-dir.ts";
import { manifest, root } from "../../support/roots.ts";

async function open(t: TestContext) {
  const directory = await temporaryDirectory(t);
  return { directory, store: rootFiles(directory, "osm-system") };
}

const roles = ({ roots }: RootListing) => roots.map(({ name, role }) => `${name} ${role}`).join(", ");
const faults = ({ problems }: RootListing) =>
  problems.map(({ source, problem }) => `${source} ${problem.code} ${problem.message}`);

/** Listings as they are handed over, to be awaited one by one: no test sleeps. */
async function watched(t: TestContext, store: ReturnType<typeof rootFiles>) {
  const seen: RootListing[] = [];
  const wake: (() => void)[] = [];
  const watch = await store.watch(
    (list) => {
      seen.push(list);
      for (const resolve of wake.splice(0)) resolve();
    },
    { holdoffMs: 20, pollMs: 200 },
  );
  t.after(() => watch.close());
  return {
    seen,
    /** The latest listing, once `wanted` is true of it. */
    async until(wanted: (list: RootListing) => boolean): Promise<RootListing> {
      for (;;) {
        const latest = seen.at(-1);
        if (latest !== undefined && wanted(latest)) return latest;
        await new Promise<void>((resolve) => wake.push(resolve));
      }
    },
  };
}

test("lists every root of every file, and nothing that editors leave behind", async (t) => {
  const { directory, store } = await open(t);
  assert.deepEqual(await store.list(), { roots: [], outdated: [], problems: [] });
  await writeFile(
    join(directory, "b.yaml"),
    `${manifest("b", "passive")}---\n# nothing here\n---\n${manifest("c", "inactive")}`,
  );
  await writeFile(join(directory, "a.yml"), manifest("a", "active"));
  for (const name of [".a.yaml.swp", ".x.yaml", "a.yaml~", "notes.txt"]) await writeFile(join(directory, name), "x");
  const list = await store.list();
  assert.equal(roles(list), "a active, b passive, c inactive");
  assert.deepEqual(list.problems, []);
});

test("takes the date of creation from the manifest, else from the file", async (t) => {
  const { directory, store } = await open(t);
  const before = Date.now();
  await writeFile(
    join(directory, "a.yaml"),
    manifest("a", "active").replace("metadata:", 'metadata:\n  creationTimestamp: "2026-01-01T00:00:00Z"'),
  );
  await writeFile(join(directory, "b.yaml"), manifest("b", "passive"));
  const [a, b] = (await store.list()).roots;
  assert.equal(a?.createdAt, Date.parse("2026-01-01T00:00:00Z"));
  assert.ok(b !== undefined && b.createdAt >= before - 2000 && b.createdAt <= Date.now() + 2000);
  const text = `${manifest("d", "inactive")}---\n${manifest("c", "inactive")}`;
  await writeFile(join(directory, "cd.yaml"), text);
  const [, , c, d] = (await store.list()).roots;
  assert.ok(c !== undefined && d !== undefined && d.createdAt < c.createdAt, "in the order of their file");
});

test("a file saved half keeps its last good roots, marked as outdated, and says where it is broken", async (t) => {
  const { directory, store } = await open(t);
  const path = join(directory, "both.yaml");
  const good = `${manifest("a", "active")}---\n${manifest("b", "passive")}`;
  await writeFile(path, good);
  await store.list();
  for (const [text, code] of [
    ["", "MR1001"],
    ["# only a comment\n", "MR1001"],
    [good.slice(0, 150), "MR1003"],
    [good.replaceAll("role:", "rol:"), "MR1002"],
    [`${good}\n  - {`, "MR2003"],
  ] as const) {
    await writeFile(path, text);
    const list = await store.list();
    assert.equal(roles(list), "a active, b passive", text);
    assert.ok(list.outdated.length > 0, text);
    assert.ok(
      list.problems.some(({ source, problem }) => source === "both.yaml" && problem.code === code),
      faults(list).join(),
    );
  }
  await writeFile(path, manifest("a", "active"));
  assert.deepEqual(roles(await store.list()), "a active");
  await rm(path);
  assert.equal(roles(await store.list()), "");
});

test("a broken file does not hide the others, nor a broken document its neighbours", async (t) => {
  const { directory, store } = await open(t);
  await writeFile(
    join(directory, "a.yaml"),
    `${manifest("a", "active")}---\n${manifest("b", "passive").replace("passive", "pasive")}`,
  );
  await writeFile(join(directory, "c.yaml"), "a: [");
  await mkdir(join(directory, "d.yaml"));
  const list = await store.list();
  assert.equal(roles(list), "a active");
  assert.match(
    faults(list).join("\n"),
    /^a.yaml MR1003 spec.role: "pasive" is not .*\nc.yaml MR2003 YAML syntax error in line 1, column \d.*\nd.yaml MR2002/s,
  );
});

test("the seed's cert-manager example, pasted as it is, is told about its capitals and its commas", async (t) => {
  const { directory, store } = await open(t);
  const example = manifest("new", "passive").replace(
    /tresor: .*/,
    'certManager:\n      IssuerName: <name>,\n      IssuerKind: "Issuer",\n      IssuerGroup: "cert-manager.io",',
  );
  await writeFile(join(directory, "new.yaml"), example);
  const { problems } = await store.list();
  const texts = problems.map(({ problem }) => `${problem.message} ${problem.hint}`).join("\n");
  assert.match(texts, /unknown field IssuerName, did you mean issuerName\?/);
  assert.match(texts, /line 12, column 27.*remove the one in line 12/);
});

test("a second copy of a root is a problem that names both files, and does not move its role", async (t) => {
  const { directory, store } = await open(t);
  await writeFile(join(directory, "mine.yaml"), manifest("a", "active"));
  await store.list();
  await writeFile(join(directory, "copy.yaml"), manifest("a", "inactive"));
  const list = await store.list();
  assert.equal(roles(list), "a active");
  assert.deepEqual(faults(list), ["copy.yaml and mine.yaml MR1010 root a is there twice, in copy.yaml and mine.yaml"]);
});

test("a directory that can't be read is an error, never an empty list", async (t) => {
  const { directory, store } = await open(t);
  await rm(directory, { recursive: true });
  await assert.rejects(store.list(), { code: "MR2002" });
});

test("creates a manifest with its date, once", async (t) => {
  const { directory, store } = await open(t);
  await store.create(root("a", "active"));
  await store.create(root("b", "passive"), manifest("b", "passive"));
  assert.deepEqual((await store.list()).roots, [root("a", "active"), root("b", "passive")]);
  assert.match(await readFile(join(directory, "b.yaml"), "utf8"), /# changed by the rotation/);
  await assert.rejects(store.create(root("a", "passive")), { code: "MR1010" });
  assert.deepEqual((await readdir(directory)).sort(), ["a.yaml", "b.yaml"]);
});

test("sets a role, keeps comments and the date of creation, and takes an old override off", async (t) => {
  const { directory, store } = await open(t);
  const path = join(directory, "x.yaml");
  await writeFile(path, `${manifest("a", "active")}---\n${manifest("b", "passive")}`);
  const before = (await store.list()).roots;
  const [a, b] = before;
  assert.ok(a && b);
  await store.setRole(b, "active", { forceUnsafe: "drill" });
  const [, forced] = (await store.list()).roots;
  assert.deepEqual(forced, { ...b, role: "active", forceUnsafe: "drill" });
  assert.match(await readFile(path, "utf8"), /role: {3}active {2}# changed by the rotation/);
  await store.setRole(b, "passive");
  assert.equal("forceUnsafe" in ((await store.list()).roots[1] ?? {}), false);
  await assert.rejects(store.setRole(root("z", "active"), "passive"), { code: "MR1009" });
});

test("removes a root, and its file only when nothing else is in it", async (t) => {
  const { directory, store } = await open(t);
  await writeFile(join(directory, "x.yaml"), `${manifest("a", "inactive")}---\n${manifest("b", "active")}`);
  const [a, b] = (await store.list()).roots;
  assert.ok(a && b);
  await store.remove(a);
  assert.equal(roles(await store.list()), "b active");
  await store.remove(b);
  assert.deepEqual(await readdir(directory), []);
  await assert.rejects(store.remove(b), { code: "MR1009" });
});

test("a watch hands over the whole list at once and after every change", async (t) => {
  const { directory, store } = await open(t);
  await store.create(root("a", "active"));
  const { seen, until } = await watched(t, store);
  assert.equal(seen.length, 1);
  await store.create(root("b", "passive"));
  await until((list) => roles(list) === "a active, b passive");
  await store.setRole(root("b", "passive"), "active");
  await until((list) => roles(list) === "a active, b active");
  await writeFile(join(directory, "b.yaml"), "kind: [");
  const broken = await until((list) => list.outdated.length > 0);
  assert.equal(roles(broken), "a active, b active");
  await rm(join(directory, "b.yaml"));
  const last = await until((list) => roles(list) === "a active");
  assert.equal(last, seen.at(-1));
});

test("a watch does not take an editor's renaming for a deletion", async (t) => {
  const { directory, store } = await open(t);
  await store.create(root("a", "active"));
  const { seen, until } = await watched(t, store);
  const path = join(directory, "a.yaml");
  await copyFile(path, `${path}~`);
  await rename(path, `${path}.bak`);
  await writeFile(path, manifest("a", "passive"));
  await until((list) => roles(list) === "a passive");
  assert.ok(seen.every(({ roots }) => roots.length === 1));
});

test("a watch whose directory disappears reports it and keeps the last list", async (t) => {
  const { directory, store } = await open(t);
  await store.create(root("a", "active"));
  const lists: RootListing[] = [];
  await new Promise<void>((resolve, reject) => {
    store
      .watch((list) => lists.push(list), { holdoffMs: 10, pollMs: 50, onError: () => resolve() })
      .then((watch) => {
        t.after(() => watch.close());
        return rm(directory, { recursive: true });
      })
      .catch(reject);
  });
  // The files may be seen to go one by one before the directory itself; what counts is that the loss was reported.
  assert.equal(lists[0]?.roots.length, 1);
});

test("what a watched list lacks is certain only once it was away for five seconds; a role is told at once", async (t) => {
  const { directory, store } = await open(t);
  for (const name of ["a", "b"]) await store.create(root(name, name === "a" ? "active" : "inactive"));
  const timers = new Map<() => void, number>();
  const lists: RootListing[] = [];
  let told = Promise.withResolvers<void>();
  const after = (ms: number, callback: () => void) => {
    timers.set(callback, ms);
    return () => timers.delete(callback);
  };
  const next = async (act: () => unknown) => {
    told = Promise.withResolvers();
    await act();
    await told.promise;
    return lists.at(-1) ?? assert.fail();
  };
  const pass = () => {
    assert.deepEqual([...timers.values()], [5_000]);
    for (const callback of [...timers.keys()]) {
      timers.delete(callback);
      callback();
    }
  };
  const hear = (list: RootListing) => {
    lists.push(list);
    told.resolve();
  };
  const watch = await store.watch(hear, { holdoffMs: 10, after });
  t.after(() => watch.close());
  assert.equal(lists[0]?.provisional, true, "nobody saw what went just before");
  assert.equal((await next(pass)).provisional, undefined);
  const moved = await next(() => store.setRole(root("b", "inactive"), "passive"));
  assert.deepEqual([roles(moved), moved.provisional], ["a active, b passive", undefined]);
  const gone = await next(() => rm(join(directory, "b.yaml")));
  assert.deepEqual([roles(gone), gone.provisional], ["a active", true]);
  const certain = await next(pass);
  assert.deepEqual([roles(certain), certain.provisional], ["a active", undefined]);
  await next(() => rm(join(directory, "a.yaml")));
  await watch.close();
  assert.equal(timers.size, 0);
});
