/** E15 over a restart of the real server: a leaf that its proxy still holds is not issued anew. */

import assert from "node:assert/strict";
import { describe, type TestContext, test } from "node:test";
import type { BootstrapAnswer } from "../../src/serve/admin-api.ts";
import { issuedLeaves } from "../support/issued-leaves.ts";
import { startServer, type TestServer, until } from "../support/server.ts";

const LEAF = "default";
const BUNDLE = "ROOTCA";
/** Longer than the sweep that looks at the offers again. */
const QUIET_MS = 1_500;

/** A server with one proxy that holds `versions` of its leaf and its bundle, restarted. */
async function restarted(t: TestContext) {
  const server = await startServer(t);
  const credentials = await server.credential("cart.shop");
  const client = server.client(credentials);
  const versions = { [LEAF]: "", [BUNDLE]: "" };
  for (const name of [BUNDLE, LEAF] as const) {
    const stream = client.secrets().request({ names: [name] });
    versions[name] = (await stream.next()).version;
    stream.ack();
  }
  await until("both are ACKed", () => server.running.status().proxies[0]?.sync === "SYNCED");
  client.close();
  await server.running.stop();
  await server.start();
  return { server, credentials, versions };
}

async function isResumed(server: TestServer, credentials: BootstrapAnswer): Promise<void> {
  await until("it counts as heard and is in sync", () => server.running.status().proxies[0]?.sync === "SYNCED");
  assert.equal(await issuedLeaves(server.running), 0, "no leaf is made");
  await server.createRoot("next");
  await server.setRole("next", "active");
  await server.setRole("osm-mesh-root-certificate", "passive");
  // E14: the proxy was heard, so the window need not pass; its bundle goes on over a stream of its own.
  const bundle = server
    .client(credentials)
    .secrets()
    .request({ names: [BUNDLE] });
  for (let roots = 0; roots < 2; ) {
    const [secret] = (await bundle.next()).secrets;
    assert.ok(secret?.kind === "validationContext");
    roots = secret.trustedCaPem.split("-----BEGIN").length - 1;
    bundle.ack();
  }
  await until("the signer moves", () => server.running.status().signer === "next");
}

describe("a leaf over a restart", { concurrency: true }, () => {
  test("E15: SotW: the reported leaf is resumed; its successor comes in unique bytes after the move", async (t) => {
    const { server, credentials, versions } = await restarted(t);
    const stream = server
      .client(credentials)
      .secrets()
      .request({ names: [LEAF], version: versions[LEAF] });
    await stream.expectSilence(QUIET_MS);
    await isResumed(server, credentials);
    const { secrets, version } = await stream.next();
    assert.notEqual(version, versions[LEAF]);
    assert.ok(secrets[0]?.kind === "tlsCertificate");
    assert.match(secrets[0].chainPem, /^meshroot [0-9a-f]{16}\n/);
  });

  test("E15: delta: reported leaf and bundle are resumed", async (t) => {
    const { server, credentials, versions } = await restarted(t);
    const subscribe = [LEAF, BUNDLE];
    const stream = server.client(credentials).deltaSecrets().request({ subscribe, initialVersions: versions });
    await stream.expectSilence(QUIET_MS);
    assert.equal(await issuedLeaves(server.running), 0);
    assert.equal(server.running.status().proxies[0]?.sync, "SYNCED");
  });

  test("E15: a leaf that is not reported, or that was never its own, is issued anew", async (t) => {
    const { server, credentials, versions } = await restarted(t);
    const stranger = server.client(await server.credential("cart.shop")).secrets();
    stranger.request({ names: [LEAF], version: versions[LEAF] });
    await stranger.expectSilence(QUIET_MS);
    // E13: it may have bundles that it has not come to ask for.
    server.shiftClock(45_000);
    assert.notEqual((await stranger.next()).version, versions[LEAF], "another proxy of the same service account");
    const aggregated = server.client(credentials).ads();
    aggregated.request({ names: [BUNDLE, LEAF], version: versions[LEAF] });
    await aggregated.next();
    aggregated.ack();
    assert.notEqual((await aggregated.next()).version, versions[LEAF], "SotW over ADS can't tell");
  });

  test("E15: one slot resumes, another needs the bytes: both get the next leaf", async (t) => {
    const { server, credentials, versions } = await restarted(t);
    const kept = server
      .client(credentials)
      .secrets()
      .request({ names: [LEAF], version: versions[LEAF] });
    await kept.expectSilence(QUIET_MS);
    const other = server
      .client(credentials)
      .secrets()
      .request({ names: ["service-cert:shop/cart"] });
    const { version } = await other.next();
    assert.notEqual(version, versions[LEAF]);
    assert.equal((await kept.next()).version, version);
    assert.equal(await issuedLeaves(server.running), 1);
  });

  test("E15: in the same process the leaf stays, in plain bytes", async (t) => {
    const server = await startServer(t);
    const credentials = await server.credential("cart.shop");
    const first = server
      .client(credentials)
      .secrets()
      .request({ names: [LEAF] });
    const { version } = await first.next();
    first.ack();
    await first.cancel();
    const again = await server
      .client(credentials)
      .secrets()
      .request({ names: [LEAF], version })
      .next();
    assert.equal(again.version, version);
    assert.equal(await issuedLeaves(server.running), 1);
  });
});
