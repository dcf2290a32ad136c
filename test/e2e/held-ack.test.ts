/** F2: one proxy has not said that it trusts the new root. Nothing may be signed under it until it has. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { A, B, proxyOf, startMesh } from "../support/e2e-mesh.ts";
import { envoyOrSkip } from "../support/envoy.ts";

const NAMES = ["cart", "pay", "stock"];
const HOLD_MS = 10_000;

test("the signer does not move while one ACK is held back, and moves by itself afterwards", async (t) => {
  const envoy = await envoyOrSkip(t);
  if (envoy === undefined) return;
  const it = await startMesh(t, { envoy, names: NAMES, variants: ["ads", "sotw", "delta"] });
  it.startLoad();
  const slow = proxyOf(it.mesh, "cart");
  slow.relay.holdToServer(true);
  await it.roots.create(B);
  await it.until("trust has grown", ({ trusted }) => trusted.includes(B));
  await it.roots.setRole(B, "active");
  await it.roots.setRole(A, "passive");
  await it.until("the signer's hold names the slow proxy alone", ({ holds }) => {
    const hold = holds.find(({ gate }) => gate === "signer");
    return hold?.reason === "WaitingForTrust" && hold.waitingFor.map(({ proxy }) => proxy).join() === slow.uuid;
  });

  // Only a wait can show that something does not happen. It outlasts the settle time ten times.
  for (const end = Date.now() + HOLD_MS; Date.now() < end; await sleep(200)) {
    const status = await it.status();
    assert.equal(status.signer, A);
    for (const proxy of status.proxies) assert.deepEqual(proxy.signedBy, [A], `${proxy.identity} has a leaf of ${A}`);
  }
  slow.relay.holdToServer(false);
  await it.until("the signer has moved", ({ signer }) => signer === B);
  await it.untilLoaded([A, B], B);
  await it.roots.setRole(A, "inactive");
  await it.untilLoaded([B], B);
  const { requests } = await it.endLoad();
  t.diagnostic(`${requests} requests, 0 failed`);
});

/** The yardstick: the same delay without the gates. If this did not fail requests, the test above would prove nothing. */
test("forced past the gates, the same delay of one proxy's bundle fails its requests", async (t) => {
  const envoy = await envoyOrSkip(t);
  if (envoy === undefined) return;
  const it = await startMesh(t, { envoy, names: NAMES, variants: ["ads", "sotw", "delta"] });
  it.startLoad();
  const slow = proxyOf(it.mesh, "cart");
  slow.relay.holdToClient(true);
  await it.roots.create(B);
  await it.until("the others trust the new root", ({ proxies }) =>
    proxies.every(({ proxy, trusts }) => proxy === slow.uuid || trusts.includes(B)),
  );
  await it.roots.setRole(B, "active", "a test that must fail requests");
  await it.roots.setRole(A, "passive");
  await it.until("the signer has moved, unproven", ({ signer }) => signer === B);
  await it.until("requests fail", () => it.load().failures > 10);
  for (const { from, to } of it.load().list)
    assert.ok([from, to].includes("cart"), `only the slow proxy's requests fail, not ${from} to ${to}`);
  assert.match(it.server.logText(), /FORCED past the gates: a test that must fail requests/);

  slow.relay.holdToClient(false);
  await it.untilLoaded([A, B], B);
  let from = it.load();
  await it.until("30 requests in a row go well", () => {
    const now = it.load();
    if (now.failures > from.failures) from = now;
    return now.requests - from.requests >= 30;
  });
});
