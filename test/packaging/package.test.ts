/** What `npm pack` makes is complete: it runs without this repository beside it. */

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { cp, mkdir, readdir, readFile, symlink, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { temporaryDirectory } from "../support/data-dir.ts";
import { plainEnvironment, startProduct } from "../support/product.ts";

const REPOSITORY = fileURLToPath(new URL("../../", import.meta.url));
const exec = promisify(execFile);
const env = plainEnvironment(dirname(process.execPath));

test("the packed package holds what it needs, runs, and exports meshroot/xds with its types", async (t) => {
  const directory = await temporaryDirectory(t);
  // A copy: packing builds dist/, and a test leaves nothing in the clone.
  const clone = join(directory, "clone");
  await mkdir(clone);
  const notCopied = new Set(["node_modules", "dist", ".git", "test", "bench", "meshroot-data"]);
  for (const name of await readdir(REPOSITORY)) {
    if (!notCopied.has(name)) await cp(join(REPOSITORY, name), join(clone, name), { recursive: true });
  }
  await symlink(join(REPOSITORY, "node_modules"), join(clone, "node_modules"));

  const { stdout } = await exec("npm", ["pack", "--json", "--pack-destination", directory], { cwd: clone, env });
  const [packed] = JSON.parse(stdout) as [{ filename: string; files: { path: string }[] }];
  const paths = packed.files.map(({ path }) => path);
  for (const path of [
    "bin/meshroot.js",
    "dist/main.js",
    "dist/xds/index.d.ts",
    "package.json",
    "LICENSE",
    "CHANGELOG.md",
  ])
    assert.ok(paths.includes(path), `${path} is missing`);
  for (const path of await protoFiles()) assert.ok(paths.includes(path), `${path} is missing`);
  const strange = paths.filter((path) => /^(src|test|bench|node_modules|meshroot-data)\/|\.(key|pem|log)$/.test(path));
  assert.deepEqual(strange, []);

  const installed = join(directory, "node_modules", "meshroot");
  await mkdir(installed, { recursive: true });
  await exec("tar", ["-xzf", join(directory, packed.filename), "-C", installed, "--strip-components=1"]);
  await symlink(join(REPOSITORY, "node_modules"), join(installed, "node_modules"));

  const { version } = JSON.parse(await readFile(join(REPOSITORY, "package.json"), "utf8")) as { version: string };
  const bin = join(installed, "bin", "meshroot.js");
  assert.match((await exec(process.execPath, [bin, "version"], { env })).stdout, new RegExp(`^meshroot ${version} `));

  const product = await startProduct(t, [bin, "serve", "--data-dir", "data"], {
    cwd: directory,
    env: { ...env, MESHROOT_XDS_PORT: "0", MESHROOT_HTTP_PORT: "0", MESHROOT_HEALTH_PORT: "0" },
  });
  assert.equal((await fetch(`${product.url}/health/ready`)).status, 200);
  assert.ok((await product.services()).includes("grpc.health.v1.Health"), "it finds its .proto files");
  assert.equal(await product.stop(), 0);

  await writeFile(join(directory, "consumer.mts"), CONSUMER);
  await writeFile(join(directory, "tsconfig.json"), CONSUMER_CONFIG);
  await exec(join(REPOSITORY, "node_modules", ".bin", "tsc"), ["-p", "."], { cwd: directory, env });
  await exec(process.execPath, ["consumer.mts"], { cwd: directory, env });
});

const CONSUMER = `
import { XdsServer, type ResourceSource } from "meshroot/xds";
const sources: ResourceSource<string>[] = [];
// @ts-expect-error identities of the sources and of the server are the same type
const wrong: ResourceSource<number>[] = sources;
if (typeof XdsServer !== "function" || wrong.length > 0) throw new Error("XdsServer is missing");
`;

const CONSUMER_CONFIG = JSON.stringify({
  compilerOptions: {
    target: "es2024",
    module: "nodenext",
    strict: true,
    noEmit: true,
    types: ["node"],
    typeRoots: [join(REPOSITORY, "node_modules", "@types")],
  },
  files: ["consumer.mts"],
});

async function protoFiles(): Promise<string[]> {
  const entries = await readdir(join(REPOSITORY, "proto"), { recursive: true });
  return entries.filter((entry) => entry.endsWith(".proto")).map((entry) => `proto/${entry}`);
}
