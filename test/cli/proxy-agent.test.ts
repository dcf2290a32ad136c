/** `meshroot proxy agent` and `proxy run` as a user types them. */

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { envoyAdmin } from "../../src/envoy/admin.ts";
import { agentFolder } from "../support/agent.ts";
import { envoyOrSkip } from "../support/envoy.ts";
import { startFakeAdmin } from "../support/fake-admin.ts";
import { runMeshroot, startMeshroot } from "../support/run-meshroot.ts";
import { startServer, until } from "../support/server.ts";

test("agent: says whom it serves, keeps the folder fresh, ends with SIGTERM, and leaves no lock", async (t) => {
  const server = await startServer(t);
  const credentials = await server.credential("cart.shop");
  let dir = "";
  const admin = await startFakeAdmin(t, () => join(dir, "certs"));
  dir = await agentFolder(t, { credentials, xdsPort: 1 });
  const xdsAddress = `127.0.0.1:${server.running.xdsPort}`;
  const flags = ["--xds-address", xdsAddress, "--admin", admin.address, "--log-format", "json"];
  const agent = startMeshroot(t, ["proxy", "agent", dir, ...flags]);
  await until("both are ACKed", () => (agent.output.stderr.match(/ACK: Envoy has loaded/g)?.length ?? 0) >= 2);
  assert.equal(
    agent.output.stdout,
    `agent of cart.shop (${credentials.proxy.uuid}): xDS ${xdsAddress}, Envoy's admin ${admin.address}\n`,
  );
  const fresh = await readFile(join(dir, "certs/tls.crt"), "utf8");
  assert.notEqual(fresh, credentials.certPem);

  const second = await runMeshroot(["proxy", "agent", dir, ...flags]);
  assert.equal(second.code, 1);
  assert.match(second.stderr, /error: MR2001 another agent keeps .*\nhint: One agent per proxy/);

  agent.signal("SIGTERM");
  const { code, stderr } = await agent.finished;
  assert.equal(code, 0, stderr);
  await assert.rejects(readFile(join(dir, "agent.lock")), /ENOENT/);
});

test("wrong input is exit 2 and says what to give", async (t) => {
  const server = await startServer(t);
  const dir = await agentFolder(t, { credentials: await server.credential("cart.shop") });
  const cases: readonly (readonly [readonly string[], RegExp])[] = [
    [["agent", join(dir, "nowhere")], /MR5002 .* is not the folder of a proxy.*\nhint: Give the folder that/],
    [["agent", dir], /MR5002 .* any free admin port\nhint: Give --admin host:port/],
    [["agent", dir, "--admin", "15000"], /MR5002 --admin "15000" is not host:port/],
    [["run", dir, "--xds-address", "host:99999"], /MR5002 --xds-address "host:99999" is not host:port/],
    [
      ["run", dir, "--envoy", "x", "--envoy-version", "1.40.0"],
      /MR5002 --envoy and --envoy-version exclude each other/,
    ],
  ];
  for (const [args, expected] of cases) {
    const { code, stderr } = await runMeshroot(["proxy", ...args]);
    assert.match(stderr, expected);
    assert.equal(code, 2, stderr);
  }
  const none = await runMeshroot(["proxy", "run", dir, "--envoy", "/no/such/envoy"]);
  assert.match(none.stderr, /MR6002 .*ENOENT/);
  assert.equal(none.code, 1);
});

test("run: Ctrl-C in its terminal ends Envoy in order, because Envoy does not hear it itself", async (t) => {
  const binary = await envoyOrSkip(t);
  if (binary === undefined) return;
  const server = await startServer(t);
  const dir = await agentFolder(t, { credentials: await server.credential("cart.shop") });
  const bin = fileURLToPath(new URL("../../bin/meshroot.js", import.meta.url));
  // A process group of its own, as a shell gives to what it runs in the foreground.
  const run = spawn(process.execPath, [bin, "proxy", "run", dir, "--envoy", binary.path, "--log-format", "json"], {
    stdio: ["ignore", "pipe", "pipe"],
    detached: true,
  });
  let output = "";
  for (const stream of [run.stdout, run.stderr])
    stream.on("data", (chunk: Buffer) => {
      output += chunk.toString();
    });
  t.after(() => run.kill("SIGKILL"));
  const ended = once(run, "close");
  await until("the agent has done its work", () => (output.match(/ACK: Envoy has loaded/g)?.length ?? 0) >= 2);
  const admin = envoyAdmin(/Envoy's admin http:\/\/(\S+),/.exec(output)?.[1] ?? "");
  t.after(() => admin.quit().catch(() => undefined));
  assert.equal(await admin.version(), binary.version);
  process.kill(-(run.pid ?? 0), "SIGINT");
  assert.deepEqual(await ended, [0, null], output);
  await assert.rejects(admin.version(), /MR5004/);
  assert.doesNotMatch(output, /Envoy has ended/, "it was stopped, not found dead");
});
