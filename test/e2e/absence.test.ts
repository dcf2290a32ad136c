/** F33: proxies that are stopped during a rotation and return, in every way in which a proxy can be away (E13). */

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { RESUBSCRIBED_AFTER_MS } from "../../src/core/evidence/ledger-queries.ts";
import { ENVOY_VERSIONS, type EnvoyBinary } from "../../src/envoy/binary.ts";
import type { Clock } from "../../src/ports/clock.ts";
import { A, B, type E2eMesh, proxyOf, startMesh } from "../support/e2e-mesh.ts";
import { type ServerSettings, serveHere } from "../support/e2e-server.ts";
import { envoyOrSkip } from "../support/envoy.ts";
import { shiftedClock } from "../support/shifted-clock.ts";

/** Long enough for a start of all Envoys on a slow machine, short enough to be waited for. */
const LEAF_MS = 15_000;

const AWAY = ["frozen", "killed"];

for (const version of ENVOY_VERSIONS) {
  test(`E13 away at step 2, each in its way: the gate names them, and goes on when they are back, on Envoy ${version}`, async (t) => {
    const envoy = await envoyOrSkip(t, version);
    if (envoy === undefined) return;
    const it = await startMesh(t, {
      envoy,
      names: ["pay", "stock", "cut", "paused", "killed"],
      start: ["pay", "stock", "cut"],
    });
    // `cut` alone still serves requests while it is away: only its xDS connection is gone.
    it.startLoad();
    const [cut, paused, killed] = [
      proxyOf(it.mesh, "cut"),
      await it.mesh.start("paused"),
      await it.mesh.start("killed"),
    ];
    await it.untilReady();

    cut.relay.holdToServer(true);
    cut.relay.cut();
    paused.envoy.pause();
    await killed.envoy.kill();
    await it.until(
      "the server has noticed",
      ({ proxies }) => proxies.filter(({ connected }) => !connected).length === 2,
    );
    const goneAt = Date.now();
    await toStep4(it);
    await it.until("the signer waits for the three alone", ({ holds }) => {
      const hold = holds.find(({ gate }) => gate === "signer");
      const waitingFor = hold?.waitingFor.map(({ identity }) => identity).sort();
      return hold?.reason === "WaitingForTrust" && waitingFor?.join() === "cut.shop,killed.shop,paused.shop";
    });
    await requestsGoOn(it);
    const { signer, holds } = await it.status();
    assert.equal(signer, A);
    for (const { identity, connected, lastContactAt, countsUntil } of holds.find(({ gate }) => gate === "signer")
      ?.waitingFor ?? []) {
      assert.ok(
        lastContactAt <= goneAt && lastContactAt > goneAt - 60_000,
        `${identity} was last heard at ${lastContactAt}`,
      );
      // A stopped process keeps its connection; the server can't know yet.
      assert.equal(connected, identity === "paused.shop");
      assert.equal(
        countsUntil !== undefined,
        identity !== "paused.shop",
        `${identity} counts until its leaf has expired`,
      );
    }

    paused.envoy.resume();
    await it.mesh.restart("killed");
    cut.relay.holdToServer(false);
    // Bytes held for a connection that has ended would wait for its end.
    cut.relay.cut();
    await it.untilReady();
    await it.untilLoaded([A, B], B);
    it.startLoad();
    await it.roots.setRole(A, "inactive");
    await it.untilLoaded([B], B);
    const { requests } = await it.endLoad();
    t.diagnostic(`${requests} requests, 0 failed`);
  });

  test(`E13 away until its leaf has expired: the rotation passes it by, and it is taken in again, on Envoy ${version}`, async (t) => {
    const envoy = await envoyOrSkip(t, version);
    if (envoy === undefined) return;
    const clock = shiftedClock();
    const it = await startWithShortLeaves(t, envoy, {}, clock);
    const frozen = proxyOf(it.mesh, "frozen");
    await debugLog(frozen.admin.address);
    // As a suspended machine: it wakes up with an expired leaf, the old bundle, and a credential of the old root.
    frozen.envoy.pause();
    frozen.relay.cut();
    await proxyOf(it.mesh, "killed").envoy.kill();
    await toStep4(it);
    await it.until("the signer waits for both, and says until when", ({ holds }) => {
      const waitingFor = holds.find(({ gate }) => gate === "signer")?.waitingFor ?? [];
      return waitingFor.length === 2 && waitingFor.every(({ connected, countsUntil }) => !connected && countsUntil);
    });
    await it.until("the signer has moved without them", ({ signer }) => signer === B);
    await it.roots.setRole(A, "inactive");
    await it.until("the old root has left without them", ({ trusted }) => trusted.join() === B);
    const { proxies } = await it.status();
    assert.deepEqual(proxies.flatMap(({ counts, identity }) => (counts ? [] : [identity])).sort(), [
      "frozen.shop",
      "killed.shop",
    ]);

    const logBefore = (await envoyLog(it, "frozen")).length;
    frozen.envoy.resume();
    await it.mesh.restart("killed");
    await it.until("one is taken in, the other is back", ({ proxies: all }) =>
      all.every(({ proxy, connected, signedBy }) => connected && (signedBy.join() === B || proxy !== frozen.uuid)),
    );
    // The new process asks for its listener's bundle after it has its leaf; only time tells that the old process is gone.
    clock.advance(RESUBSCRIBED_AFTER_MS);
    await it.untilReady();
    await it.untilLoaded([B], B);
    const accepted = acceptedKinds((await envoyLog(it, "frozen")).slice(logBefore));
    assert.ok(accepted.includes("leaf"), "Envoy's log tells what it accepted");
    const [bundles, leaf] = [accepted.lastIndexOf("bundle"), accepted.indexOf("leaf")];
    assert.ok(bundles >= 0 && bundles < leaf, `its bundles first, its leaf after the answers: ${accepted.join()}`);
    it.startLoad();
    await requestsGoOn(it);
    const { requests } = await it.endLoad();
    t.diagnostic(`${requests} requests, 0 failed`);
  });
}

test("E13 away until its leaf has expired, with the policy wait: the gate holds until it is back", async (t) => {
  const envoy = await envoyOrSkip(t);
  if (envoy === undefined) return;
  const it = await startWithShortLeaves(t, envoy, { absentPolicy: "wait" });
  for (const name of AWAY) await proxyOf(it.mesh, name).envoy.kill();
  await toStep4(it);
  await it.until("their leaves have expired", ({ proxies }) =>
    AWAY.every((name) =>
      proxies.some(({ proxy, leafExpires, connected }) => proxy === it.uuid(name) && !connected && !leafExpires),
    ),
  );
  await requestsGoOn(it);
  const { signer, holds } = await it.status();
  assert.equal(signer, A);
  const waitingFor = holds.find(({ gate }) => gate === "signer")?.waitingFor ?? [];
  assert.deepEqual(waitingFor.map(({ identity, countsUntil }) => [identity, countsUntil]).sort(), [
    ["frozen.shop", undefined],
    ["killed.shop", undefined],
  ]);
  for (const name of AWAY) await it.mesh.restart(name);
  await it.untilReady();
  await it.untilLoaded([A, B], B);
  it.startLoad();
  await it.roots.setRole(A, "inactive");
  await it.untilLoaded([B], B);
  const { requests } = await it.endLoad();
  t.diagnostic(`${requests} requests, 0 failed`);
});

/** `pay` and `stock` with load between them, `frozen` and `killed` without. */
async function startWithShortLeaves(
  t: TestContext,
  envoy: EnvoyBinary,
  settings: ServerSettings,
  clock: Clock = shiftedClock(),
): Promise<E2eMesh> {
  const it = await startMesh(t, {
    envoy,
    names: ["pay", "stock", ...AWAY],
    variants: ["delta-ads", "delta", "sotw", "ads"],
    start: ["pay", "stock"],
    settings,
    serve: (dataDir, wanted) => serveHere(dataDir, wanted, { config: { leafValidityMs: LEAF_MS }, clock }),
  });
  it.startLoad();
  for (const name of AWAY) await it.mesh.start(name);
  await it.untilReady();
  return it;
}

/** As fast as an operator may: what is in force follows one safe change at a time. */
async function toStep4(it: E2eMesh): Promise<void> {
  await it.roots.create(B);
  await it.until("trust has grown", ({ trusted }) => trusted.includes(B));
  await it.roots.setRole(B, "active");
  await it.roots.setRole(A, "passive");
}

async function requestsGoOn(it: E2eMesh): Promise<void> {
  const { requests } = it.load();
  await it.until("60 more requests are answered", () => it.load().requests >= requests + 60);
  assert.equal(it.load().failures, 0);
}

async function debugLog(adminAddress: string): Promise<void> {
  const { status } = await fetch(`http://${adminAddress}/logging?config=debug`, { method: "POST" });
  assert.equal(status, 200);
}

function envoyLog(it: E2eMesh, name: string): Promise<string> {
  return readFile(join(it.dir, name, "envoy.log"), "utf8");
}

/** A bundle's version is `<generation>-<hash>`, a leaf's is a hash alone (E1). */
function acceptedKinds(log: string): ("bundle" | "leaf")[] {
  const versions = [...log.matchAll(/accepted with .* version (\S+)/g)].map((match) => match[1] ?? "");
  return versions.map((version) => (/^\d+-/.test(version) ? "bundle" : "leaf"));
}
