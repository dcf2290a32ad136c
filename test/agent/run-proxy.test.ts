/** `meshroot proxy run` with real Envoys: whichever of the two dies, the other one goes on. */

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, type TestContext, test } from "node:test";
import { type EnvoyAdmin, envoyAdmin } from "../../src/envoy/admin.ts";
import { ENVOY_VERSIONS } from "../../src/envoy/binary.ts";
import { agentFolder } from "../support/agent.ts";
import { envoyOrSkip } from "../support/envoy.ts";
import { runMeshroot, type StartedMeshroot, startMeshroot } from "../support/run-meshroot.ts";
import { startServer, until } from "../support/server.ts";

async function prepare(t: TestContext, version?: string) {
  const binary = await envoyOrSkip(t, version);
  if (binary === undefined) return undefined;
  const server = await startServer(t);
  const credentials = await server.credential("cart.shop");
  const dir = await agentFolder(t, { credentials });
  const admins: EnvoyAdmin[] = [];
  t.after(() => Promise.all(admins.map((admin) => admin.quit().catch(() => undefined))));
  const adminOf = async (run: StartedMeshroot): Promise<EnvoyAdmin> => {
    const found = () => /Envoy's admin http:\/\/(\S+),/.exec(run.output.stdout)?.[1];
    await until(`the address of Envoy's admin: ${run.output.stderr}`, () => found() !== undefined);
    const admin = envoyAdmin(found() ?? "");
    admins.push(admin);
    return admin;
  };
  const args = ["proxy", "run", dir, "--envoy", binary.path, "--log-format", "json"];
  const run = (...more: string[]) => startMeshroot(t, [...args, ...more]);
  /** For one that ends by itself, at once. */
  const runToItsEnd = (...more: string[]) => runMeshroot([...args, ...more]);
  return { dir, run, runToItsEnd, adminOf };
}

const isGone = (admin: EnvoyAdmin) =>
  admin.ready().then(
    () => false,
    () => true,
  );

const bothLoaded = ({ output }: StartedMeshroot) => (output.stderr.match(/ACK: Envoy has loaded/g)?.length ?? 0) >= 2;

const pidIn = ({ output }: StartedMeshroot) => Number(/"pid":(\d+),"message":"Envoy started"/.exec(output.stderr)?.[1]);

describe("proxy run", { concurrency: true }, () => {
  for (const version of ENVOY_VERSIONS) {
    test(`Envoy ${version}: kill -9 of run leaves the data plane; the next run adopts it; SIGTERM ends both`, async (t) => {
      const it = await prepare(t, version);
      if (it === undefined) return;
      const first = it.run();
      const admin = await it.adminOf(first);
      await until("both secrets are loaded", () => bothLoaded(first));
      await until("ready", () => admin.ready());
      const pid = pidIn(first);

      first.signal("SIGKILL");
      await first.finished;
      assert.equal(await admin.ready(), true);
      const second = it.run();
      assert.equal((await it.adminOf(second)).address, admin.address);
      await until("adopted", () => /adopted: it was running already/.test(second.output.stderr));
      await until("the agent is connected", () => /connected to the xDS server/.test(second.output.stderr));
      process.kill(pid, 0);
      assert.doesNotMatch(second.output.stderr, /"Envoy started"/);

      const third = await it.runToItsEnd();
      assert.equal(third.code, 1);
      assert.match(third.stderr, /MR2001 another agent keeps/);

      second.signal("SIGTERM");
      assert.equal((await second.finished).code, 0, second.output.stderr);
      assert.equal(await isGone(admin), true);
    });
  }

  test("an Envoy that is killed is started again; SIGTERM ends the new one", async (t) => {
    const it = await prepare(t);
    if (it === undefined) return;
    const run = it.run("--", "--concurrency", "2", "--log-level", "info");
    await it.adminOf(run);
    await until("both secrets are loaded", () => bothLoaded(run));
    process.kill(pidIn(run), "SIGKILL");
    await until("started again", () => run.output.stderr.match(/"message":"Envoy started"/g)?.length === 2);
    assert.match(run.output.stderr, /Envoy has ended: SIGKILL/);
    const address = (await readFile(join(it.dir, "envoy-admin-address"), "utf8")).trim();
    const again = envoyAdmin(address);
    t.after(() => again.quit().catch(() => undefined));
    const options = JSON.parse(await again.get("/server_info")) as { command_line_options: Record<string, unknown> };
    assert.equal(options.command_line_options.concurrency, 2);
    assert.equal(options.command_line_options.log_level, "info");
    await until("it has its secrets", () => again.ready());
    run.signal("SIGTERM");
    assert.equal((await run.finished).code, 0);
    assert.equal(await isGone(again), true);
  });

  test("beside a paused Envoy no second one is started; once it goes on, it is adopted", async (t) => {
    const it = await prepare(t);
    if (it === undefined) return;
    const first = it.run();
    const admin = await it.adminOf(first);
    await until("both secrets are loaded", () => bothLoaded(first));
    const pid = pidIn(first);
    first.signal("SIGKILL");
    await first.finished;
    process.kill(pid, "SIGSTOP");
    const second = await it.runToItsEnd();
    process.kill(pid, "SIGCONT");
    assert.equal(second.code, 1);
    assert.match(second.stderr, /MR5003 an Envoy at 127\.0\.0\.1:\d+ takes connections and does not answer/);
    const third = it.run();
    assert.equal((await it.adminOf(third)).address, admin.address);
    third.signal("SIGTERM");
    assert.equal((await third.finished).code, 0);
    assert.equal(await isGone(admin), true);
  });

  test("a bootstrap that Envoy refuses ends the command with MR6002; a folder that is none with MR5002", async (t) => {
    const it = await prepare(t);
    if (it === undefined) return;
    const refused = await it.runToItsEnd("--", "--no-such-flag");
    assert.equal(refused.code, 1);
    assert.match(refused.stderr, /MR6002/);
    const none = await runMeshroot(["proxy", "run", join(it.dir, "certs")]);
    assert.equal(none.code, 2);
    assert.match(none.stderr, /MR5002 .* is not the folder of a proxy/);
  });
});
