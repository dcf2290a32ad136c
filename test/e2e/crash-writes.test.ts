/**
 * kill -9 between any two writes of the store. Whole rotations, forward and back, are walked over and over; each process of
 * the server is killed at the first place where none was killed before, so recoveries are killed too, until a walk needs
 * no crash any more. Light proxies; the same with real Envoys is in crash.test.ts.
 */

import assert from "node:assert/strict";
import { test } from "node:test";
import { startCrashMesh } from "../support/crash-mesh.ts";
import { temporaryDirectory } from "../support/data-dir.ts";

/** How many writes of a kind are crashed in each step and process. */
const DEPTH = Number(process.env.MESHROOT_CRASH_DEPTH ?? 2);

test("kill -9 between any two writes, forward and back: nothing is lost, repeated, or moved too early", async (t) => {
  const dir = await temporaryDirectory(t);
  const mesh = await startCrashMesh(t, { dir, depth: DEPTH });
  let crashes = -1;
  let walks = 0;
  for (; crashes < mesh.crashes(); walks++) {
    crashes = mesh.crashes();
    await mesh.walkForward();
    await mesh.walkBack();
    t.diagnostic(`walk ${walks + 1}: ${mesh.crashes() - crashes} crashes`);
  }
  await mesh.end();
  const places = mesh.server.lives.flatMap(({ place }) => place ?? []);
  assert.equal(new Set(places).size, places.length);
  for (const part of ["manifest link", "CA secret link", "trust.json rename", "trust.json.bak rename", "ledger append"])
    assert.ok(
      places.some((place) => place.startsWith(part)),
      part,
    );
  t.diagnostic(`${places.length} crashes, ${mesh.meetings()} handshakes checked; killed before:\n${places.join("\n")}`);
});
