/** What a server says by itself: role edits, keys that others may read, and the admin socket's answers to nonsense. */

import assert from "node:assert/strict";
import { chmod, readFile, rename, rm, writeFile } from "node:fs/promises";
import { request } from "node:http";
import { join } from "node:path";
import { test } from "node:test";
import { adminSocketPath } from "../../src/serve/sockets.ts";
import { askForNext, NEXT, say } from "../support/operator.ts";
import { startRawProxy } from "../support/raw-proxy.ts";
import { FIRST, startServer, until } from "../support/server.ts";

test("every role edit is logged with root, old and new role, whoever made it; what did not change is not", async (t) => {
  const server = await startServer(t);
  await askForNext(server);
  await until("the signer has moved", () => server.running.status().signer === NEXT);
  await server.setRole(FIRST, "inactive");
  await until("the bundle follows", () => server.running.status().trusted.join() === NEXT);
  await server.removeRoot(FIRST);
  await server.logged(new RegExp(`^root ${FIRST}: role inactive -> none$`));
  const edits = server.log.filter(({ message }) => /^root .*: role /.test(message));
  assert.deepEqual(
    edits.map(({ level, component, root, from, to }) => [level, component, root, from, to]),
    [
      ["info", "rotation", NEXT, "none", "passive"],
      ["info", "rotation", NEXT, "passive", "active"],
      ["info", "rotation", FIRST, "active", "passive"],
      ["info", "rotation", FIRST, "passive", "inactive"],
      ["info", "rotation", FIRST, "inactive", "none"],
    ],
  );
});

test("a CA's key that others may read is warned of at the start, once, with the command that mends it", async (t) => {
  const server = await startServer(t);
  const path = join(server.config.dataDir, "secrets/osm-system/osm-ca-bundle.yaml");
  const warnings = () => server.log.filter(({ message }) => /others than its owner may open it/.test(message));
  assert.deepEqual(warnings(), [], "what meshroot writes is closed");
  await server.running.stop();
  await chmod(path, 0o644);
  await server.start();
  const [warning, ...more] = warnings();
  assert.deepEqual([warning?.level, warning?.path, warning?.mode, more], ["warn", path, "644", []]);
  assert.match(String(warning?.hint), /^Run `chmod 600 .*osm-ca-bundle\.yaml`/);
});

test("an operator's word that can't be written down is an error, and not in force", async (t) => {
  const server = await startServer(t);
  const cart = startRawProxy(server, await server.credential("cart.shop"));
  await until("served", () => server.running.status().proxies[0]?.leafExpires !== undefined);
  cart.leave();
  await until("gone", () => server.running.status().proxies[0]?.connected === false);
  const state = join(server.config.dataDir, "state");
  await rename(state, `${state}.away`);
  await writeFile(state, "not a folder");
  for (const action of ["forget", "assume"] as const)
    await assert.rejects(say(server, action, cart.uuid), ({ code }: { code: string }) => /^MR200[24]$/.test(code));
  const { forgotten, assumed } = server.running.status().proxies[0] ?? {};
  assert.deepEqual([forgotten, assumed], [undefined, undefined]);
  assert.ok(server.log.every(({ component }) => component !== "audit"));
  await rm(state);
  await rename(`${state}.away`, state);
  await say(server, "forget", cart.uuid);
  const rows = (await readFile(join(state, "ledger.jsonl"), "utf8")).trimEnd().split("\n");
  assert.equal(JSON.parse(rows.at(-1) ?? "").v.forgotten.reason, "test", "on disk before the answer");
});

test("the admin socket answers nonsense with MR5002, and what it does not know with 404", async (t) => {
  const server = await startServer(t);
  const post = (path: string, body: string) =>
    new Promise<{ status: number | undefined; text: string }>((resolve, reject) => {
      const call = request({ socketPath: adminSocketPath(server.config.dataDir), method: "POST", path }, (response) => {
        let text = "";
        response.setEncoding("utf8").on("data", (chunk: string) => {
          text += chunk;
        });
        response.on("end", () => resolve({ status: response.statusCode, text }));
      });
      call.on("error", reject);
      call.end(body);
    });
  for (const [path, body] of [
    ["/v1/operator", "{"],
    ["/v1/operator", "{}"],
    ["/v1/operator", JSON.stringify({ action: "destroy", name: "x", reason: "y" })],
    ["/v1/operator", JSON.stringify({ action: "forget", name: "x", reason: "y", more: 1 })],
    ["/v1/bootstrap", "null"],
  ] as const) {
    const { status, text } = await post(path, body);
    assert.equal(status, 400, body);
    assert.equal(JSON.parse(text).code, "MR5002", body);
  }
  assert.equal((await post("/v1/nothing", "{}")).status, 404);
});
