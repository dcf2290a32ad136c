/** C4 and C6 on the real server: how long credentials live, when they are renewed, and what happens to connections of the old ones. */

import assert from "node:assert/strict";
import { X509Certificate } from "node:crypto";
import { once } from "node:events";
import { describe, test } from "node:test";
import { connect } from "node:tls";
import type { BootstrapAnswer } from "../../src/serve/admin-api.ts";
import { startServer, type TestServer, until } from "../support/server.ts";

const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;
const AGENT = { node: { id: "claimed", userAgentName: "meshroot-agent" } };

async function ownCertificate(server: TestServer): Promise<X509Certificate> {
  const socket = connect({ port: server.running.xdsPort, host: "127.0.0.1", rejectUnauthorized: false });
  await once(socket, "secureConnect");
  const { raw } = socket.getPeerCertificate();
  socket.destroy();
  return new X509Certificate(raw);
}

describe("credentials of the xDS connection", { concurrency: true }, () => {
  test("C6: credentials and our own certificate last 30 days", async (t) => {
    const server = await startServer(t);
    const credentials = await server.credential("cart.shop");
    for (const certificate of [new X509Certificate(credentials.certPem), await ownCertificate(server)])
      assert.equal(Math.round((certificate.validToDate.getTime() - Date.now()) / DAY_MS), 30);
  });

  test("C6: credentials and our own certificate never outlive their root", async (t) => {
    const server = await startServer(t, { rootValidity: "800h" });
    const end = Date.parse(server.running.status().roots[0]?.notAfter ?? "");
    server.shiftClock(500 * HOUR_MS);
    const credentials = await server.credential("cart.shop");
    assert.equal(new X509Certificate(credentials.certPem).validToDate.getTime(), end);
    await until("our own is renewed, too", async () => (await ownCertificate(server)).validToDate.getTime() === end);
  });

  test("C6: credentials and our own certificate are renewed after two thirds of their life, not before", async (t) => {
    const server = await startServer(t);
    const first = await renewed(server, await server.credential("cart.shop"));
    const stream = server
      .client(first)
      .deltaSecrets(AGENT)
      .request({ subscribe: ["tls_sds"] });
    const { version } = (await stream.next()).resources[0] ?? {};
    stream.ack();
    const own = await ownCertificate(server);
    server.shiftClock(17 * DAY_MS);
    await stream.expectSilence(1_500);
    assert.equal((await ownCertificate(server)).serialNumber, own.serialNumber);
    server.shiftClock(3.1 * DAY_MS);
    assert.notEqual((await stream.next()).resources[0]?.version, version);
    await until("our own is renewed", async () => (await ownCertificate(server)).serialNumber !== own.serialNumber);
  });

  test("C4: once an agent has ACKed a new credential, the connections of the old one end, streams first", async (t) => {
    const server = await startServer(t);
    const old = await server.credential("cart.shop");
    const [mine, others] = [server.client(old), server.client(await server.credential("pay.shop"))];
    const envoy = mine.secrets().request({ names: ["ROOTCA"] });
    await envoy.next();
    const bystander = others.secrets().request({ names: ["ROOTCA"] });
    await bystander.next();
    const fresh = await renewed(server, old);
    assert.equal((await envoy.ended).code, 0);
    const closed = () =>
      server.log.filter(({ message }) => /xDS connection closed.*newer credential is loaded/.test(message));
    await until("both of its connections are closed", () => closed().length === 2);
    assert.deepEqual(new Set(closed().map(({ proxy }) => proxy)), new Set([old.proxy.uuid]));
    const next = server
      .client(fresh)
      .secrets()
      .request({ names: ["ROOTCA"] });
    await next.next();
    await Promise.all([next.expectSilence(1_500), bystander.expectSilence(1_500)]);
  });

  test("C4: a connection ends with its certificate", async (t) => {
    const server = await startServer(t, { xdsCertValidity: "1h" });
    const stream = server
      .client(await server.credential("cart.shop"))
      .secrets()
      .request({ names: ["ROOTCA"] });
    await stream.next();
    server.shiftClock(2 * HOUR_MS);
    assert.equal((await stream.ended).code, 0);
    await server.logged(/xDS connection closed.*its certificate has expired/);
  });
});

/** What an agent does: takes a new credential, and says that it is loaded. */
async function renewed(server: TestServer, old: BootstrapAnswer): Promise<BootstrapAnswer> {
  const stream = server
    .client(old)
    .deltaSecrets(AGENT)
    .request({ subscribe: ["tls_sds"] });
  const [secret] = (await stream.next()).secrets;
  assert.ok(secret?.kind === "tlsCertificate");
  stream.ack();
  assert.equal((await stream.ended).code, 0);
  return { ...old, certPem: secret.chainPem, keyPem: secret.privateKeyPem };
}
