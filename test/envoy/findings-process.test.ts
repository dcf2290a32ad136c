/** Findings of xds-protocol.md that are no Envoy's answer to a secret: X10, how Envoy lives and dies; X5, what grpc-js does. */

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, type TestContext, test } from "node:test";
import { Client, credentials, Server, ServerCredentials, type ServerDuplexStream, status } from "@grpc/grpc-js";
import { stringify } from "yaml";
import { ENVOY_VERSIONS } from "../../src/envoy/binary.ts";
import { AGGREGATED } from "../../src/xds/services.ts";
import { temporaryDirectory } from "../support/data-dir.ts";
import { envoyOrSkip, eventually } from "../support/envoy.ts";

const ADMIN = { admin: { address: { socket_address: { address: "127.0.0.1", port_value: 0 } } } };

describe("how Envoy lives and dies", { concurrency: true }, () => {
  for (const [index, version] of ENVOY_VERSIONS.entries()) {
    test(`X10 Envoy ${version} dies with its parent, unless --disable-hot-restart`, async (t) => {
      const found = await envoyOrSkip(t, version);
      if (found === undefined) return;
      // A base id of its own: hot restart's shared memory would meet that of another Envoy on this machine.
      const child = await orphan(t, found.path, ["--base-id", String(process.pid * ENVOY_VERSIONS.length + index)]);
      await eventually("the orphan has ended", () => !isAlive(child));
      const survivor = await orphan(t, found.path, ["--disable-hot-restart"]);
      // What would have ended it came at its parent's death, which is past once its admin interface has answered.
      assert.ok(isAlive(survivor), "proxy run: a crash of ours must not take the data plane down");
    });
  }
});

/** Starts Envoy from a shell that waits until it is up, and then dies by SIGKILL; returns Envoy's pid. */
async function orphan(t: TestContext, binary: string, args: readonly string[]): Promise<number> {
  const dir = await temporaryDirectory(t);
  const bootstrap = join(dir, "bootstrap.yaml");
  const address = join(dir, "admin-address");
  await writeFile(bootstrap, stringify(ADMIN));
  const options = [
    "-c",
    bootstrap,
    "--admin-address-path",
    address,
    "--log-level",
    "error",
    "--concurrency",
    "1",
    ...args,
  ];
  const shell = spawn("sh", ["-c", '"$@" >/dev/null 2>&1 & echo $!; wait', "sh", binary, ...options], {
    stdio: ["ignore", "pipe", "ignore"],
  });
  let printed = "";
  shell.stdout.on("data", (data: Buffer) => {
    printed += data.toString();
  });
  await eventually("Envoy's pid is printed", () => printed.includes("\n"));
  const pid = Number(printed);
  t.after(() => {
    if (isAlive(pid)) process.kill(pid, "SIGKILL");
  });
  await eventually("Envoy is up", async () => (await readFile(address, "utf8").catch(() => "")) !== "");
  const ended = new Promise((resolve) => shell.once("exit", resolve));
  shell.kill("SIGKILL");
  await ended;
  const up = await readFile(address, "utf8");
  // The death of its parent has reached it, or never will: the kernel signals as part of that death.
  if (isAlive(pid)) await fetch(`http://${up}/ready`).catch(() => undefined);
  return pid;
}

/** A zombie has ended. */
function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

test("X5 grpc-js: the age of a connection alone ends no stream; with a grace period the client sees UNAVAILABLE", async (t) => {
  /** Milliseconds until the stream ended, and how; undefined: it was still there after ten times the age. */
  const outcome = async (options: Record<string, number>) => {
    const server = new Server({ "grpc.max_connection_age_ms": 100, ...options });
    const { sotw } = AGGREGATED;
    server.addService({ sotw }, { sotw: (call: ServerDuplexStream<Buffer, Buffer>) => call.resume() });
    const port = await new Promise<number>((resolve, reject) =>
      server.bindAsync("127.0.0.1:0", ServerCredentials.createInsecure(), (error, bound) =>
        error === null ? resolve(bound) : reject(error),
      ),
    );
    const client = new Client(`127.0.0.1:${port}`, credentials.createInsecure());
    t.after(() => {
      client.close();
      server.forceShutdown();
    });
    const call = client.makeBidiStreamRequest(sotw.path, sotw.requestSerialize, sotw.responseDeserialize);
    call.on("error", () => undefined);
    const ended = new Promise<number>((resolve) => call.on("status", ({ code }) => resolve(code)));
    call.resume();
    call.write(Buffer.alloc(0));
    const late = new Promise<undefined>((resolve) => setTimeout(resolve, 1_000, undefined).unref());
    return await Promise.race([ended, late]);
  };
  assert.equal(await outcome({}), undefined, "R75: so the application has to end streams");
  assert.equal(await outcome({ "grpc.max_connection_age_grace_ms": 100 }), status.UNAVAILABLE, "R75: and with OK");
});
