import assert from "node:assert/strict";
import { mkdir, readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { temporaryDirectory } from "../support/data-dir.ts";
import { manifest } from "../support/roots.ts";
import { runMeshroot, spawnMeshroot } from "../support/run-meshroot.ts";

/** A data directory that need not exist yet, and `root` commands on it. */
async function open(t: TestContext) {
  const dataDir = join(await temporaryDirectory(t), "data");
  const root = (args: string, input?: string) =>
    runMeshroot(["root", ...args.split(" ")], {
      env: { MESHROOT_DATA_DIR: dataDir },
      ...(input === undefined ? {} : { input }),
    });
  return { dataDir, root };
}

const squeeze = (text: string) => text.replace(/ +/g, " ");

test("walks the whole step table, each edit showing the row that it leaves and the one that it reaches", async (t) => {
  const { dataDir, root } = await open(t);
  const walk: [string, string, string][] = [
    ["create old --trust-domain mesh.example --spiffe", "before - - - - -", "after 1 old active - old old"],
    ["create new", "before 1 old active - old old", "after 2 old active new passive old old + new"],
    [
      "set-role new active",
      "before 2 old active new passive old old + new",
      "after 3 old active new active old or new old + new",
    ],
    ["set-role old passive", "before 3 old active new active", "after 4 old passive new active new old + new"],
    ["set-role old inactive", "before 4 old passive new active", "after 5 old inactive new active new new"],
  ];
  for (const [args, before, after] of walk) {
    const { code, stdout, stderr } = await root(args);
    assert.equal(code, 0, stderr);
    const rows = squeeze(stdout).split("\n");
    assert.equal(rows[0], " STEP OLD NEW SIGNS VALIDATES");
    assert.ok(rows[1]?.startsWith(before), rows[1]);
    assert.equal(rows[2], after);
    assert.match(stderr, /No server answers/);
  }
  assert.equal((await root("delete old")).code, 0);
  assert.deepEqual(await readdir(join(dataDir, "roots")), ["new.yaml"]);
  assert.deepEqual((await readdir(dataDir)).sort(), ["roots", "secrets", "state"], "no lock is left behind");
  const left = JSON.parse((await root("get new -o json")).stdout);
  // A new root is like the one it follows: nothing about identities changes by accident.
  assert.deepEqual([left.spec.trustDomain, left.spec.spiffeEnabled], ["mesh.example", true]);
});

test("refuses what the rules refuse, changes nothing and says what to do", async (t) => {
  const { dataDir, root } = await open(t);
  await mkdir(join(dataDir, "roots"), { recursive: true });
  const path = join(dataDir, "roots", "both.yaml");
  const text = `${manifest("a", "active")}---\n${manifest("b", "passive")}`;
  await writeFile(path, text);
  const rows: [string, string][] = [
    ["create c", "MR1007"],
    ["create a", "MR1010"],
    ["create c --trust-domain Mesh", "MR1003"],
    ["create c --role inactive --secret-name a-ca", "MR1007"],
    ["set-role a inactive", "MR1006"],
    ["set-role a passive", "MR1007"],
    ["set-role z passive", "MR1009"],
    ["delete b", "MR1008"],
    ["delete z", "MR1009"],
  ];
  for (const [args, code] of rows) {
    const result = await root(args);
    assert.equal(result.code, 1, args);
    assert.match(result.stderr, new RegExp(`^error: ${code} .+\nhint: .+\n$`), args);
    assert.equal(result.stdout, "");
  }
  assert.equal(await readFile(path, "utf8"), text);
  assert.deepEqual(await readdir(join(dataDir, "roots")), ["both.yaml"]);
});

test("a role changes in place, and a forced one keeps its reason until the next", async (t) => {
  const { dataDir, root } = await open(t);
  await mkdir(join(dataDir, "roots"), { recursive: true });
  const path = join(dataDir, "roots", "both.yaml");
  await writeFile(path, `${manifest("a", "active")}---\n${manifest("b", "passive")}`);
  const forced = await root("set-role b active --force-unsafe drill");
  assert.match(forced.stderr, /warning: force-unsafe/);
  const text = await readFile(path, "utf8");
  assert.match(text, /"meshroot.dev\/force-unsafe": drill/);
  assert.equal(text.match(/# changed by the rotation/g)?.length, 2);
  assert.match((await root("set-role b passive")).stderr, /gates hold again/);
  assert.doesNotMatch(await readFile(path, "utf8"), /force-unsafe/);
});

test("creates the roots of a manifest, from a file or standard input, all or none", async (t) => {
  const { dataDir, root } = await open(t);
  const both = `${manifest("a", "active")}---\n${manifest("b", "passive")}`;
  const refused = await root("create -f -", `${both}---\n${manifest("c", "passive")}`);
  assert.match(refused.stderr, /^error: MR1007/);
  assert.deepEqual(await readdir(join(dataDir, "roots")), []);
  assert.equal((await root("create -f -", both)).code, 0);
  assert.match(await readFile(join(dataDir, "roots", "b.yaml"), "utf8"), /# The root called b/);
  assert.equal((await root("list -o name")).stdout.split("\n").length, 3);
  assert.match((await root("create -f /nowhere.yaml")).stderr, /^error: MR5005 can't read \/nowhere.yaml/);
  const misspelt = await root("create -f -", manifest("c", "inactive").replace("trustDomain", "TrustDomain"));
  assert.match(misspelt.stderr, /^error: MR1002 spec: unknown field TrustDomain, did you mean trustDomain\?/);
});

test("does not edit while a manifest can't be read", async (t) => {
  const { dataDir, root } = await open(t);
  await root("create a");
  await writeFile(join(dataDir, "roots", "broken.yaml"), "kind: [");
  const { code, stderr } = await root("create b");
  assert.equal(code, 1);
  assert.match(stderr, /^error: MR2003 broken.yaml: YAML syntax error.*\nhint: .*Nothing was changed/);
  const list = await root("list");
  assert.equal(list.code, 0);
  assert.match(list.stderr, /^warning: broken.yaml: MR2003/);
});

test("of commands that run at once only as many succeed as the rules allow", async (t) => {
  const { root, dataDir } = await open(t);
  await root("create a");
  // Processes: within one, commands might wait for each other by chance.
  const env = { MESHROOT_DATA_DIR: dataDir };
  const results = await Promise.all(["b", "c", "d"].map((name) => spawnMeshroot(["root", "create", name], { env })));
  assert.deepEqual(results.map(({ code }) => code).sort(), [0, 1, 1]);
  for (const { code, stderr } of results)
    if (code === 1) assert.match(stderr, /^error: MR1007 3 roots would be in use/);
});

test("looking at a directory that is not there does not make it", async (t) => {
  const { dataDir, root } = await open(t);
  const { code, stderr } = await root("list");
  assert.equal(code, 1);
  assert.match(stderr, /^error: MR2002 .* is not a meshroot data directory/);
  await assert.rejects(readdir(dataDir), { code: "ENOENT" });
});

test("configuration problems are wrong usage", async () => {
  const { code, stderr } = await runMeshroot(["root", "list", "--namespace", "Not.One"]);
  assert.equal(code, 2);
  assert.match(stderr, /^error: MR5002 configuration invalid\n {2}--namespace "Not.One" is not a namespace/);
});

test("prints its version", async () => {
  const { version } = JSON.parse(await readFile(new URL("../../package.json", import.meta.url), "utf8"));
  assert.equal((await spawnMeshroot(["--version"])).stdout, `${version}\n`);
});

test("B4: a root counts from its creation here, whatever date its manifest brings", async (t) => {
  const dated = (name: string, role: "active" | "passive" | "inactive", date: string) =>
    manifest(name, role).replace(/^metadata:\n/m, `metadata:\n  creationTimestamp: ${date}\n`);
  for (const date of ["2019-01-01T00:00:00Z", '"2019-01-01T00:00:00+02:00"', "2126-01-01T00:00:00Z", "null"]) {
    const { dataDir, root } = await open(t);
    await root("create old");
    const before = Date.now();
    const { stdout } = await root("create -f -", dated("new", "passive", date));
    assert.match(squeeze(stdout), /^after 2 old active new passive old old \+ new/m, date);
    const text = await readFile(join(dataDir, "roots", "new.yaml"), "utf8");
    const written = Date.parse(/creationTimestamp: "?([^"\n]+)/.exec(text)?.[1] ?? "");
    assert.ok(written >= before && written <= Date.now(), text);
  }
  const { dataDir, root } = await open(t);
  await mkdir(join(dataDir, "roots"), { recursive: true });
  await writeFile(join(dataDir, "roots", "old.yaml"), dated("old", "active", "2126-01-01T00:00:00Z"));
  for (const args of ["create new", "set-role new active"])
    assert.match(squeeze((await root(args)).stdout), /^after \d old active new/m, "also beside a date in the future");
});

test("B3: create -f takes kubectl's list, and the new ones keep the order of their dates", async (t) => {
  const { dataDir, root } = await open(t);
  const item = (name: string, role: string, year: number) => ({
    apiVersion: "config.openservicemesh.io/v1alpha2",
    kind: "MeshRootCertificate",
    metadata: { name, namespace: "osm-system", creationTimestamp: `${year}-01-01T00:00:00Z`, uid: "x" },
    spec: {
      role,
      trustDomain: "cluster.local",
      provider: { tresor: { ca: { secretRef: { name: `${name}-ca`, namespace: "osm-system" } } } },
    },
  });
  const list = {
    apiVersion: "v1",
    kind: "List",
    items: [item("a-new", "passive", 2024), item("z-old", "active", 2022)],
  };
  const made = await root("create -f -", JSON.stringify(list));
  assert.match(squeeze(made.stdout), /^after 2 z-old active a-new passive/m, made.stderr);
  assert.deepEqual(await readdir(join(dataDir, "roots")), ["a-new.yaml", "z-old.yaml"]);
});

test("D2: create -f reads no more of its input than a manifest can need", async (t) => {
  const { dataDir, root } = await open(t);
  const path = join(dataDir, "..", "big.yaml");
  await writeFile(path, Buffer.alloc(50 * 1024 * 1024, "a: b\n"));
  for (const answer of [await root(`create -f ${path}`), await root("create -f /dev/zero")])
    assert.match(answer.stderr, /^error: MR5005 can't read .* larger than 1024 KiB/);
});
