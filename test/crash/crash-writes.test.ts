/**
 * kill -9 between any two writes of the store. Whole rotations, forward and back, are walked over and over; each process of
 * the server is killed at the first place where none was killed before, so recoveries are killed too, until a walk needs
 * no crash any more. Light proxies; the same with real Envoys is in crash.test.ts.
 */

import assert from "node:assert/strict";
import { test } from "node:test";
import type { MeshStatus } from "../../src/controller/status.ts";
import { CLOCK_SPEED, startCrashMesh, timeOf } from "../support/crash-mesh.ts";
import { rotationWalks } from "../support/crash-walks.ts";
import { temporaryDirectory } from "../support/data-dir.ts";
import { FIRST } from "../support/server.ts";

/** See `Orders` of crash-child.ts; a longer run crashes at more of them. */
const DEPTH = Number(process.env.MESHROOT_CRASH_DEPTH ?? 1);

test("kill -9 between any two writes, forward and back: nothing is lost, repeated, or moved too early", async (t) => {
  const mesh = await startCrashMesh(t, { dir: await temporaryDirectory(t), depth: DEPTH });
  const { forward, back } = rotationWalks(mesh);
  for (let before = -1, walk = 1; before < mesh.crashes(); walk++) {
    before = mesh.crashes();
    await forward();
    await back();
    t.diagnostic(`walk ${walk}: ${mesh.crashes() - before} crashes`);
  }
  await mesh.end();
  mesh.assertAnsweredFirst();
  const places = mesh.server.lives.flatMap(({ place }) => place ?? []);
  assert.equal(new Set(places).size, places.length);
  for (const part of [
    "manifest link",
    "CA secret link",
    "trust.json rename",
    "trust.json.bak rename",
    "ledger open",
    "ledger append",
    "ledger sync",
  ])
    assert.ok(
      places.some((place) => place.startsWith(part)),
      part,
    );
  t.diagnostic(`${places.length} crashes, ${mesh.meetings()} handshakes checked; killed before:\n${places.join("\n")}`);
});

test("E14: a gate waits after a crash for one that stays away, until the window has passed, and anew after each crash", async (t) => {
  const windowMs = 45_000;
  const mesh = await startCrashMesh(t, {
    dir: await temporaryDirectory(t),
    only: [],
    recoveryWindow: `${windowMs / 1000}s`,
  });
  const { at, server, until } = mesh;
  const [gone] = mesh.proxies;
  assert.ok(gone !== undefined);
  await mesh.create("next");
  await until("everybody trusts both", at([FIRST, "next"], FIRST));
  gone.reconnect({ paused: true });
  await until("it is gone", ({ proxies }) => proxies.some((one) => one.proxy === gone.uuid && !one.connected));
  await mesh.setRole("next", "active");
  await until("both are active", ({ roots }) => roots.every(({ role }) => role === "active"));

  const waits = ({ holds }: MeshStatus) =>
    holds.some(
      ({ gate, reason, waitingFor }) =>
        gate === "signer" && reason === "Recovering" && waitingFor.map(({ proxy }) => proxy).join() === gone.uuid,
    );
  await server.kill();
  await mesh.setRole(FIRST, "passive");
  await until("the signer waits for it alone", waits);
  await server.kill();
  await until("it waits again", waits);
  await until("the signer moves", ({ signer }) => signer === "next");
  const life = server.lives.at(-1);
  const moved = life?.log.find(({ message }) => message.startsWith("the signer moves"));
  assert.ok(life !== undefined && moved !== undefined);
  assert.ok(timeOf(moved) >= life.startedAt + windowMs / CLOCK_SPEED, "not before the window has passed");
  const earlier = server.lives.slice(0, -1).flatMap(({ log }) => log.map(({ message }) => message));
  assert.ok(!earlier.some((message) => message.startsWith("the signer moves")));

  // Absent is not gone: its leaf counts (E13), and it finds a mesh that it can join.
  await mesh.setRole(FIRST, "inactive");
  await until("the bundle waits for its leaf", ({ holds }) =>
    holds.some(({ gate, waitingFor }) => gate === "bundle" && waitingFor.some(({ proxy }) => proxy === gone.uuid)),
  );
  await server.kill();
  gone.reconnect({});
  await until("all is done", at(["next"], "next"));
  await mesh.end();
});
