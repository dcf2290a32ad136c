/** D8: a disk that does not take what is written: said once, held, not ready; and all goes on by itself once it takes it again. */

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { openSync } from "node:fs";
import { readFile, rename, rm } from "node:fs/promises";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { fileURLToPath } from "node:url";
import type { WriteStep } from "../../src/runtime/atomic-write.ts";
import { temporaryDirectory } from "../support/data-dir.ts";
import { grpcCaller } from "../support/grpc-call.ts";
import { holdOf, NEXT, signerMoves } from "../support/operator.ts";
import { startRawProxy } from "../support/raw-proxy.ts";
import { FIRST, startServer, type TestServer, until } from "../support/server.ts";

const CODES: Readonly<Record<string, { readonly text: string; readonly hint: RegExp }>> = {
  ENOSPC: { text: "no space left on device", hint: /Make room on the disk/ },
  EDQUOT: { text: "disk quota exceeded", hint: /quota/ },
  EIO: { text: "i/o error", hint: /reports errors/ },
  EROFS: { text: "read-only file system", hint: /read-only/ },
  EMFILE: { text: "too many open files", hint: /ulimit -n/ },
};
const BEGINS = /nothing new is sent and nothing changes until it can be written/;
const ENDS = /the state can be written again/;

/** As Node reports it, the path of the unfinished file included. */
function fault(code: string, step: WriteStep, path: string): Error {
  return Object.assign(new Error(`${code}: ${CODES[code]?.text}, ${step} '${path}'`), { code });
}

async function health(t: TestContext, server: TestServer): Promise<string> {
  const caller = grpcCaller(t, `127.0.0.1:${server.running.healthPort}`);
  const answer = await caller.unary<{ status: string }>("grpc.health.v1.Health", "Check", { service: "" });
  return answer.status;
}

const metric = async (server: TestServer, name: string) =>
  (await server.http("/metrics")).text
    .split("\n")
    .find((line) => line.startsWith(`meshroot_${name} `))
    ?.split(" ")[1];
const lines = (server: TestServer, message: RegExp) => server.log.filter((line) => message.test(line.message));
const isSynced = (server: TestServer) => server.running.status().proxies.every(({ sync }) => sync === "SYNCED");

/** One proxy in sync, in step 3 of a rotation: two roots are trusted, the old one signs. */
async function inStep3(t: TestContext) {
  const server = await startServer(t);
  const credentials = await server.credential("cart.shop");
  const proxy = startRawProxy(server, credentials);
  await server.createRoot(NEXT);
  await until("next is trusted", () => server.running.status().trusted.includes(NEXT));
  await until("it is in sync", () => server.running.status().proxies.length === 1 && isSynced(server));
  return { server, credentials, proxy };
}

async function askForStep4(server: TestServer): Promise<void> {
  await server.setRole(NEXT, "active");
  await server.setRole(FIRST, "passive");
}

for (const [code, { hint }] of Object.entries(CODES)) {
  test(`D8: ${code} between steps 3 and 5: a hold, not ready, one line; then it goes on by itself`, async (t) => {
    const { server, proxy } = await inStep3(t);
    server.failDisk((step, path) => fault(code, step, path));
    await askForStep4(server);
    const hold = await holdOf(server, "StateNotWritable", "state");
    assert.match(hold.message, new RegExp(`^MR2002 can't write .*${code}: .*proxies go on with what they have`));
    assert.match(hold.message, hint);
    const ready = await server.http("/health/ready");
    assert.equal(ready.status, 503);
    assert.match(ready.text, new RegExp(`^MR2002 .*${code}`));
    assert.equal((await server.http("/health/alive")).status, 200);
    await until("gRPC health says so", async () => (await health(t, server)) === "NOT_SERVING");
    assert.equal(await metric(server, "state_writable"), "0");
    assert.match((await server.http("/metrics")).text, /gate_blocked\{gate="state"\} 1/);
    const failures = Number(await metric(server, "state_write_failures_total"));
    await until(
      "it is tried again",
      async () => Number(await metric(server, "state_write_failures_total")) > failures + 2,
    );
    assert.equal(server.running.status().signer, FIRST);
    assert.equal(lines(server, BEGINS).length, 1);
    assert.deepEqual(
      server.log.filter(({ err, level }) => err !== undefined && level === "error"),
      [],
      "no stacks",
    );

    server.failDisk(undefined);
    await signerMoves(server);
    await until("the proxy has a leaf under it", () => server.running.status().proxies[0]?.signedBy.join() === NEXT);
    await until("ready", async () => (await server.http("/health/ready")).status === 200);
    await until("gRPC health says so", async () => (await health(t, server)) === "SERVING");
    assert.equal(lines(server, BEGINS).length, 1);
    assert.equal(lines(server, ENDS).length, 1);
    assert.equal(await metric(server, "state_writable"), "1");
    assert.ok(proxy.answers.every(({ nack }) => nack === undefined));
  });
}

for (const step of ["open", "write", "append", "sync", "rename", "sync-directory"] as const) {
  test(`D8: the step "${step}" alone fails, in each file of the state`, async (t) => {
    const { server } = await inStep3(t);
    let failed = 0;
    server.failDisk((one, path) => {
      if (one !== step || !path.includes("/state")) return undefined;
      failed += 1;
      return fault("EIO", one, path);
    });
    await askForStep4(server);
    await until("it has failed", () => failed > 0);
    await holdOf(server, "StateNotWritable", "state");
    server.failDisk(undefined);
    await signerMoves(server);
    await until("no hold of the state", () => server.running.status().holds.every(({ gate }) => gate !== "state"));
  });
}

test("D8: an answer that could not be written down is written when the disk takes it", async (t) => {
  const { server, proxy } = await inStep3(t);
  const name = "root-cert-for-mtls-inbound";
  const ledger = join(server.config.dataDir, "state/ledger.jsonl");
  const slotOnDisk = async (): Promise<{ mayRun: unknown[]; acked?: string }> => {
    const row = JSON.parse((await readFile(ledger, "utf8")).trimEnd().split("\n").at(-1) ?? "");
    return row.v.slots.find((slot: { name: string }) => slot.name === name);
  };
  proxy.hold(true);
  await askForStep4(server);
  await until("a bundle is on its way", async () => (await slotOnDisk()).mayRun.length === 2);
  server.failDisk((step, path) => fault("ENOSPC", step, path));
  const before = proxy.accepted(name);
  proxy.hold(false);
  await until("it has answered", () => proxy.accepted(name) !== before);
  const version = proxy.accepted(name);
  await until("that was heard", () => server.running.status().proxies[0]?.versions[name] === version);
  await holdOf(server, "StateNotWritable", "state");
  assert.notEqual((await slotOnDisk()).acked, version);
  server.failDisk(undefined);
  await until("its ACK is on disk", async () => (await slotOnDisk()).acked === version);
});

test("D8: a disk that nothing is written to is tried, too; also one that was moved away", async (t) => {
  const { server } = await inStep3(t);
  server.failDisk((step, path) => fault("EROFS", step, path));
  server.shiftClock(11_000);
  await holdOf(server, "StateNotWritable", "state");
  server.failDisk(undefined);
  await until("it is over", () => server.running.status().holds.length === 0);
  const state = join(server.config.dataDir, "state");
  await rename(state, `${state}.away`);
  server.shiftClock(11_000);
  const hold = await holdOf(server, "StateNotWritable", "state");
  assert.match(hold.message, /moved away/);
  await rename(`${state}.away`, state);
  await until("it is over", () => server.running.status().holds.length === 0);
});

test("D8: a new root whose key can't be stored is a hold, and keeps nobody from planning", async (t) => {
  const { server } = await inStep3(t);
  server.failDisk((step, path) => (path.includes("/secrets") ? fault("ENOSPC", step, path) : undefined));
  await server.createRoot("third");
  await server.logged(/MR2002 root third: can't write .*third.*ENOSPC/);
  await server.removeRoot("third");
  await askForStep4(server);
  await signerMoves(server);
  assert.equal(lines(server, /planning failed/).length, 0);
});

test("D8: a start on a full disk says why not and changes nothing; with room, it starts", async (t) => {
  const { server } = await inStep3(t);
  await server.running.stop();
  server.failDisk((step, path) => fault("ENOSPC", step, path));
  await assert.rejects(server.start(), (error: Error & { code?: string; hint?: string }) => {
    assert.equal(error.code, "MR2002");
    assert.match(error.message, /can't make .*lock: ENOSPC: no space left on device/);
    assert.match(error.hint ?? "", /Nothing was changed, and proxies go on.*Make room/);
    return true;
  });
  server.failDisk(undefined);
  await server.start();
  assert.equal(server.running.status().generation, 2);
});

test("D8: a lock that could not be made durable is not left behind", async (t) => {
  const { server } = await inStep3(t);
  await server.running.stop();
  server.failDisk((step, path) => (step === "sync-directory" ? fault("EIO", step, path) : undefined));
  await assert.rejects(server.start(), { code: "MR2002", message: /lock: EIO/ });
  server.failDisk(undefined);
  await server.start();
});

test("D8: a start where the lock alone can be made serves what it has, and our own certificate from memory", async (t) => {
  const { server, credentials, proxy } = await inStep3(t);
  const version = proxy.accepted("default") ?? "";
  await server.running.stop();
  await rm(join(server.config.dataDir, "secrets/osm-system/meshroot-xds-server.yaml"));
  server.failDisk((step, path) =>
    path === server.config.dataDir || path.endsWith("lock") || path.includes(".lock.")
      ? undefined
      : fault("ENOSPC", step, path),
  );
  await server.start();
  const stream = server
    .client(credentials)
    .secrets()
    .request({ names: ["default"], version });
  await until("its leaf is resumed", () => server.running.status().proxies[0]?.sync === "SYNCED");
  await holdOf(server, "StateNotWritable", "state");
  assert.equal((await server.http("/health/ready")).status, 503);
  server.failDisk(undefined);
  await until("ready", async () => (await server.http("/health/ready")).status === 200);
  await until("our certificate is stored", () =>
    readFile(join(server.config.dataDir, "secrets/osm-system/meshroot-xds-server.yaml")).then(
      () => true,
      () => false,
    ),
  );
  await stream.cancel();
});

test("D8: a log on a full disk stops no server", async (t) => {
  const dataDir = join(await temporaryDirectory(t), "data");
  const bin = fileURLToPath(new URL("../../bin/meshroot.js", import.meta.url));
  const ports = ["--xds-port", "0", "--http-port", "0", "--health-port", "0", "--root-key-algorithm", "ec-p256"];
  const args = [bin, "serve", "--data-dir", dataDir, ...ports, "--log-level", "trace", "--log-format", "json"];
  const child = spawn(process.execPath, args, { stdio: ["ignore", "pipe", openSync("/dev/full", "w")] });
  t.after(() => child.kill("SIGKILL"));
  let banner = "";
  child.stdout?.setEncoding("utf8").on("data", (text: string) => {
    banner += text;
  });
  let ended: number | null | undefined;
  child.on("exit", (code) => {
    ended = code;
  });
  await until("it serves", () => ended !== undefined || /bootstrap/.test(banner));
  const url = /http:\/\/127\.0\.0\.1:\d+/.exec(banner)?.[0];
  for (let count = 0; count < 50; count++) assert.equal((await fetch(`${url}/health/ready`)).status, 200);
  assert.equal(ended, undefined);
});
