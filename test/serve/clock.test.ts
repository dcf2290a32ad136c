/** D1: the server's clock leaps and comes back. What it made meanwhile, and what it would have counted out. */

import assert from "node:assert/strict";
import { X509Certificate } from "node:crypto";
import { rm } from "node:fs/promises";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { connect } from "node:tls";
import type { BootstrapAnswer } from "../../src/serve/admin-api.ts";
import { askForNext, holdOf, NEXT } from "../support/operator.ts";
import { nameOf, type RawProxy, startRawProxy } from "../support/raw-proxy.ts";
import { FIRST, prepareServer, startServer, type TestServer, tlsOf, until } from "../support/server.ts";
import type { Response } from "../support/xds-client.ts";

const DAY_MS = 86_400_000;
const LEAP_MS = 3 * DAY_MS;

function leafOf({ secrets: [secret] }: Response): X509Certificate {
  assert.ok(secret?.kind === "tlsCertificate");
  return new X509Certificate(secret.chainPem);
}

function lastLeaf(proxy: RawProxy): X509Certificate | undefined {
  const last = proxy.answers.findLast(({ response }) => nameOf(response) === "default");
  return last && leafOf(last.response);
}

/** By the true clock, as the proxies' peers judge it. */
function isValidNow(certificate: X509Certificate | undefined): boolean {
  const now = Date.now();
  return (
    certificate !== undefined && certificate.validFromDate.getTime() <= now && now < certificate.validToDate.getTime()
  );
}

/** The certificate that the xDS port shows. */
function ownCertificate(server: TestServer, credentials: BootstrapAnswer): Promise<X509Certificate> {
  const { ca, certificate, key, serverName } = tlsOf(credentials);
  return new Promise((resolve, reject) => {
    const options = { port: server.running.xdsPort, ca, cert: certificate, key, servername: serverName };
    const socket = connect({ ...options, host: "127.0.0.1", ALPNProtocols: ["h2"], rejectUnauthorized: false }, () => {
      resolve(new X509Certificate(socket.getPeerCertificate().raw));
      socket.destroy();
    }).on("error", reject);
  });
}

const isSynced = (server: TestServer) => server.running.status().proxies[0]?.sync === "SYNCED";
const metric = async (server: TestServer, name: string) =>
  Number(new RegExp(`^meshroot_${name} (.*)$`, "m").exec((await server.http("/metrics")).text)?.[1]);

/** One proxy in sync with a checked clock, or with one that is followed, and its credentials. */
async function withProxy(t: TestContext, isChecked: boolean) {
  const server = await prepareServer(t);
  if (isChecked) server.checkClock();
  await server.start();
  const credentials = await server.credential("cart.shop");
  const proxy = startRawProxy(server, credentials);
  await until("it is in sync", () => isSynced(server));
  return { server, credentials, proxy };
}

for (const [way, byMs] of [
  ["ahead", LEAP_MS],
  ["back", -LEAP_MS],
] as const) {
  test(`D1: a leap ${way}: what is made meanwhile is valid by both readings, a loud line and a metric say so`, async (t) => {
    const { server, credentials, proxy } = await withProxy(t, true);
    const before = lastLeaf(proxy);
    server.shiftClock(byMs);
    await server.logged(new RegExp(`MR2020 the clock leapt ${way} by 72h`));
    await until(
      "another leaf, in sync",
      () => lastLeaf(proxy)?.fingerprint256 !== before?.fingerprint256 && isSynced(server),
    );
    const made = lastLeaf(proxy);
    assert.ok(isValidNow(made), "valid by the true clock");
    if (byMs > 0) assert.ok(Date.now() + byMs < (made?.validToDate.getTime() ?? 0), "and by the other");
    // As far back as its root goes, which was made just now.
    else assert.ok((made?.validFromDate.getTime() ?? 0) < (before?.validFromDate.getTime() ?? 0));
    assert.ok(isValidNow(new X509Certificate((await server.credential("pay.shop")).certPem)), "a bootstrap, too");
    assert.ok(isValidNow(await ownCertificate(server, credentials)), "and our own certificate");
    assert.equal(await metric(server, "clock_leaps_total"), 1);
    assert.ok(Math.abs((await metric(server, "clock_off_seconds")) * 1_000 - byMs) < 1_000);

    server.shiftClock(-byMs);
    await server.logged(/the clock is back/);
    await until("a leaf of the usual life", () => {
      const leaf = lastLeaf(proxy);
      return leaf !== undefined && leaf.validToDate.getTime() < Date.now() + DAY_MS + 60_000 && isSynced(server);
    });
    assert.ok(isValidNow(lastLeaf(proxy)));
    assert.equal(await metric(server, "clock_off_seconds"), 0);
  });
}

test("D1: a root made in a leap is valid by both readings", async (t) => {
  const { server } = await withProxy(t, true);
  server.shiftClock(LEAP_MS);
  await server.logged(/MR2020/);
  await server.createRoot(NEXT);
  await until("it is trusted", () => server.running.status().trusted.includes(NEXT));
  server.shiftClock(-LEAP_MS);
  await server.setRole(NEXT, "active");
  await server.setRole(FIRST, "passive");
  await until("it signs, after the leap", () => server.running.status().signer === NEXT);
});

test("D1: an absent proxy is not counted out by a clock that leapt", async (t) => {
  const { server, proxy } = await withProxy(t, true);
  proxy.leave();
  await until("it is gone", () => server.running.status().proxies[0]?.connected === false);
  await askForNext(server);
  await holdOf(server, "WaitingForTrust");
  server.shiftClock(LEAP_MS);
  await server.logged(/MR2020/);
  await server.replanned();
  assert.equal(server.running.status().signer, FIRST);
  assert.equal(server.running.status().proxies[0]?.counts, true);
});

test("D1: leaves that are not valid yet are no good, and are replaced at once", async (t) => {
  const { server, credentials, proxy } = await withProxy(t, false);
  server.shiftClock(LEAP_MS);
  await until("a leaf of the future", () => !isValidNow(lastLeaf(proxy)) && isSynced(server));
  await server.logged(/MR2020/);
  proxy.hold(true);
  server.shiftClock(-LEAP_MS);
  await until("what it holds is no longer called good", () => !isSynced(server));
  proxy.hold(false);
  await until("it has a valid one", () => isValidNow(lastLeaf(proxy)) && isSynced(server));
  await server.logged(/Cert cart\.shop\.cluster\.local should be rotated; not valid before/);
  await until("our own is valid, too", async () => isValidNow(await ownCertificate(server, credentials)));
});

test("D1: our own certificate, made by a process that began in the leap, is replaced at once", async (t) => {
  const server = await startServer(t);
  const credentials = await server.credential("cart.shop");
  await server.running.stop();
  await rm(join(server.config.dataDir, "secrets/osm-system/meshroot-xds-server.yaml"));
  server.shiftClock(LEAP_MS);
  await server.start();
  assert.ok(!isValidNow(await ownCertificate(server, credentials)), "it can't know");
  server.shiftClock(-LEAP_MS);
  await until("it is valid", async () => isValidNow(await ownCertificate(server, credentials)));
});

for (const isChecked of [false, true]) {
  test(`D1: after a restart, too: a leaf of the future is never resumed (${isChecked ? "checked" : "followed"} clock)`, async (t) => {
    const server = await startServer(t);
    const credentials = await server.credential("cart.shop");
    server.shiftClock(LEAP_MS);
    const first = server
      .client(credentials)
      .secrets()
      .request({ names: ["default"] });
    const { version } = await first.next();
    first.ack();
    await until("it is in sync", () => isSynced(server));
    await server.running.stop();
    server.shiftClock(-LEAP_MS);
    if (isChecked) server.checkClock();
    await server.start();
    const again = server
      .client(credentials)
      .secrets()
      .request({ names: ["default"], version });
    const response = await again.next();
    assert.notEqual(response.version, version);
    assert.ok(isValidNow(leafOf(response)));
    assert.ok(isValidNow(await ownCertificate(server, credentials)));
    if (isChecked) await server.logged(/MR2020 the clock shows .*earlier than what is on record/);
  });
}
