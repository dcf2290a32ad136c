/** E13: a mesh that saw a hundred thousand short-lived proxies costs what the living ones cost. */

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { Server, ServerCredentials } from "@grpc/grpc-js";
import type { ClientStatusResponse } from "../../src/ops/client-status-messages.ts";
import { temporaryDirectory } from "../support/data-dir.ts";
import { grpcCaller } from "../support/grpc-call.ts";
import { CREDENTIAL_MS, LEAF_MS, startCrowd } from "../support/short-lived.ts";

const VISITORS = 100_000;
const LIVING = 20;
/** So many come at once: what a server issues in one burst (E15). */
const CROWD = 100;
/** So many come in five hours. */
const WAVE = 10_000;
const HOUR_MS = 3_600_000;
/** A row and all that belongs to it is more than 2 KB: what is kept of the visitors would be 200 MB. */
const HEAP_BYTES = 10 * 1024 * 1024;

setFlagsFromString("--expose-gc");
const collectGarbage = runInNewContext("gc") as () => void;

function heapUsed(): number {
  collectGarbage();
  return process.memoryUsage().heapUsed;
}

test(`E13 ${VISITORS} short-lived proxies leave nothing in ledger, keys, CSDS, files and memory`, async (t) => {
  const dataDir = await temporaryDirectory(t);
  const crowd = await startCrowd(dataDir);
  t.after(() => crowd.stop());
  const { controller, issuer, side } = crowd;
  const rows = async () => (await readFile(join(dataDir, "state", "ledger.jsonl"), "utf8")).trim().split("\n");
  const server = new Server();
  side.addToOperatorSocket(server);
  t.after(() => server.forceShutdown());
  const port = await new Promise<number>((resolve, reject) =>
    server.bindAsync("127.0.0.1:0", ServerCredentials.createInsecure(), (error, bound) =>
      error === null ? resolve(bound) : reject(error),
    ),
  );
  const inCsds = async () => {
    const service = "envoy.service.status.v3.ClientStatusDiscoveryService";
    const caller = grpcCaller(t, `127.0.0.1:${port}`);
    return (await caller.unary<ClientStatusResponse>(service, "FetchClientStatus", {})).config.length;
  };

  const come = (count: number) => Promise.all(Array.from({ length: count }, () => crowd.visit()));
  await come(LIVING);
  await crowd.pass(1_000);
  const before = heapUsed();
  let peak = 0;
  for (let seen = 0; seen < VISITORS; ) {
    for (let inWave = 0; inWave < WAVE; inWave += CROWD) {
      const gone = await come(CROWD);
      for (const go of gone) go();
      seen += CROWD;
    }
    await crowd.pass(5 * HOUR_MS);
    peak = Math.max(peak, controller.ledger.proxies.size);
  }
  assert.equal(issuer.size, LIVING, "keys leave as soon as their leaves have expired");
  assert.ok(peak > 2 * WAVE, "rows stay for as long as a credential may come back");
  await crowd.pass(LEAF_MS + CREDENTIAL_MS + HOUR_MS);
  await crowd.pass(60_000);
  assert.equal(controller.ledger.proxies.size, LIVING);
  assert.equal(issuer.size, LIVING);
  assert.equal(await inCsds(), LIVING);
  const after = heapUsed();
  await crowd.stop();
  const lines = await rows();
  assert.equal(lines.length, LIVING + 1, "a header, and the living");
  const kept = after - before;
  t.diagnostic(
    `${peak} rows at most; heap ${Math.round(before / 1024)} KiB before, ${Math.round(kept / 1024)} KiB more after`,
  );
  assert.ok(kept < HEAP_BYTES, `${kept} bytes are kept of proxies that are gone`);
});
