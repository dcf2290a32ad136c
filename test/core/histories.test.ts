/**
 * The proof of the product: whatever happens, any two proxies that take part can talk at every moment, what runs is in the
 * ledger, and once the storm is over the mesh comes to what is desired.
 *
 * MESHROOT_HISTORIES sets how many histories run, MESHROOT_SEED replays a run. A failure prints the shrunk history, and
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

test(`no handshake ever fails, in ${COUNT} random histories (seed ${SEED})`, async (t) => {
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
  const handshakes = outcomes.reduce((sum, outcome) => sum + outcome.handshakes, 0);
  assert.ok(handshakes > COUNT * 100, `only ${handshakes} handshakes were looked at`);
  const resumed = outcomes.reduce((sum, outcome) => sum + outcome.resumed, 0);
  assert.ok(resumed > COUNT, `only ${resumed} secrets were resumed (E15)`);
  t.diagnostic(`${handshakes} moments of handshakes looked at, ${resumed} secrets resumed`);
});
