/** Proxies that come and go leave nothing behind in the server's heap (R70, R71), however they go. */

import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { bootstrapFrom } from "../support/e2e-server.ts";
import type { Cost } from "../support/measured-child.ts";
import { startMeasured } from "../support/measured-server.ts";
import { median } from "../support/median.ts";
import { MESH_NAMES } from "../support/raw-proxy.ts";
import { tlsOf } from "../support/server.ts";
import { type ClientTls, xdsClient } from "../support/xds-client.ts";

/** After the first thousands the allocator gives back much at once, and takes some of it again. */
const WARM_UP = 3_500;
const CYCLES = 3_500;
/** The allocator takes or gives back a piece at any time, so the median of several counts. */
const BATCHES = 7;
const PROXIES = 10;
/** For each connection. Any object that stayed would hold its stream, its call and its session: several times this. */
const HEAP_BYTES = 500;
/** Less than one client certificate as OpenSSL holds it, which Node 24.21.0 does not let go of. */
const NATIVE_BYTES = 2_500;

const METHODS = ["secrets", "deltaSecrets", "ads", "deltaAds"] as const;
const ENDINGS = ["half-close", "cancel", "close", "no answer"] as const;

/** Connects, gets its secrets, and goes in the way that `number` says. */
async function comeAndGo(port: number, tls: ClientTls, id: string, number: number): Promise<void> {
  const method = METHODS[number % METHODS.length] ?? "secrets";
  const ending = ENDINGS[Math.floor(number / METHODS.length) % ENDINGS.length];
  const client = xdsClient(port, tls);
  const options = { node: { id, cluster: "soak" } };
  const isDelta = method === "deltaSecrets" || method === "deltaAds";
  const stream = isDelta
    ? client[method](options).request({ subscribe: MESH_NAMES })
    : client[method](options).request({ names: MESH_NAMES });
  await stream.next(undefined, 60_000);
  if (ending !== "no answer") {
    stream.ack();
    await stream.next(undefined, 60_000);
    stream.ack();
  }
  if (ending === "half-close") await stream.end().ended;
  if (ending === "cancel") await stream.cancel();
  client.close();
  if (ending !== "half-close") await stream.cancel();
}

test(`R70 R71 the heap is flat after ${CYCLES} connections that came and went`, async (t: TestContext) => {
  const dir = await mkdtemp(join(tmpdir(), "meshroot-soak-"));
  const dataDir = join(dir, "data");
  const ports = { xdsPort: "0", httpPort: "0", healthPort: "0", bind: "127.0.0.1" };
  const flags = { ...ports, dataDir, logLevel: "error", streamRate: "999999", rootKeyAlgorithm: "ec-p256" };
  const server = await startMeasured({ start: "product", flags }, ["--expose-gc"]);
  t.after(async () => {
    await server.stop();
    await rm(dir, { recursive: true, force: true });
  });
  const proxies: { readonly tls: ClientTls; readonly id: string }[] = [];
  for (let index = 0; index < PROXIES; index++) {
    const request = { serviceAccount: `sa-${index}`, namespace: "soak", kind: "sidecar" } as const;
    const answer = await bootstrapFrom(dataDir, request);
    proxies.push({ tls: tlsOf(answer), id: answer.proxy.uuid });
  }
  let number = 0;
  const run = async (cycles: number) => {
    const end = number + cycles;
    const workers = proxies.map(async ({ tls, id }) => {
      while (number < end) await comeAndGo(server.xdsPort, tls, id, number++);
    });
    await Promise.all(workers);
  };
  await run(WARM_UP);
  const costs: Cost[] = [await server.measure()];
  while (costs.length <= BATCHES) {
    await run(CYCLES / BATCHES);
    costs.push(await server.measure());
  }
  const growth = (what: "heapBytes" | "nativeBytes") => {
    const each = costs.slice(1).map((cost, index) => (cost[what] - (costs[index]?.[what] ?? 0)) / (CYCLES / BATCHES));
    const middle = median(each);
    t.diagnostic(
      `${what}: ${costs.map((cost) => Math.round(cost[what] / 1024)).join(", ")} KiB: ${middle.toFixed(0)} bytes a connection`,
    );
    return middle;
  };
  assert.ok(growth("heapBytes") < HEAP_BYTES, "the heap keeps something of each connection");
  assert.ok(growth("nativeBytes") < NATIVE_BYTES, "memory outside the heap is kept for each connection");
  const metrics = await (await fetch(`http://127.0.0.1:${server.httpPort}/metrics`)).text();
  assert.match(metrics, /^meshroot_xds_streams 0$/m);
});
