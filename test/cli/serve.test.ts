/** `meshroot serve`: its banner, its end, and what it says when it can't start. */

import assert from "node:assert/strict";
import { mkdir, readdir, readFile, stat, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { join } from "node:path";
import { test } from "node:test";
import { adminSocketPath } from "../../src/serve/sockets.ts";
import { temporaryDirectory } from "../support/data-dir.ts";
import { manifest } from "../support/roots.ts";
import { runMeshroot, spawnMeshroot, startMeshroot } from "../support/run-meshroot.ts";
import { startServer, until } from "../support/server.ts";

const FREE = ["--xds-port", "0", "--http-port", "0", "--health-port", "0", "--root-key-algorithm", "ec-p256"];
const NO_COLOR = { NO_COLOR: "1" };

test("the banner: addresses, data directory, the root, and the next command", async (t) => {
  const dataDir = join(await temporaryDirectory(t), "data");
  const args = ["serve", "--data-dir", dataDir, ...FREE];
  const server = startMeshroot(t, args, NO_COLOR);
  await until("the banner", () => server.output.stdout.endsWith("\n"));
  const lines = server.output.stdout.trimEnd().split("\n");
  assert.ok(lines.length <= 8, "short");
  const text = lines.join("\n");
  assert.match(text, /^meshroot \d+\.\d+\.\d+\S* {2}the signer is osm-mesh-root-certificate$/m);
  assert.match(text, /^ {2}xDS +127\.0\.0\.1:[1-9]\d*/m);
  assert.match(text, /^ {2}health +127\.0\.0\.1:[1-9]\d*/m);
  assert.ok(text.includes(dataDir));
  assert.match(text, /^ {2}root +sha256 [0-9a-f]{64}, expires \d{4}-\d\d-\d\d$/m);
  assert.match(lines.at(-1) ?? "", /^ {2}next +npx meshroot proxy bootstrap SERVICE-ACCOUNT\.NAMESPACE --data-dir /);
  const url = /http:\/\/127\.0\.0\.1:\d+/.exec(text)?.[0];
  assert.equal((await fetch(`${url}/health/ready`)).status, 200, "the address that it names answers");
  const socket = await stat(adminSocketPath(dataDir));
  assert.equal(socket.mode & 0o777, 0o600, "the admin socket is its owner's");

  server.signal("SIGTERM");
  const { code, stderr } = await server.finished;
  assert.equal(code, 0);
  assert.match(stderr, /"message":"shutting down: proxies keep what they have"/);
  assert.deepEqual((await readdir(dataDir)).sort(), ["roots", "secrets", "state"], "no lock, no socket");
});

test("a start that fails: one message with code and hint, exit 1, nothing overwritten", async (t) => {
  const parent = await temporaryDirectory(t);
  const files = async (name: string, path: string, text: string) => {
    await mkdir(join(parent, name, path, ".."), { recursive: true });
    await writeFile(join(parent, name, path), text);
  };
  await files("broken-root", "roots/a.yaml", "kind: [");
  await files("no-active", "roots/a.yaml", manifest("a", "passive"));
  await files("corrupt-ca", "secrets/osm-system/osm-ca-bundle.yaml", "kind: [");
  await files("corrupt-state", "state/trust.json", "{");
  const taken = createServer().listen(0, "127.0.0.1");
  t.after(() => taken.close());
  await until("the port is taken", () => taken.listening);
  const address = taken.address();
  const port = typeof address === "object" ? String(address?.port) : "";
  const rows: [string, string[], RegExp][] = [
    ["broken-root", [], /^error: MR2003 a\.yaml: /],
    ["no-active", [], /^error: MR1007 /],
    ["corrupt-ca", [], /^error: MR2005 /],
    ["corrupt-state", [], /^error: MR2004 /],
    ["port", ["--xds-port", port], /^error: MR5003 xDS address 127\.0\.0\.1:\d+ is in use\nhint: .*--xds-port/],
    ["port", ["--http-port", port], /^error: MR5003 HTTP address .*\nhint: .*--http-port/],
    ["port", ["--health-port", port], /^error: MR5003 health address .*\nhint: .*--health-port/],
  ];
  const run = ([name, more]: (typeof rows)[number]) =>
    runMeshroot(["serve", "--data-dir", join(parent, name), ...FREE, ...more]);
  for (const row of rows) {
    const { code, stdout, stderr } = await run(row);
    assert.equal(code, 1, stderr);
    assert.equal(stdout, "");
    assert.match(stderr, row[2]);
    assert.match(stderr, /^error: MR\d{4} [^\n]+\nhint: [^\n]+\.\n$/, "these two lines and nothing else");
  }
  assert.equal(await readFile(join(parent, "corrupt-state/state/trust.json"), "utf8"), "{");
});

test("a directory that another server has", async (t) => {
  const { config } = await startServer(t);
  const { code, stderr } = await spawnMeshroot(["serve", "--data-dir", config.dataDir, ...FREE]);
  assert.equal(code, 1);
  const { pid } = process;
  assert.match(stderr, new RegExp(`^error: MR2001 .* is held by process ${pid}\nhint: Stop process ${pid} first`));
});

test("wrong flags and values are exit 2, all values at once", async () => {
  const unknown = await runMeshroot(["serve", "--xds-prot", "1"]);
  assert.equal(unknown.code, 2);
  assert.match(unknown.stderr, /^error: MR5001 unknown option '--xds-prot'\nhint: Did you mean --xds-port\?\n$/);
  const wrong = await runMeshroot(["serve", "--xds-port", "x", "--settle", "soon", "--trust-domain", "A_b"]);
  assert.equal(wrong.code, 2);
  assert.match(wrong.stderr, /^error: MR5002 configuration invalid\n(?: {2}--\S+ .+\n){3}hint: .+\n$/);
});

test("demo: wrong flags are exit 2 before anything starts", async () => {
  for (const [args, message] of [
    [["--proxies", "1"], /'1' is invalid.*whole number from 2 to 20/],
    [["--proxies", "many"], /whole number from 2 to 20/],
    [["--rate", "0"], /whole number from 1 to 300/],
    [["--step-seconds", "-1"], /whole number from 0 to 60/],
    [["--jsn"], /unknown option '--jsn'\nhint: Did you mean --json\?/],
    [["now"], /too many arguments/],
  ] as const) {
    const { code, stdout, stderr } = await runMeshroot(["demo", ...args]);
    assert.deepEqual([code, stdout], [2, ""], args.join(" "));
    assert.match(stderr, /^error: MR5001 .+\nhint: .+\n$/);
    assert.match(stderr, message);
  }
});
