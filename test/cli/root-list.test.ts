/** `meshroot root list` tells the truth: what is broken, what is missing, and whose word it is. */

import assert from "node:assert/strict";
import { readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { askForNext, NEXT } from "../support/operator.ts";
import { runMeshroot } from "../support/run-meshroot.ts";
import { FIRST, startServer, type TestServer, until } from "../support/server.ts";

const root = (server: TestServer, ...args: string[]) =>
  runMeshroot(["root", ...args, "--data-dir", server.config.dataDir]);
const rows = (text: string) =>
  text
    .trimEnd()
    .split("\n")
    .slice(1)
    .map((line) => line.trim().split(/ {2,}/));

test("a manifest that can't be read and one that is deleted: both roots stay in the list while the mesh knows them", async (t) => {
  const server = await startServer(t);
  await server.createRoot(NEXT);
  await until("both are trusted", () => server.running.status().trusted.length === 2);
  const path = join(server.config.dataDir, "roots", `${NEXT}.yaml`);
  const good = await readFile(path, "utf8");
  await writeFile(path, "kind: [");
  await until("the server has seen it", () => server.running.status().problems.length > 0);
  const broken = await root(server, "list");
  assert.deepEqual(
    rows(broken.stdout).map(([name, role, , state]) => [name, role, state]),
    [
      [FIRST, "active", "issuing"],
      [NEXT, "passive (unreadable)", "validating"],
    ],
  );
  assert.match(broken.stderr, /^warning: next\.yaml: MR2003/);
  assert.doesNotMatch(broken.stderr, /No server/);
  assert.equal((await root(server, "list", "-o", "name")).stdout.split("\n").length, 2, "names have manifests");

  await writeFile(path, good);
  await until("mended", () => server.running.status().problems.length === 0);
  await server.setRole(NEXT, "active");
  await server.setRole(FIRST, "passive");
  await until("it signs", () => server.running.status().signer === NEXT);
  await server.setRole(FIRST, "inactive");
  await until("the old root has left the bundle", () => server.running.status().trusted.join() === NEXT);
  await server.running.stop();
  await server.removeRoot(FIRST);
  const deleted = await root(server, "list");
  for (const [name, role] of rows(deleted.stdout))
    assert.deepEqual([name, role], name === NEXT ? [NEXT, "active"] : [FIRST, "(deleted)"]);
});

test("without a server: says so, and shows a lost CA and roles that can't be followed", async (t) => {
  const server = await startServer(t);
  await askForNext(server);
  await until("it signs", () => server.running.status().signer === NEXT);
  await server.running.stop();
  const calm = await root(server, "list");
  assert.match(
    calm.stderr,
    /^No server answers on .*: this is what was last written down there; no proxy is connected\.\n$/,
  );
  await rm(join(server.config.dataDir, "secrets/osm-system/osm-ca-bundle.yaml"));
  const lost = await root(server, "list");
  assert.match(
    lost.stderr,
    new RegExp(`^held \\(roles\\): use ${FIRST}: MR2005 root ${FIRST}: CA secret .* is gone`, "m"),
  );
  await server.setRole(NEXT, "passive");
  const roles = await root(server, "get", NEXT);
  assert.match(roles.stderr, /^held \(roles\): follow the roles: MR1007 /m);
  await rm(join(server.config.dataDir, "secrets/osm-system/next-ca.yaml"));
  assert.match((await root(server, "list")).stderr, /^held \(roles\): sign with next: MR2005 .*no leaf is issued/m);
  const json = JSON.parse((await root(server, "get", NEXT, "-o", "json")).stdout);
  assert.equal(json.status.holds[0].reason, "SignerMissing");
});

test("`proxy status` on what is no data directory is MR2002, as `root list` is", async (t) => {
  const server = await startServer(t);
  for (const args of [
    ["proxy", "status"],
    ["root", "list"],
  ]) {
    const { code, stderr } = await runMeshroot([...args, "--data-dir", join(server.config.dataDir, "none")]);
    assert.equal(code, 1);
    assert.match(stderr, /^error: MR2002 .*none is not a meshroot data directory\nhint: /);
  }
});
