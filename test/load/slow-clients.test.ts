/** D3: clients that begin and never finish. Proxies get in beside them, and the server can always open its own files. */

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { writeFile } from "node:fs/promises";
import { connect as connectHttp2 } from "node:http2";
import { connect, type Socket } from "node:net";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { connect as connectTls } from "node:tls";
import { fileURLToPath } from "node:url";
import { requestBootstrap, serverStatus } from "../../src/access/admin-client.ts";
import { connectionBudget } from "../../src/runtime/open-files.ts";
import { adminSocketPath } from "../../src/serve/sockets.ts";
import { temporaryDirectory } from "../support/data-dir.ts";
import { grpcCaller } from "../support/grpc-call.ts";
import { manifest } from "../support/roots.ts";
import { startServer, tlsOf, until } from "../support/server.ts";
import { xdsClient } from "../support/xds-client.ts";

const BIN = fileURLToPath(new URL("../../bin/meshroot.js", import.meta.url));
/** The beginning of a ClientHello, whose end never comes. */
const HELLO = Buffer.concat([Buffer.from("1603010200010001fc0303", "hex"), Buffer.alloc(400, 1)]);

/** Connects and sends `bytes` one by one; its end is noted. */
function trickle(t: TestContext, where: { port: number } | { path: string }, bytes: Buffer) {
  const socket: Socket = connect("port" in where ? { ...where, host: "127.0.0.1" } : where);
  const state = { connected: false, closed: false };
  let sent = 0;
  const timer = setInterval(() => {
    if (sent < bytes.length && !socket.destroyed) socket.write(bytes.subarray(sent, ++sent));
  }, 100);
  socket.on("connect", () => {
    state.connected = true;
  });
  socket.on("error", () => undefined);
  socket.on("close", () => {
    state.closed = true;
    clearInterval(timer);
  });
  t.after(() => socket.destroy());
  socket.resume();
  return state;
}

/** `meshroot serve` with so many files at most. */
async function limited(t: TestContext, files: number) {
  const dataDir = join(await temporaryDirectory(t), "data");
  const ports = ["--xds-port", "0", "--http-port", "0", "--health-port", "0", "--root-key-algorithm", "ec-p256"];
  const args = [BIN, "serve", "--data-dir", dataDir, ...ports, "--log-format", "json"];
  const child = spawn("sh", ["-c", `ulimit -n ${files} && exec "$@"`, "sh", process.execPath, ...args]);
  t.after(async () => {
    child.kill("SIGKILL");
    await once(child, "close");
  });
  const output = { stdout: "", stderr: "" };
  child.stdout.setEncoding("utf8").on("data", (text) => {
    output.stdout += text;
  });
  child.stderr.setEncoding("utf8").on("data", (text) => {
    output.stderr += text;
  });
  await until("it serves", () => /bootstrap/.test(output.stdout));
  const http = /http:\/\/127\.0\.0\.1:\d+/.exec(output.stdout)?.[0] ?? "";
  return { dataDir, http, output };
}

test("D3: 300 sockets that send a ClientHello byte by byte, with 256 files: all closed, nobody kept out", async (t) => {
  const { dataDir, http, output } = await limited(t, 256);
  const credentials = await requestBootstrap(dataDir, { serviceAccount: "cart", namespace: "shop", kind: "sidecar" });
  assert.ok(credentials !== undefined);
  const slow = Array.from({ length: 300 }, () => trickle(t, { port: credentials.xdsPort }, HELLO));
  await until("all have come", () => slow.every(({ connected, closed }) => connected || closed));

  // As an Envoy does it: whoever finds no room comes again.
  await until("a proxy gets in", async () => {
    const client = xdsClient(credentials.xdsPort, tlsOf(credentials));
    t.after(() => client.close());
    const stream = client.secrets().request({ names: ["default"] });
    return stream.nextSecret("default", 30_000).then(
      () => true,
      () => false,
    );
  });
  assert.ok(
    slow.some(({ closed }) => !closed),
    "while some are still at it",
  );
  assert.equal((await fetch(`${http}/health/ready`)).status, 200);
  // Its files, sockets and folders: a new root is read, its CA is made, and the trust is saved.
  await writeFile(join(dataDir, "roots/next.yaml"), manifest("next", "passive"));
  await until("the new root is trusted", async () => (await serverStatus(dataDir))?.trusted.includes("next"));
  await until("all are closed", () => slow.every(({ closed }) => closed), 120_000);
  assert.doesNotMatch(output.stderr, /EMFILE|can't use/);
  const said = output.stderr.split("\n").filter((line) => /turned away/.test(line));
  assert.ok(said.length >= 1 && said.length <= 2, "said, and not 300 times");
  assert.match(
    await (await fetch(`${http}/metrics`)).text(),
    /meshroot_connections_turned_away_total\{door="xds",why="(late|crowded)"\} \d+/,
  );
});

test("D3: a handshake that is finished by whoever never asks for anything keeps no place", async (t) => {
  const server = await startServer(t);
  const { ca, certificate, key, serverName } = tlsOf(await server.credential("cart.shop"));
  const options = {
    host: "127.0.0.1",
    port: server.running.xdsPort,
    ca,
    cert: certificate,
    key,
    servername: serverName,
  };
  const mute = connectTls({ ...options, ALPNProtocols: ["h2"] });
  const muteEnd = once(mute.on("error", () => undefined).resume(), "close");
  const session = connectHttp2(`https://127.0.0.1:${server.running.xdsPort}`, options);
  const preface = once(
    session.on("error", () => undefined),
    "close",
  );
  t.after(() => {
    mute.destroy();
    session.destroy();
  });
  await Promise.all([muteEnd, preface]);
});

test("D3: HTTP, its socket and the health port: slow heads, slow bodies and silence are cut off, and the others are answered", async (t) => {
  const server = await startServer(t);
  const head = Buffer.from(`GET /health/ready HTTP/1.1\r\nhost: x\r\nx-slow: ${"a".repeat(4_000)}`);
  const body = Buffer.from(`POST /v1/operator HTTP/1.1\r\nhost: x\r\ncontent-length: 9999\r\n\r\n${" ".repeat(9_000)}`);
  const { httpPort, healthPort } = server.running;
  const path = adminSocketPath(server.config.dataDir);
  const doors = [{ port: httpPort }, { path }, { port: healthPort }];
  const slow = doors.flatMap((where) =>
    [head, body, Buffer.alloc(0)].flatMap((bytes) => Array.from({ length: 40 }, () => trickle(t, where, bytes))),
  );
  await until("all have come", () => slow.every(({ connected, closed }) => connected || closed));
  assert.equal((await server.http("/health/ready")).status, 200);
  assert.ok((await serverStatus(server.config.dataDir)) !== undefined);
  const answer = await grpcCaller(t, `127.0.0.1:${healthPort}`).unary<{ status: string }>(
    "grpc.health.v1.Health",
    "Check",
    {
      service: "",
    },
  );
  assert.equal(answer.status, "SERVING");
  await until("all are closed", () => slow.every(({ closed }) => closed), 120_000);
});

test("D3: a request of more than it can need is refused", async (t) => {
  const server = await startServer(t);
  const socket = connect(adminSocketPath(server.config.dataDir));
  t.after(() => socket.destroy());
  socket.write(`POST /v1/operator HTTP/1.1\r\nhost: x\r\ncontent-length: 999999\r\n\r\n`);
  const [answer] = (await once(socket, "data")) as [Buffer];
  assert.match(answer.toString(), /^HTTP\/1.1 413 /);
});

test("D3: every limit on open files leaves room for our own", () => {
  for (const limit of [256, 512, 1_024, 4_096, 65_536, 1_048_576]) {
    const { xds, xdsStrangers, each } = connectionBudget(limit);
    assert.ok(xds + 4 * each + 64 <= limit, `${limit}`);
    assert.ok(xdsStrangers < xds && xdsStrangers >= 30);
  }
  const unlimited = connectionBudget(Number.POSITIVE_INFINITY);
  assert.deepEqual([unlimited.xds, unlimited.xdsStrangers], [Number.POSITIVE_INFINITY, 4_096]);
});
