import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { chmod, mkdir, readdir, readFile, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { takeLock } from "../../../src/runtime/file-lock.ts";
import { openDataDir } from "../../../src/stores/files/data-dir.ts";
import { temporaryDirectory } from "../../support/data-dir.ts";

const MODULE = JSON.stringify(import.meta.resolve("../../../src/stores/files/data-dir.ts"));

/** A process that holds the lock of `path` until it is killed. */
async function holder(t: TestContext, path: string) {
  const script = `import { openDataDir } from ${MODULE};
    await openDataDir(${JSON.stringify(path)}, { lock: true });
    process.stdout.write("held");
    setInterval(() => {}, 1000);`;
  const child = spawn(process.execPath, ["--input-type=module", "--eval", script], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  t.after(() => child.kill("SIGKILL"));
  await once(child.stdout, "data");
  return child;
}

test("creates the layout, closed to others", async (t) => {
  const path = join(await temporaryDirectory(t), "a", "data");
  const dataDir = await openDataDir(path, { lock: false });
  assert.deepEqual((await readdir(path)).sort(), ["roots", "secrets", "state"]);
  for (const directory of [path, dataDir.roots, dataDir.secrets, dataDir.state])
    assert.equal((await stat(directory)).mode & 0o777, 0o700);
});

test("closes secrets and state to others where they are open", async (t) => {
  const path = await temporaryDirectory(t);
  await mkdir(join(path, "secrets"), { mode: 0o755 });
  await chmod(join(path, "secrets"), 0o755);
  const dataDir = await openDataDir(path, { lock: false });
  assert.equal((await stat(dataDir.secrets)).mode & 0o777, 0o700);
});

test("MR2002 where the directory can't be used", async (t) => {
  const path = join(await temporaryDirectory(t), "file");
  await writeFile(path, "");
  await assert.rejects(openDataDir(path, { lock: false }), { code: "MR2002", message: /can't use/ });
  if (process.platform === "linux")
    await assert.rejects(openDataDir("/proc/meshroot/data", { lock: false }), { code: "MR2002", message: /can't use/ });
});

test("a second server is refused with the first one's process number, and let in after it closed", async (t) => {
  const path = await temporaryDirectory(t);
  const first = await openDataDir(path, { lock: true });
  await assert.rejects(openDataDir(path, { lock: true }), {
    code: "MR2001",
    message: new RegExp(`held by process ${process.pid}$`),
  });
  await openDataDir(path, { lock: false });
  await first.close();
  const second = await openDataDir(path, { lock: true });
  await second.close();
  assert.equal((await readdir(path)).includes("lock"), false);
});

test("a lock is respected across processes, and taken over once its process was killed", async (t) => {
  const path = await temporaryDirectory(t);
  const child = await holder(t, path);
  await assert.rejects(openDataDir(path, { lock: true }), { message: new RegExp(`held by process ${child.pid}$`) });
  child.kill("SIGKILL");
  await once(child, "exit");
  const dataDir = await openDataDir(path, { lock: true });
  assert.equal(JSON.parse(await readFile(join(path, "lock"), "utf8")).pid, process.pid);
  await dataDir.close();
});

test("a lock whose process number was given to another process is stale", {
  skip: process.platform !== "linux",
}, async (t) => {
  const path = join(await temporaryDirectory(t), "lock");
  const lock = await takeLock(path);
  const held = JSON.parse(await readFile(path, "utf8"));
  await writeFile(path, JSON.stringify({ ...held, startTime: "1", token: "x" }));
  const next = await takeLock(path);
  // The first holder has lost it and must not take it from its successor.
  await lock.release();
  await assert.rejects(takeLock(path), { code: "MR2001" });
  await next.release();
});

test("a lock of another host stands until it is deleted, and so does a file that is no lock", async (t) => {
  const path = join(await temporaryDirectory(t), "lock");
  const { pid } = spawnSync(process.execPath, ["--version"]);
  await writeFile(path, JSON.stringify({ pid, startTime: "1", host: "elsewhere", token: "x" }));
  await assert.rejects(takeLock(path), { code: "MR2001", message: /on elsewhere/, hint: /delete/ });
  await writeFile(path, "12\n");
  await assert.rejects(takeLock(path), { code: "MR2001", message: /is not a lock/ });
  await assert.rejects(takeLock(join(path, "lock")), {
    code: "MR2002",
    message: /can't make/,
    hint: /owns the directory/,
  });
});

test("of many processes that find a stale lock, one gets it", async (t) => {
  const path = await temporaryDirectory(t);
  const child = await holder(t, path);
  child.kill("SIGKILL");
  await once(child, "exit");
  const tries = await Promise.allSettled(Array.from({ length: 8 }, () => takeLock(join(path, "lock"))));
  assert.equal(tries.filter(({ status }) => status === "fulfilled").length, 1);
  for (const outcome of tries) if (outcome.status === "fulfilled") await outcome.value.release();
});

test("waits for a lock that is given back", async (t) => {
  const path = join(await temporaryDirectory(t), "lock");
  const first = await takeLock(path);
  const second = takeLock(path, 60_000);
  await first.release();
  await (await second).release();
});

test("the server sweeps up what a crash left half-written among secrets", async (t) => {
  const path = await temporaryDirectory(t);
  const secrets = join(path, "secrets", "osm-system");
  await mkdir(secrets, { recursive: true });
  await writeFile(join(secrets, ".osm-ca-bundle.yaml.1.abcd.tmp"), "half a key");
  await writeFile(join(secrets, "osm-ca-bundle.yaml"), "whole");
  const dataDir = await openDataDir(path, { lock: true });
  assert.deepEqual(await readdir(secrets), ["osm-ca-bundle.yaml"]);
  await dataDir.close();
});
