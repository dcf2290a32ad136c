/** D12: a certificate authority that never answers stops nothing but itself: no plan, no start, no rotation between two others. */

import assert from "node:assert/strict";
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { systemClock } from "../../src/serve/system-clock.ts";
import { startRawProxy } from "../support/raw-proxy.ts";
import { root } from "../support/roots.ts";
import { ScriptedCa, scriptedProvider, scriptedSpec } from "../support/scripted-provider.ts";
import { FIRST, prepareServer, type TestServer, until } from "../support/server.ts";

async function prepare(t: TestContext) {
  const cas = new Map([["elsewhere", await ScriptedCa.create(systemClock)]]);
  const server = await prepareServer(t, {}, {}, { providers: [scriptedProvider(cas)] });
  await mkdir(join(server.config.dataDir, "roots"), { recursive: true });
  return { server, ca: cas.get("elsewhere") as ScriptedCa };
}

const elsewhere = (role: "active" | "passive" | "inactive") =>
  root("elsewhere", role, { provider: scriptedSpec("elsewhere"), createdAt: Date.now() });

async function inForce(server: TestServer, signer: string, ...trusted: string[]): Promise<void> {
  await until(`${signer} signs, ${trusted} are trusted: ${JSON.stringify(server.running.status().holds)}`, () => {
    const status = server.running.status();
    const proxies = status.proxies.every((one) => one.sync === "SYNCED" && one.signedBy.join() === signer);
    return status.signer === signer && status.trusted.join() === trusted.join() && proxies;
  });
}

async function rotate(server: TestServer, from: string, to: string): Promise<void> {
  await server.createRoot(to);
  await inForce(server, from, from, to);
  await server.setRole(to, "active");
  await server.setRole(from, "passive");
  await inForce(server, to, from, to);
  await server.setRole(from, "inactive");
  await inForce(server, to, to);
}

for (const mood of ["hangs", "deaf"] as const)
  test(`D12: a rotation between two other roots ends, with a third whose CA ${mood === "hangs" ? "never answers" : "answers at its signal's end"}`, async (t) => {
    const { server, ca } = await prepare(t);
    ca.mood = mood;
    await server.roots.create(elsewhere("inactive"));
    await server.roots.create(root(FIRST, "active"));
    await server.start();
    startRawProxy(server, await server.credential("cart.shop"), { variant: "ads" });
    await inForce(server, FIRST, FIRST);
    await rotate(server, FIRST, "next");
    assert.equal((await server.http("/health/ready")).status, 200);
    server.shiftClock(10_000);
    await server.logged(/^MR3011 root elsewhere: its certificate authority has not answered within 10 s/);
    await server.removeRoot("elsewhere");
    await rotate(server, "next", "last");
  });

test("D12: a server starts although the CA that signs hangs; its proxies keep what they have, and the way out is a rotation", async (t) => {
  const { server, ca } = await prepare(t);
  await server.roots.create(elsewhere("active"));
  await server.start();
  const credential = await server.credential("cart.shop");
  startRawProxy(server, credential, { variant: "delta" });
  await inForce(server, "elsewhere", "elsewhere");
  await server.running.stop();

  ca.mood = "hangs";
  await server.start();
  await server.logged(/^held: sign with elsewhere: MR3011/);
  assert.equal((await server.http("/health/ready")).status, 503);
  startRawProxy(server, credential, { variant: "delta" });
  await server.createRoot("next");
  await server.setRole("next", "active");
  await inForce(server, "next", "elsewhere", "next");
  assert.equal((await server.http("/health/ready")).status, 200);
});

test("a server that was stopped waits for nothing more, whatever its CA has failed at, and so its process ends", async (t) => {
  const { server, ca } = await prepare(t);
  await server.roots.create(elsewhere("active"));
  await server.start();
  const credential = await server.credential("cart.shop");
  ca.mood = "fails";
  startRawProxy(server, credential, { variant: "ads" });
  await server.logged(/^Cert cart.shop.cluster.local could not be issued/);
  ca.mood = "hangs";
  server.shiftClock(30_000);
  await until("a look hangs", () => ca.pending > 0);
  await server.running.stop();
  assert.equal(server.timers, 0);
});

test("the signer does not move to a CA that ails, says so, and moves when it is well", async (t) => {
  const { server, ca } = await prepare(t);
  await server.roots.create(root(FIRST, "active"));
  await server.start();
  startRawProxy(server, await server.credential("cart.shop"), { variant: "sotw" });
  await server.roots.create(elsewhere("passive"));
  await inForce(server, FIRST, FIRST, "elsewhere");
  const problem = { code: "MR1011", message: "the CA is sealed", hint: "Unseal it." } as const;
  ca.health = { kind: "ails", problem };
  server.shiftClock(30_000);
  await until("it is noticed", () => server.running.status().authorityProblems.length > 0);
  await server.setRole("elsewhere", "active");
  await server.setRole(FIRST, "passive");
  await server.logged(/^held: use elsewhere: MR1011 .*the CA is sealed/);
  await server.replanned();
  assert.equal(server.running.status().signer, FIRST);
  ca.health = { kind: "signs" };
  server.shiftClock(30_000);
  await inForce(server, "elsewhere", FIRST, "elsewhere");
});

test("a root that changes underneath issues nothing more; the trust in force stays, and the hold says what to do", async (t) => {
  const { server, ca } = await prepare(t);
  await server.roots.create(elsewhere("active"));
  await server.start();
  const { fingerprint } = ca.root;
  await server.credential("cart.shop");
  await ca.changeRoot();
  server.shiftClock(30_000);
  await server.logged(/^held: sign with elsewhere: MR3010 root elsewhere has changed underneath/);
  await assert.rejects(server.credential("till.shop"), { code: "MR3010" });
  const [only] = server.running.status().roots;
  assert.equal(only?.fingerprint, fingerprint);
  assert.equal((await server.http("/health/ready")).status, 503);
});
