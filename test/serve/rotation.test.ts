/** A whole rotation over the real server, driven by raw clients: every variant, a refusal, a restart in the middle. */

import assert from "node:assert/strict";
import { X509Certificate } from "node:crypto";
import { readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { parse } from "yaml";
import { serverStatus } from "../../src/access/admin-client.ts";
import { MESH_NAMES, nameOf, type RawProxy, startRawProxy, versionOf } from "../support/raw-proxy.ts";
import { FIRST, startServer, type TestServer, until } from "../support/server.ts";

const NEXT = "next";
const BUNDLE = "root-cert-for-mtls-inbound";
const OUTBOUND = "root-cert-for-mtls-outbound:shop/pay";

test("steps 1 to 6 with a proxy of each variant (R81)", async (t) => {
  const server = await startServer(t);
  const proxies: RawProxy[] = [];
  for (const variant of ["sotw", "delta", "ads", "deltaAds"] as const)
    proxies.push(startRawProxy(server, await server.credential("cart.shop"), { variant }));
  const all = (what: string, signedBy: string, trusts: string) =>
    until(`${what}: ${JSON.stringify(server.running.status().holds)}`, () => {
      const status = server.running.status();
      return (
        status.proxies.length === proxies.length &&
        status.proxies.every(
          (one) => one.sync === "SYNCED" && one.signedBy.join() === signedBy && one.trusts.join() === trusts,
        )
      );
    });

  await all("step 1", FIRST, FIRST);
  await server.createRoot(NEXT);
  await all("step 2", FIRST, `${FIRST},${NEXT}`);
  await server.setRole(NEXT, "active");
  await until("step 3 is read", () => server.running.status().roots.every(({ role }) => role === "active"));
  await server.replanned();
  assert.equal(server.running.status().signer, FIRST, "of two active ones the incumbent signs");
  await server.setRole(FIRST, "passive");
  await all("step 4", NEXT, `${FIRST},${NEXT}`);
  await server.setRole(FIRST, "inactive");
  await all("step 5", NEXT, NEXT);
  await server.removeRoot(FIRST);
  await until("step 6 is read", () =>
    server.running.status().roots.some((one) => one.name === FIRST && one.role === undefined),
  );

  const next = server.running.status().roots.find(({ name }) => name === NEXT);
  for (const { answers } of proxies) {
    const bundles = answers.flatMap(({ response: { secrets } }) => {
      const [secret] = secrets;
      return secret?.kind === "validationContext" ? [certificates(secret.trustedCaPem)] : [];
    });
    assert.deepEqual(bundles.at(-1), [next?.fingerprint]);
    // The generation rises with each of the three changes, and with it the version, in this order.
    assert.deepEqual(
      bundles.map((roots) => roots.length),
      [1, 2, 2, 1],
    );
    const generations = answers
      .filter(({ response }) => nameOf(response) === BUNDLE)
      .map(({ response }) => Number(versionOf(response).split("-")[0]));
    assert.deepEqual(generations, [1, 2, 3, 4]);
    assert.ok(answers.every(({ response }) => response.resources.length === 1));
  }
  const rotated = await server.logged(/in progress root certificate rotation/);
  assert.equal(
    rotated.message,
    "Cert cart.shop.cluster.local should be rotated; in progress root certificate rotation",
  );
  assert.equal(rotated.level, "info");

  // The connections to the server still stand on the old root: that is said by name (C5).
  await until("what is left waits for credentials", () => server.running.status().holds.length > 0);
  const holds = server.running.status().holds;
  assert.deepEqual(
    holds.map(({ gate, reason }) => [gate, reason]),
    [["xdsControlPlane", "WaitingForCredentials"]],
  );
  assert.deepEqual(holds[0]?.waitingFor.map(({ proxy }) => proxy).sort(), proxies.map(({ uuid }) => uuid).sort());
  const status = server.running.status().roots.find(({ name }) => name === FIRST)?.componentStatuses;
  assert.deepEqual(status, { xdsControlPlane: "issuing", sidecar: "unused", bootstrap: "validating" });
  await assertNoPrivateKeys(server, proxies);
});

test("a refusal halts at its step, names proxy and text, and is retried in other bytes when another secret changed", async (t) => {
  const server = await startServer(t);
  const services = join(server.config.dataDir, "services.yaml");
  await writeFile(services, "shop/pay: [pay.shop]\n");
  const names = [OUTBOUND, ...MESH_NAMES];
  const good = startRawProxy(server, await server.credential("cart.shop"), { names });
  const bad = startRawProxy(server, await server.credential("pay.shop"), { names });
  const stateOf = ({ uuid }: RawProxy) => server.running.status().proxies.find(({ proxy }) => proxy === uuid);
  const signedBy = (proxy: RawProxy, name: string) =>
    stateOf(proxy)?.sync === "SYNCED" && stateOf(proxy)?.signedBy.join() === name;
  await until("both are synced", () => signedBy(good, FIRST) && signedBy(bad, FIRST));

  bad.judge = ({ secrets: [secret] }) =>
    secret?.kind === "validationContext" ? "Failed to load trusted CA certificates from <inline>" : undefined;
  await server.createRoot(NEXT);
  await until("the good one trusts both", () => stateOf(good)?.sync === "SYNCED" && stateOf(good)?.trusts.length === 2);
  await until("the bad one is in ERROR", () => stateOf(bad)?.sync === "ERROR");
  await server.setRole(NEXT, "active");
  await server.setRole(FIRST, "passive");
  await until("the signer is held", () => server.running.status().holds.some(({ reason }) => reason === "Refused"));
  const [hold] = server.running.status().holds;
  assert.equal(hold?.gate, "signer");
  assert.match(hold?.message ?? "", new RegExp(`pay.shop \\(${bad.uuid.slice(0, 8)}\\)`));
  assert.deepEqual(
    hold?.waitingFor.map(({ proxy }) => proxy),
    [bad.uuid],
  );
  assert.match(
    hold?.waitingFor[0]?.detail ?? "",
    /^answering root-cert-for-mtls-(in|out)bound.*: Failed to load trusted CA/,
  );
  assert.match(stateOf(bad)?.error ?? "", /Failed to load trusted CA/);
  const nack = await server.logged(/^NACK/);
  assert.deepEqual([nack.level, nack.proxy, nack.identity], ["warn", bad.uuid, "pay.shop"]);
  assert.match(String(nack.envoy), /Failed to load trusted CA/);
  assert.match((await server.http("/metrics")).text, /^meshroot_xds_messages_total\{type="nack"\} [1-9]/m);
  const tried = bad.answers.length;
  await server.replanned();
  assert.equal(bad.answers.length, tried, "a refusal alone is never answered (R20)");
  assert.equal(server.running.status().signer, FIRST);

  bad.judge = () => undefined;
  await writeFile(services, "shop/pay: [pay.shop, more.shop]\n");
  await until("the mesh rotates on", () => signedBy(good, NEXT) && signedBy(bad, NEXT));
  assert.equal(stateOf(bad)?.error, undefined);
  await server.logged(/has accepted its secrets again$/);
  const refused = bad.answers.filter(({ nack: text }) => text !== undefined);
  assert.ok(refused.length > 0);
  for (const { response } of refused) {
    const same = bad.answers.filter(
      (one) => versionOf(one.response) === versionOf(response) && nameOf(one.response) === nameOf(response),
    );
    const bytes = same.map((one) => one.response.resources[0]?.any.toString("base64"));
    assert.equal(new Set(bytes).size, bytes.length, "no bytes twice (E3)");
  }
  const [retried] = bad.answers.filter(
    ({ response, nack: text }) =>
      text === undefined && versionOf(response).startsWith("2-") && nameOf(response) === BUNDLE,
  );
  assert.ok(retried, "the refused content itself was accepted in the end");
});

test("a restart in the middle: state is read back, versions stay, gates wait for every proxy to report", async (t) => {
  const server = await startServer(t, { recoveryWindow: "10m" });
  const credentials = [await server.credential("cart.shop"), await server.credential("pay.shop")] as const;
  const before = credentials.map((one) => startRawProxy(server, one));
  await until(
    "both are synced",
    () =>
      server.running.status().proxies.filter(({ sync, leafExpires }) => sync === "SYNCED" && leafExpires).length === 2,
  );
  await server.createRoot(NEXT);
  await until("both trust both", () =>
    server.running.status().proxies.every(({ sync, trusts }) => sync === "SYNCED" && trusts.length === 2),
  );
  const version = before[0]?.accepted(BUNDLE);
  assert.match(version ?? "", /^2-/);
  await server.running.stop();
  for (const proxy of before) assert.equal((await proxy.ended).code, 0);

  await server.setRole(NEXT, "active");
  await server.setRole(FIRST, "passive");
  await server.start();
  const recovering = () => server.running.status().holds.find(({ reason }) => reason === "Recovering");
  await until("the hold", () => recovering() !== undefined);
  const { signer, trusted, generation, proxies } = server.running.status();
  assert.deepEqual([signer, trusted, generation], [FIRST, [FIRST, NEXT], 2]);
  assert.deepEqual(
    proxies.map(({ connected, trusts, signedBy }) => [connected, trusts.length, signedBy.join()]),
    [
      [false, 2, FIRST],
      [false, 2, FIRST],
    ],
  );
  assert.deepEqual([recovering()?.gate, recovering()?.waitingFor.length], ["signer", 2]);
  assert.ok((recovering()?.until ?? 0) > Date.now());
  assert.match(recovering()?.message ?? "", /cart.shop.*pay.shop|pay.shop.*cart.shop/);

  const first = startRawProxy(server, credentials[0]);
  await until("one has reported", () => recovering()?.waitingFor.length === 1);
  assert.deepEqual(
    recovering()?.waitingFor.map(({ identity }) => identity),
    ["pay.shop"],
  );
  await until("it has its bundle", () => first.accepted(BUNDLE) !== undefined);
  assert.equal(first.accepted(BUNDLE), version, "the same content has the same version");
  assert.equal(server.running.status().signer, FIRST);
  startRawProxy(server, credentials[1], { variant: "delta" });
  await until("the signer moves", () => server.running.status().signer === NEXT);
  await until("everybody follows", () =>
    server.running.status().proxies.every(({ sync, signedBy }) => sync === "SYNCED" && signedBy.join() === NEXT),
  );
  assert.equal(server.running.status().generation, 3);
});

function certificates(pem: string): string[] {
  const blocks = pem.match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g) ?? [];
  return blocks.map((block) => new X509Certificate(block).fingerprint256.replaceAll(":", "").toLowerCase());
}

/** Neither those that went out, nor those that are at rest where they belong, are anywhere else. */
async function assertNoPrivateKeys(server: TestServer, proxies: readonly RawProxy[]): Promise<void> {
  const { dataDir } = server.config;
  const keys = proxies.flatMap(({ answers }) =>
    answers.flatMap(({ response }) =>
      response.secrets.flatMap((secret) => (secret.kind === "tlsCertificate" ? [secret.privateKeyPem] : [])),
    ),
  );
  for (const file of await readdir(join(dataDir, "secrets/osm-system"))) {
    const { data } = parse(await readFile(join(dataDir, "secrets/osm-system", file), "utf8")) as {
      data: Record<string, string>;
    };
    const key = data["private.key"] ?? data["tls.key"];
    assert.ok(key !== undefined, file);
    keys.push(Buffer.from(key, "base64").toString());
  }
  assert.ok(keys.length >= 2 * proxies.length + 2);
  const places = new Map([
    ["log", JSON.stringify(server.log)],
    ["metrics", (await server.http("/metrics")).text],
    ["ready", (await server.http("/health/ready")).text],
    ["status", JSON.stringify(await serverStatus(dataDir))],
  ]);
  for (const file of await readdir(join(dataDir, "state")))
    places.set(file, await readFile(join(dataDir, "state", file), "utf8"));
  for (const [place, text] of places) {
    assert.ok(text.length > 0, place);
    assert.doesNotMatch(text, /PRIVATE KEY/, place);
    for (const key of keys) {
      const [line = ""] = key
        .split("\n")
        .filter((one) => /^[A-Za-z0-9+/=]{40,}$/.test(one))
        .slice(-1);
      assert.ok(line.length >= 40);
      assert.ok(!text.includes(line), place);
    }
  }
}
