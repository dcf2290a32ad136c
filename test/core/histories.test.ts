/**
 * The proof of the product: whatever happens, any two proxies that take part can talk at every moment, what runs is in the
 * ledger, and once the storm is over the mesh comes to what is desired.
 *
 * MESHROOT_HISTORIES sets how many histories run at most, in eight minutes, MESHROOT_SEED replays a run. A failure prints the shrunk history, and
 * the line that replays it with every message.
 */

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { availableParallelism } from "node:os";
import { text } from "node:stream/consumers";
import { test } from "node:test";
import type { Outcome } from "../support/model/run-histories.ts";

const { MESHROOT_HISTORIES, MESHROOT_SEED, CI } = process.env;
const COUNT = Number(MESHROOT_HISTORIES ?? (CI === "true" ? 100_000 : 2_000));
/** However slow the machine is. */
const AT_LEAST = Math.min(COUNT, 10_000);
const SEED = Number(MESHROOT_SEED ?? Date.now() & 0x7fffffff);
const WORKERS = Math.min(4, availableParallelism());
const SCRIPT = new URL("../support/model/run-histories.ts", import.meta.url).pathname;

async function run(count: number, seed: number): Promise<Outcome> {
  const child = spawn(process.execPath, [SCRIPT, String(count), String(seed)], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  const [output] = await Promise.all([text(child.stdout), once(child, "exit")]);
  return JSON.parse(output) as Outcome;
}

test(`no handshake ever fails, in up to ${COUNT} random histories (seed ${SEED})`, async (t) => {
  const outcomes = await Promise.all(
    Array.from({ length: WORKERS }, (_, worker) => run(Math.ceil(COUNT / WORKERS), SEED + worker)),
  );
  for (const { breach, history } of outcomes) {
    assert.equal(
      breach,
      undefined,
      `\n${breach}\n\nMESHROOT_SEED=${SEED} MESHROOT_HISTORIES=${COUNT} finds it again; to see it happen:\n` +
        `echo '${JSON.stringify(history)}' | npx -c 'node test/support/model/replay.ts -'\n`,
    );
  }
  const total = (what: "histories" | "handshakes" | "resumed") =>
    outcomes.reduce((sum, outcome) => sum + outcome[what], 0);
  const [done, handshakes, resumed] = [total("histories"), total("handshakes"), total("resumed")];
  assert.ok(done >= AT_LEAST, `only ${done} histories were run`);
  assert.ok(handshakes > done * 100, `only ${handshakes} handshakes were looked at`);
  assert.ok(resumed > done, `only ${resumed} secrets were resumed (E15)`);
  t.diagnostic(`${done} histories, ${handshakes} moments of handshakes looked at, ${resumed} secrets resumed`);
});
