/** There is no Docker engine in the tests: the build stage's own commands run in a clean folder instead. */

import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { mkdir, readdir, readFile, symlink } from "node:fs/promises";
import { dirname, join } from "node:path";
import { type TestContext, test } from "node:test";
import { fileURLToPath } from "node:url";
import { SETTINGS } from "../../src/config.ts";
import { temporaryDirectory } from "../support/data-dir.ts";
import { environmentOf, type Played, parseDockerfile, playStage, valuesOf } from "../support/dockerfile.ts";
import { plainEnvironment, startProduct } from "../support/product.ts";

const REPOSITORY = fileURLToPath(new URL("../../", import.meta.url));
const stages = parseDockerfile(await readFile(join(REPOSITORY, "Dockerfile"), "utf8"));
const build = stages[0] ?? assert.fail("no build stage");
// What this machine's own `npm ci` downloaded will do; a registry that hangs is asked again soon.
const buildEnvironment = {
  ...plainEnvironment(dirname(process.execPath)),
  npm_config_prefer_offline: "true",
  npm_config_fetch_timeout: "60000",
  // Questions to the registry whose answers nobody reads.
  npm_config_audit: "false",
  npm_config_update_notifier: "false",
  // Behind a proxy that reads TLS npm can't reach a registry without it.
  ...(process.env.NODE_EXTRA_CA_CERTS ? { NODE_EXTRA_CA_CERTS: process.env.NODE_EXTRA_CA_CERTS } : {}),
};
const final = stages.at(-1) ?? assert.fail("no final stage");

test("the final stage: not root, no shell needed, the documented ports, the pinned Node", async () => {
  const { devDependencies, scripts } = JSON.parse(await readFile(join(REPOSITORY, "package.json"), "utf8")) as {
    devDependencies: { node: string };
    scripts: { start: string };
  };
  assert.match(scripts.start, /^node --disable-sigusr1 /, "D10: as in the image");
  assert.equal(stages.length, 2);
  assert.equal(build.image, `node:${devDependencies.node}-slim`);
  assert.match(final.image, /\/cc-debian.*:nonroot$/);
  assert.deepEqual(valuesOf(final, "ENTRYPOINT"), ['["/nodejs/bin/node"]']);
  assert.equal(
    JSON.parse(valuesOf(final, "CMD")[0] ?? "[]")[0],
    "--disable-sigusr1",
    "D10: before our own handler, too",
  );
  assert.deepEqual(valuesOf(final, "RUN"), []);
  assert.deepEqual(valuesOf(final, "USER"), ["65532:65532"]);
  assert.deepEqual(valuesOf(final, "VOLUME"), [environmentOf(final).MESHROOT_DATA_DIR]);
  assert.equal(environmentOf(final).MESHROOT_BIND, "0.0.0.0");
  assert.deepEqual(
    valuesOf(final, "EXPOSE")[0]?.split(" "),
    [SETTINGS.xdsPort, SETTINGS.httpPort, SETTINGS.healthPort].map(({ standard }) => standard),
  );
});

test("the build context holds what the build stage copies and nothing else", async () => {
  const lines = (await readFile(join(REPOSITORY, ".dockerignore"), "utf8")).split("\n");
  const [all, ...admitted] = lines.filter((line) => line !== "" && !line.startsWith("#"));
  assert.equal(all, "*");
  const copied = valuesOf(build, "COPY").flatMap((value) => value.split(/\s+/).slice(0, -1));
  assert.deepEqual(admitted.map((line) => line.slice(1)).sort(), copied.toSorted());
});

test("the build stage's commands work in a clean folder, and what the final stage holds serves", async (t) => {
  const directory = await temporaryDirectory(t);
  const built = await buildOrSkip(t, join(directory, "build"));
  if (built === undefined) return;
  const image = await playStage(
    final,
    join(directory, "final"),
    new Map([[build.alias ?? "", built.root]]),
    buildEnvironment,
  );

  assert.ok(!existsSync(join(image.workDir, "src")), "no sources in the image");
  assert.ok(!existsSync(join(image.workDir, "node_modules", "typescript")), "no development packages in the image");
  assert.ok(existsSync(join(image.root, "nodejs/bin/node")), "the entry point");
  const command = JSON.parse(valuesOf(final, "CMD")[0] ?? "") as string[];
  const environment = environmentOf(final);
  const dataDir = join(image.root, environment.MESHROOT_DATA_DIR ?? "");
  assert.deepEqual(await readdir(dataDir), []);
  const product = await startProduct(t, command, {
    cwd: image.workDir,
    env: {
      ...environment,
      MESHROOT_DATA_DIR: dataDir,
      // Tests share the machine: loopback only, and ports that are free.
      MESHROOT_BIND: "127.0.0.1",
      MESHROOT_XDS_PORT: "0",
      MESHROOT_HTTP_PORT: "0",
      MESHROOT_HEALTH_PORT: "0",
    },
  });
  const answer = await fetch(`${product.url}/health/ready`);
  assert.equal(answer.status, 200);
  await answer.body?.cancel();
  assert.ok((await product.services()).includes("grpc.health.v1.Health"), "it finds its .proto files");
  assert.notDeepEqual(await readdir(dataDir), []);
  assert.equal(await product.stop(), 0);
});

/** Undefined, and the test skipped, on a laptop without a network: `npm ci` needs its registry or a filled cache. */
async function buildOrSkip(t: TestContext, root: string): Promise<Played | undefined> {
  // What the stage's image brings.
  await mkdir(join(root, "usr/local/bin"), { recursive: true });
  await symlink(process.execPath, join(root, "usr/local/bin/node"));
  try {
    return await playStage(build, root, new Map([["", REPOSITORY]]), buildEnvironment);
  } catch (error) {
    const output = String((error as { stderr?: unknown }).stderr ?? "");
    const offline = /ENOTFOUND|EAI_AGAIN|ECONNREFUSED|ETIMEDOUT|ENOTCACHED/.exec(output)?.[0];
    if (offline === undefined || process.env.CI === "true") throw error;
    t.skip(`npm ci has no network here: ${offline}`);
    return undefined;
  }
}
