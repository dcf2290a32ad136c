import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { readFile, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { test } from "node:test";
import { stringify } from "yaml";
import { MeshrootError } from "../../src/core/errors.ts";
import { envoyAdmin } from "../../src/envoy/admin.ts";
import { startEnvoy } from "../../src/envoy/process.ts";
import { temporaryDirectory } from "../support/data-dir.ts";
import { envoyOrSkip, eventually, runEnvoy } from "../support/envoy.ts";

const ADMIN = { admin: { address: { socket_address: { address: "127.0.0.1", port_value: 0 } } } };

async function writeBootstrap(dir: string, content: object = ADMIN): Promise<string> {
  const path = join(dir, "bootstrap.yaml");
  await writeFile(path, stringify(content));
  return path;
}

test("starts with an admin port of its own, logs to a file, answers, and stops", async (t) => {
  const found = await envoyOrSkip(t);
  if (found === undefined) return;
  const dir = await temporaryDirectory(t);
  const logPath = join(dir, "envoy.log");
  const options = { binary: found.path, bootstrapPath: await writeBootstrap(dir), name: "p", logLevel: "info" };
  const envoy = await runEnvoy(t, { ...options, logPath });
  const admin = envoyAdmin(envoy.adminAddress);
  await eventually("ready", () => admin.ready());
  assert.match(envoy.adminAddress, /^127\.0\.0\.1:[1-9]\d*$/);
  assert.equal(await admin.version(), found.version);
  await envoy.stop();
  assert.deepEqual(await envoy.exited, { code: 0, signal: null });
  assert.match(await readFile(logPath, "utf8"), /starting main dispatch loop/);
  await envoy.stop();
});

test("two run beside each other; quit ends one, kill the other", async (t) => {
  const found = await envoyOrSkip(t);
  if (found === undefined) return;
  const bootstrapPath = await writeBootstrap(await temporaryDirectory(t));
  const [one, two] = await Promise.all(
    ["one", "two"].map((name) => runEnvoy(t, { binary: found.path, bootstrapPath, name })),
  );
  assert.ok(one !== undefined && two !== undefined && one.adminAddress !== two.adminAddress);
  await envoyAdmin(one.adminAddress).quit();
  assert.equal((await one.exited).code, 0);
  await two.kill();
  assert.equal((await two.exited).signal, "SIGKILL");
});

test("a paused Envoy keeps its connections and answers after it is resumed; stop works on a paused one", async (t) => {
  const found = await envoyOrSkip(t);
  if (found === undefined) return;
  const bootstrapPath = await writeBootstrap(await temporaryDirectory(t));
  const envoy = await runEnvoy(t, { binary: found.path, bootstrapPath, name: "p" });
  const state = async () => /^State:\s+(\S)/m.exec(await readFile(`/proc/${envoy.pid}/status`, "utf8"))?.[1];
  envoy.pause();
  if (process.platform === "linux") await eventually("stopped", async () => (await state()) === "T");
  const answer = envoyAdmin(envoy.adminAddress, 60_000).version();
  envoy.resume();
  assert.equal(await answer, found.version);
  envoy.pause();
  await envoy.stop();
  assert.equal((await envoy.exited).code, 0);
});

test("a bootstrap that Envoy refuses is MR6002 with Envoy's own words; so is a binary that can't be started", async (t) => {
  const found = await envoyOrSkip(t);
  if (found === undefined) return;
  const bootstrapPath = await writeBootstrap(await temporaryDirectory(t), { ...ADMIN, nonsense: 1 });
  await assert.rejects(startEnvoy({ binary: found.path, bootstrapPath, name: "bad" }), (error) => {
    assert.ok(error instanceof MeshrootError && error.code === "MR6002");
    assert.match(error.message, /"bad" did not start: it ended with exit code 1/);
    assert.match(error.hint, /nonsense/);
    return true;
  });
  await assert.rejects(startEnvoy({ binary: "/no/such/envoy", bootstrapPath, name: "none" }), /MR6002.*ENOENT/);
  const logPath = join(dirname(bootstrapPath), "envoy.log");
  await writeFile(logPath, "the words of an earlier Envoy\n");
  await assert.rejects(startEnvoy({ binary: found.path, bootstrapPath, name: "bad", logPath }), (error) => {
    assert.ok(error instanceof MeshrootError);
    assert.match(error.hint, /nonsense/);
    assert.doesNotMatch(error.hint, /earlier/);
    return true;
  });
});

test("it ends with the process that started it, also when a signal ends that one", async (t) => {
  const found = await envoyOrSkip(t);
  if (found === undefined) return;
  const dir = await temporaryDirectory(t);
  const bootstrapPath = await writeBootstrap(dir);
  const script = join(dir, "parent.ts");
  await writeFile(
    script,
    `import { startEnvoy } from ${JSON.stringify(join(import.meta.dirname, "../../src/envoy/process.ts"))};
     const envoy = await startEnvoy(${JSON.stringify({ binary: found.path, bootstrapPath, name: "p" })});
     console.log(envoy.adminAddress);`,
  );
  const parent = spawn(process.execPath, [script], { stdio: ["ignore", "pipe", "inherit"] });
  const [address] = (await once(parent.stdout, "data")) as [Buffer];
  const admin = envoyAdmin(address.toString().trim());
  await admin.ready();
  parent.kill("SIGTERM");
  const [, signal] = await once(parent, "exit");
  assert.equal(signal, "SIGTERM");
  await eventually("the Envoy has ended", () =>
    admin.ready().then(
      () => false,
      () => true,
    ),
  );
});
