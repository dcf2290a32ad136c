import assert from "node:assert/strict";
import { lstat, mkdir, readdir, readFile, readlink, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { MeshrootError } from "../../src/core/errors.ts";
import { writeCredentials } from "../../src/envoy/credentials-dir.ts";
import { temporaryDirectory } from "../support/data-dir.ts";

const set = (n: number) => ({ certPem: `cert ${n}\n`, keyPem: `key ${n}\n`, caPem: `ca ${n}\n` });

test("all names lead through one link, which is all that a second write changes", async (t) => {
  const dir = join(await temporaryDirectory(t), "certs");
  await writeCredentials(dir, set(1));
  const first = await readlink(join(dir, "..data"));
  await writeCredentials(dir, set(2));

  assert.notEqual(await readlink(join(dir, "..data")), first);
  for (const name of ["tls.crt", "tls.key", "ca.crt"]) assert.equal(await readlink(join(dir, name)), `..data/${name}`);
  assert.equal(await readFile(join(dir, "tls.crt"), "utf8"), "cert 2\n");
  assert.equal(await readFile(join(dir, "sds_cert.pem"), "utf8"), "cert 2\n");
  assert.equal(await readFile(join(dir, "sds_key.pem"), "utf8"), "key 2\n");
  assert.equal(await readFile(join(dir, "cacert.pem"), "utf8"), "ca 2\n");
});

test("only the owner may read, and nothing of the old set stays", async (t) => {
  const dir = join(await temporaryDirectory(t), "certs");
  await writeCredentials(dir, set(1));
  await writeCredentials(dir, set(2));
  assert.equal((await stat(dir)).mode & 0o777, 0o700);
  assert.equal((await stat(join(dir, "..data"))).mode & 0o777, 0o700);
  assert.equal((await stat(join(dir, "tls.key"))).mode & 0o777, 0o600);
  const folders = (await readdir(dir)).filter((name) => name.startsWith("..v-"));
  assert.deepEqual(folders, [await readlink(join(dir, "..data"))]);
});

test("further files come and go with the set; plain files of the same name become links; others are left alone", async (t) => {
  const dir = join(await temporaryDirectory(t), "certs");
  await mkdir(dir);
  await writeFile(join(dir, "tls.crt"), "from before");
  await writeFile(join(dir, "notes.txt"), "mine");
  await writeCredentials(dir, { ...set(1), files: { "proxy.json": "{}" } });
  assert.equal(await readFile(join(dir, "proxy.json"), "utf8"), "{}");
  assert.ok((await lstat(join(dir, "tls.crt"))).isSymbolicLink());
  await writeCredentials(dir, set(2));
  const names = await readdir(dir);
  assert.ok(!names.includes("proxy.json"));
  assert.ok(names.includes("notes.txt"));
});

test("what an interrupted write left behind does not stop the next one", async (t) => {
  const dir = join(await temporaryDirectory(t), "certs");
  await writeCredentials(dir, set(1));
  await mkdir(join(dir, "..v-20260101-000000-abcdef"));
  await writeFile(join(dir, "..data_tmp"), "");
  await writeCredentials(dir, set(2));
  assert.equal(await readFile(join(dir, "ca.crt"), "utf8"), "ca 2\n");
  assert.equal((await readdir(dir)).filter((name) => name.startsWith("..v-")).length, 1);
});

test("a folder that another writer is at stays until that one swaps it in, or a minute has shown that it never will", async (t) => {
  const dir = join(await temporaryDirectory(t), "certs");
  const folder = (at: number) =>
    `..v-${new Date(at).toISOString().replace(/[-:]/g, "").replace("T", "-").slice(0, 15)}-abcdef`;
  const [young, old] = [folder(Date.now()), folder(Date.now() - 70_000)];
  await mkdir(join(dir, young), { recursive: true });
  await mkdir(join(dir, old));
  await writeCredentials(dir, set(1));
  const names = await readdir(dir);
  assert.deepEqual([names.includes(young), names.includes(old)], [true, false]);
});

test("a directory that can't be written is MR2002; a file name can't leave it; no key in the error", async (t) => {
  const dir = await temporaryDirectory(t);
  await writeFile(join(dir, "file"), "");
  const refused = (error: unknown) =>
    error instanceof MeshrootError && error.code === "MR2002" && !`${error.message}${error.hint}`.includes("key 1");
  await assert.rejects(writeCredentials(join(dir, "file"), set(1)), refused);
  await assert.rejects(writeCredentials(dir, { ...set(1), files: { "../out": "" } }), refused);
  await assert.rejects(writeCredentials(dir, { ...set(1), files: { "..data": "" } }), refused);
});
