/** Who may open the server's sockets, and whose sockets the commands believe. */

import assert from "node:assert/strict";
import { once } from "node:events";
import { chmod, chown, lstat, mkdir, readdir, rename, rm, stat, symlink, writeFile } from "node:fs/promises";
import { createServer, type RequestListener, request } from "node:http";
import type { AddressInfo } from "node:net";
import { dirname, join } from "node:path";
import { type TestContext, test } from "node:test";
import { requestBootstrap, requestOperation, serverStatus } from "../../src/access/admin-client.ts";
import { envoyAdmin } from "../../src/envoy/admin.ts";
import { ADMIN_SOCKET, adminSocketPath, grpcSocketPath, placeSocket, trustedSocket } from "../../src/serve/sockets.ts";
import { temporaryDirectory } from "../support/data-dir.ts";
import { runMeshroot, startMeshroot } from "../support/run-meshroot.ts";
import { prepareServer, startServer, until } from "../support/server.ts";

const CART = { serviceAccount: "cart", namespace: "shop", kind: "sidecar" } as const;

/** Too long for a socket. */
async function longDataDir(t: TestContext): Promise<string> {
  return join(await temporaryDirectory(t), "a".repeat(60), "b".repeat(60), "data");
}

/** A server of somebody else at the place of the admin socket. */
async function playServer(t: TestContext, dataDir: string, answer: RequestListener): Promise<void> {
  await mkdir(dataDir, { recursive: true });
  const server = createServer(answer).listen(join(dataDir, ADMIN_SOCKET));
  await once(server, "listening");
  t.after(() => {
    server.closeAllConnections();
    server.close();
  });
}

/** Run as root it gives the path away; else the one who looks is somebody else. Returns who looks. */
async function toAnother(path: string): Promise<number> {
  const me = process.geteuid?.() ?? assert.fail("users have numbers");
  if (me !== 0) return me + 1;
  const { lchown } = await import("node:fs/promises");
  await lchown(path, 12_345, 12_345);
  return 54_321;
}

test("D5: with a long --data-dir sockets lie in a folder of our own, whose name nobody can guess", async (t) => {
  const dataDir = await longDataDir(t);
  const server = await startServer(t, { dataDir });
  const paths = [adminSocketPath(dataDir), grpcSocketPath(dataDir)];
  for (const path of paths) {
    assert.match(dirname(path), /\/meshroot-[A-Za-z0-9]{6}$/);
    assert.equal((await stat(dirname(path))).mode & 0o777, 0o700);
    assert.equal((await lstat(path)).mode & 0o777, 0o600);
  }
  assert.equal((await serverStatus(dataDir))?.live, true);
  assert.equal((await requestBootstrap(dataDir, CART))?.proxy.serviceAccount, "cart");
  await server.running.stop();
  for (const path of paths) await assert.rejects(lstat(dirname(path)), { code: "ENOENT" }, "nothing is left behind");
  assert.deepEqual((await readdir(dataDir)).sort(), ["roots", "secrets", "state"]);
  assert.equal(await serverStatus(dataDir), undefined);
});

test("D5: what a killed server left is replaced, with the folder that it lay in", async (t) => {
  const dataDir = await longDataDir(t);
  await mkdir(dataDir, { recursive: true });
  const listen = async (path: string) => writeFile(path, "");
  const left = await placeSocket(dataDir, ADMIN_SOCKET, listen);
  const before = adminSocketPath(dataDir);
  const now = await placeSocket(dataDir, ADMIN_SOCKET, listen);
  assert.notEqual(adminSocketPath(dataDir), before);
  await assert.rejects(lstat(dirname(before)), { code: "ENOENT" });
  await left.remove();
  await now.remove();
  // A link that somebody put there leads to nothing of ours: only the link goes.
  const strange = join(await temporaryDirectory(t), "admin.sock");
  await writeFile(strange, "mine");
  await symlink(strange, join(dataDir, ADMIN_SOCKET));
  await (await placeSocket(dataDir, ADMIN_SOCKET, listen)).remove();
  assert.equal((await stat(strange)).size, 4);
});

test("D5: another user's socket, folder or link is not believed", async (t) => {
  const dataDir = await longDataDir(t);
  const server = await prepareServer(t, { dataDir });
  const link = join(dataDir, ADMIN_SOCKET);
  const parts: [string, (path: string) => string][] = [
    ["socket", (path) => path],
    ["folder", dirname],
    ["link", () => link],
  ];
  for (const [what, part] of parts) {
    const running = await server.start();
    const uid = await toAnother(part(adminSocketPath(dataDir)));
    await assert.rejects(trustedSocket(dataDir, ADMIN_SOCKET, uid), { code: "MR5011" }, what);
    await running.stop();
  }
  await server.start();
  const path = adminSocketPath(dataDir);
  assert.equal(await trustedSocket(dataDir, ADMIN_SOCKET), path);
  await chmod(dirname(path), 0o755);
  await assert.rejects(requestBootstrap(dataDir, CART), /MR5011 .*others than its owner may use it/);
  await rm(link);
  await writeFile(link, "");
  await assert.rejects(serverStatus(dataDir), /MR5011 .*not what meshroot puts there/);
});

test("D5: another user's socket in the data directory itself: no command believes it", async (t) => {
  const dataDir = join(await temporaryDirectory(t), "data");
  const asked: string[] = [];
  await playServer(t, dataDir, (incoming, outgoing) => {
    asked.push(incoming.url ?? "");
    outgoing.end("{}");
  });
  const uid = await toAnother(join(dataDir, ADMIN_SOCKET));
  await assert.rejects(trustedSocket(dataDir, ADMIN_SOCKET, uid), { code: "MR5011" });
  if (process.geteuid?.() !== 0) return;
  const { code, stderr } = await runMeshroot(["proxy", "bootstrap", "cart.shop", "--data-dir", dataDir]);
  assert.equal(code, 1);
  assert.match(stderr, /^error: MR5011 .*belongs to user 12345\nhint: Run the command as the user that the server/);
  assert.deepEqual(asked, []);
  await chown(dataDir, 12_345, 12_345);
  assert.equal(await trustedSocket(dataDir, ADMIN_SOCKET), join(dataDir, ADMIN_SOCKET), "root looks at another's mesh");
});

test("D5: every answer is looked at before it is believed", async (t) => {
  const real = await startServer(t);
  const good = await real.credential("cart.shop");
  const other = await real.credential("pay.shop");
  const status = (await serverStatus(real.config.dataDir)) ?? assert.fail();
  const dataDir = join(await temporaryDirectory(t), "data");
  let answer: unknown;
  let code = 200;
  await playServer(t, dataDir, (_incoming, outgoing) => {
    outgoing.writeHead(code).end(typeof answer === "string" ? answer : JSON.stringify(answer));
  });
  const bootstraps: [string, unknown][] = [
    ["no JSON", "{"],
    ["nothing", {}],
    ["another's", other],
    ["another's certificate", { ...good, certPem: other.certPem, keyPem: other.keyPem }],
    ["another's key", { ...good, keyPem: other.keyPem }],
    ["no bundle", { ...good, caPem: "" }],
    ["a key as bundle", { ...good, caPem: good.keyPem }],
    ["no port", { ...good, xdsPort: 0 }],
    ["a path for a uuid", { ...good, proxy: { ...good.proxy, uuid: "../../x" } }],
    ["a line in a name", { ...good, serverName: "a\nb: c" }],
    ["more than was asked", { ...good, files: { "../x": "y" } }],
  ];
  for (const [what, value] of bootstraps) {
    answer = value;
    await assert.rejects(requestBootstrap(dataDir, CART), { code: "MR5004" }, what);
  }
  answer = good;
  assert.deepEqual(await requestBootstrap(dataDir, CART), good);
  for (const value of [null, [], { ...status, roots: [{}] }, { ...status, holds: undefined }, { live: true }]) {
    answer = value;
    await assert.rejects(serverStatus(dataDir), { code: "MR5004" }, JSON.stringify(value));
  }
  answer = { ...status, fromTheFuture: 1 };
  assert.deepEqual(await serverStatus(dataDir), answer, "what a newer server adds is no harm");
  answer = { proxy: "x" };
  const forget = { action: "forget", name: "x", reason: "y" } as const;
  await assert.rejects(requestOperation(dataDir, forget), { code: "MR5004" });
  code = 400;
  for (const [value, expected] of [
    [{}, "MR5004"],
    [{ code: "toString", message: "a", hint: "b" }, "MR5004"],
    [{ code: "MR5005", message: "a", hint: "b" }, "MR5005"],
  ] as const) {
    answer = value;
    await assert.rejects(requestOperation(dataDir, forget), { code: expected });
  }
});

/** Sends a body without end, as fast as it is taken. */
const endless: RequestListener = (_incoming, outgoing) => {
  const chunk = Buffer.alloc(1024 * 1024, "a");
  const more = () => {
    while (!outgoing.destroyed && outgoing.write(chunk));
  };
  outgoing.on("drain", more);
  more();
};

test("D10: an endless answer, of an Envoy's admin port or of our own socket, ends at a limit", async (t) => {
  const dataDir = join(await temporaryDirectory(t), "data");
  await playServer(t, dataDir, endless);
  await assert.rejects(serverStatus(dataDir), /MR5004 .*longer than 64 MiB/);
  const admin = createServer(endless).listen(0, "127.0.0.1");
  await once(admin, "listening");
  t.after(() => {
    admin.closeAllConnections();
    admin.close();
  });
  const address = `127.0.0.1:${(admin.address() as AddressInfo).port}`;
  await assert.rejects(envoyAdmin(address, 60_000, 1024 * 1024).certs(), /MR5004 .*longer than 1 MiB/);
  await assert.rejects(envoyAdmin(address, 60_000).stats(), /MR5004 .*longer than 32 MiB/);
});

test("D10: a question without end is refused by the server", async (t) => {
  const server = await startServer(t);
  const call = request({ socketPath: adminSocketPath(server.config.dataDir), method: "POST", path: "/v1/operator" });
  const answered = once(call, "response");
  call.on("error", () => undefined);
  call.write(Buffer.alloc(1024 * 1024, " "));
  const [response] = await answered;
  assert.equal(response.statusCode, 413);
  call.destroy();
});

test("D10: a socket is its owner's from the moment that it can be connected to", async (t) => {
  const directory = await temporaryDirectory(t);
  await chmod(directory, 0o777);
  const seen: number[] = [];
  for (const name of ["short", "long".repeat(30)]) {
    const dataDir = join(directory, name);
    await mkdir(dataDir, { mode: 0o777 });
    await chmod(dataDir, 0o777);
    const { server, remove } = await placeSocket(dataDir, ADMIN_SOCKET, async (path) => {
      const listening = createServer().listen(path);
      await once(listening, "listening");
      seen.push((await stat(dirname(path))).mode & 0o777);
      return listening;
    });
    const path = adminSocketPath(dataDir);
    assert.equal((await lstat(path)).mode & 0o777, 0o600);
    server.close();
    await remove();
    assert.deepEqual(await readdir(dataDir), []);
  }
  assert.deepEqual(seen, [0o700, 0o700]);
});

test("D10: what a crash between binding and placing left is swept up", async (t) => {
  const dataDir = await temporaryDirectory(t);
  await mkdir(join(dataDir, ".sAbc123"));
  await writeFile(join(dataDir, ".sAbc123", "s"), "");
  await mkdir(join(dataDir, ".snapshots"));
  const { remove } = await placeSocket(dataDir, ADMIN_SOCKET, async (path) => writeFile(path, ""));
  await remove();
  assert.deepEqual(await readdir(dataDir), [".snapshots"]);
  await rename(join(dataDir, ".snapshots"), join(dataDir, "kept"));
});

test("D10: SIGUSR1 opens no inspector, and ends nothing", async (t) => {
  const dataDir = join(await temporaryDirectory(t), "data");
  const ports = ["--xds-port", "0", "--http-port", "0", "--health-port", "0", "--root-key-algorithm", "ec-p256"];
  const server = startMeshroot(t, ["serve", "--data-dir", dataDir, ...ports], { NO_COLOR: "1" });
  await until("the banner", () => server.output.stdout.endsWith("\n"));
  const url = /http:\/\/127\.0\.0\.1:\d+/.exec(server.output.stdout)?.[0];
  for (let times = 0; times < 3; times++) {
    server.signal("SIGUSR1");
    assert.equal((await fetch(`${url}/health/alive`)).status, 200);
  }
  server.signal("SIGTERM");
  const { code, stderr } = await server.finished;
  assert.equal(code, 0);
  assert.doesNotMatch(stderr, /Debugger|inspector/i);
});
