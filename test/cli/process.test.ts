/**
 * `bin/meshroot.js` in a process of its own. Most tests of commands run them in the test's process (`runMeshroot`): here is
 * shown that a process prints the same, ends by itself, and with the same exit code.
 */

import assert from "node:assert/strict";
import { join } from "node:path";
import { test } from "node:test";
import { temporaryDirectory } from "../support/data-dir.ts";
import { startRawProxy } from "../support/raw-proxy.ts";
import { manifest } from "../support/roots.ts";
import { type Finished, runMeshroot, spawnMeshroot } from "../support/run-meshroot.ts";
import { startServer, until } from "../support/server.ts";

type Line = { readonly args: readonly string[]; readonly code: number; readonly input?: string };

/** Runs each line both ways. None of them may change what another one prints. */
async function compare(lines: readonly Line[], dataDir: string): Promise<Finished[]> {
  const env = { MESHROOT_DATA_DIR: dataDir };
  const results: Finished[] = [];
  for (const { args, code, input = "" } of lines) {
    const own = await spawnMeshroot(args, { env, input });
    assert.deepEqual(own, await runMeshroot(args, { env, input }), args.join(" "));
    assert.equal(own.code, code, `${args.join(" ")}: ${own.stderr}`);
    assert.ok(own.stdout + own.stderr !== "", `${args.join(" ")} says something`);
    results.push(own);
  }
  return results;
}

test("without a server: version, usage, files, standard input", async (t) => {
  const dataDir = join(await temporaryDirectory(t), "data");
  const [first] = await compare([{ args: ["--version"], code: 0 }], dataDir);
  assert.match(first?.stdout ?? "", /^\d+\.\d+\.\d+\S*\n$/);
  await compare(
    [
      { args: ["root", "list", "--namespace", "Not.One"], code: 2 },
      { args: ["proxy", "get", "certs", "--admin", "127.0.0.1:1"], code: 5 },
      { args: ["root", "create", "-f", "-"], code: 1, input: manifest("a", "passive") },
    ],
    dataDir,
  );
  const input = manifest("a", "active");
  assert.equal((await runMeshroot(["root", "create", "-f", "-", "--data-dir", dataDir], { input })).code, 0);
  const [listed] = await compare([{ args: ["root", "list", "-o", "name"], code: 0 }], dataDir);
  assert.match(listed?.stdout ?? "", /\/a\n$/);
});

test("with a server, and on what it left: status, credentials, an operator's words", async (t) => {
  const server = await startServer(t);
  const { dataDir } = server.config;
  const proxy = startRawProxy(server, await server.credential("cart.shop"));
  await until("synced", () => server.running.status().proxies[0]?.leafExpires !== undefined);
  proxy.leave();
  await until("gone", () => server.running.status().proxies[0]?.connected === false);
  const out = join(await temporaryDirectory(t), "pay");
  assert.equal((await runMeshroot(["proxy", "bootstrap", "pay.shop", "--out", out, "--data-dir", dataDir])).code, 0);
  const status = { args: ["proxy", "status", "cart.shop", "-o", "json"], code: 0 };
  const bootstrap = { args: ["proxy", "bootstrap", "pay.shop", "--out", out], code: 0 };
  const forget = { args: ["proxy", "forget", "cart.shop", "--reason", "drill"], code: 0 };
  await compare([status, bootstrap], dataDir);
  await server.running.stop();
  await compare([status, bootstrap, forget], dataDir);
});
