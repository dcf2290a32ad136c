/** E13: a proxy that is gone leaves the server by itself, and what is kept of it goes, too. */

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { startRawProxy } from "../support/raw-proxy.ts";
import { startServer, until } from "../support/server.ts";

const HOUR_MS = 3_600_000;

test("E13 a proxy leaves by itself an hour after its leaf and its credential have expired; the log says so", async (t) => {
  const server = await startServer(t, { leafValidity: "2h", xdsCertValidity: "3h" });
  const one = startRawProxy(server, await server.credential("cart.shop"));
  const proxies = () => server.running.status().proxies;
  await until("synced", () => proxies()[0]?.leafExpires !== undefined && proxies()[0]?.sync === "SYNCED");
  one.leave();
  await until("gone", () => proxies()[0]?.connected === false);
  // One look an hour: a server that has slept looks at the time anew.
  for (const hours of [1, 1, 1]) {
    server.shiftClock(hours * HOUR_MS);
    await server.replanned();
  }
  assert.equal(proxies().length, 1, "its credential has expired just now");
  server.shiftClock(1.1 * HOUR_MS);
  await until("retired", () => proxies().length === 0);
  const line = await server.logged(/^cart\.shop has left the ledger: its leaf and its xDS credentials have expired/);
  assert.deepEqual([line.component, line.action, line.proxy], ["audit", "retire", one.uuid]);
  await server.running.stop();
  const ledger = await readFile(join(server.config.dataDir, "state", "ledger.jsonl"), "utf8");
  await server.start();
  assert.deepEqual(proxies(), [], `not on disk either: ${ledger.split("\n").length} lines`);
});
