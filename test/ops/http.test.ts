/** What machines read over HTTP. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { startRawProxy } from "../support/raw-proxy.ts";
import { FIRST, startServer, until } from "../support/server.ts";

test("health, version and what is not there", async (t) => {
  const server = await startServer(t);
  assert.deepEqual(await server.http("/health/alive"), {
    status: 200,
    text: "ok\n",
    type: "text/plain; charset=UTF-8",
  });
  assert.equal((await server.http("/health/ready")).text, "ok\n");
  assert.equal((await server.http("/healthz")).status, 302);
  const version = await server.http("/version");
  assert.deepEqual(JSON.parse(version.text), { version: "1.2.3-test", node: process.versions.node });
  const missing = await server.http("/v1/status");
  assert.equal(missing.status, 404, "the operator's door is not on this port");
  assert.match(missing.text, /try \/health\/ready/);
});

test("metrics: what they are called, what they count, and no proxy's name in any label", async (t) => {
  const server = await startServer(t);
  const metric = async (line: string) => {
    const { text } = await server.http("/metrics");
    return Number(
      text
        .split("\n")
        .find((one) => one.startsWith(`${line} `))
        ?.split(" ")
        .at(-1),
    );
  };
  const first = await server.http("/metrics");
  assert.match(first.type ?? "", /^text\/plain; version=0.0.4/);
  const names = [...first.text.matchAll(/^# TYPE (\S+) (\S+)$/gm)].map(([, name, type]) => `${name} ${type}`);
  assert.deepEqual(names.filter((name) => name.startsWith("meshroot_")).sort(), [
    "meshroot_build_info gauge",
    "meshroot_certificate_expiration_timestamp_seconds gauge",
    "meshroot_certificate_issue_duration_seconds histogram",
    "meshroot_certificates_issued_total counter",
    "meshroot_clock_leaps_total counter",
    "meshroot_clock_off_seconds gauge",
    "meshroot_connections_turned_away_total counter",
    "meshroot_proxies gauge",
    "meshroot_root_info gauge",
    "meshroot_rotation_gate_blocked gauge",
    "meshroot_signer_ends_soon gauge",
    "meshroot_state_writable gauge",
    "meshroot_state_write_failures_total counter",
    "meshroot_trust_generation gauge",
    "meshroot_xds_clients_refused_total counter",
    "meshroot_xds_messages_total counter",
    "meshroot_xds_streams gauge",
  ]);
  assert.equal(await metric('meshroot_build_info{version="1.2.3-test"}'), 1);
  const root = server.running.status().roots[0];
  assert.equal(
    await metric(`meshroot_certificate_expiration_timestamp_seconds{root="${FIRST}"}`),
    Date.parse(root?.notAfter ?? "") / 1000,
  );
  assert.equal(
    await metric(
      `meshroot_root_info{name="${FIRST}",role="active",fingerprint="${root?.fingerprint}",signing="true",validating="true"}`,
    ),
    1,
  );

  const proxy = startRawProxy(server, await server.credential("cart.shop"));
  await until(
    "synced",
    () =>
      server.running.status().proxies[0]?.signedBy.length === 1 &&
      server.running.status().proxies[0]?.sync === "SYNCED",
  );
  assert.equal(await metric("meshroot_xds_streams"), 1);
  assert.equal(await metric('meshroot_proxies{sync="SYNCED"}'), 1);
  assert.equal(await metric('meshroot_proxies{sync="ERROR"}'), 0);
  assert.equal(await metric('meshroot_certificates_issued_total{kind="leaf",result="ok"}'), 1);
  assert.equal(await metric("meshroot_certificate_issue_duration_seconds_count"), 1);
  for (const [type, count] of [
    ["request", 3],
    ["response", 2],
    ["ack", 2],
  ] as const)
    assert.equal(await metric(`meshroot_xds_messages_total{type="${type}"}`), count, type);

  await server.createRoot("next");
  await until("trust grows", async () => (await metric("meshroot_trust_generation")) === 2);
  const { text } = await server.http("/metrics");
  assert.ok(!text.includes(proxy.uuid) && !text.includes("cart"));
  assert.match(text, /^meshroot_rotation_gate_blocked\{gate="signer"\} 0$/m);
});
