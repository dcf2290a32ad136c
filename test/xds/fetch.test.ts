/** FetchSecrets over real gRPC (R66, R67): one answer, and no word about what runs. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { status } from "@grpc/grpc-js";
import { SECRET_TYPE_URL } from "../../src/secrets/secret-codec.ts";
import { startServer, until } from "../support/server.ts";

const CLUSTER = "type.googleapis.com/envoy.config.cluster.v3.Cluster";

test("FetchSecrets returns the secrets that were asked for and are the caller's, with a version and no nonce (R66)", async (t) => {
  const server = await startServer(t);
  const client = server.client(await server.credential("cart.shop"));
  const response = await client.fetch({ names: ["ROOTCA", "default", "ROOTCA", "nothing-of-this-name"] });
  assert.equal(response.typeUrl, SECRET_TYPE_URL);
  assert.equal(response.nonce, "");
  assert.match(response.version, /^[0-9a-f]{16}$/);
  assert.deepEqual(response.secrets.map(({ name, kind }) => [name, kind]).sort(), [
    ["ROOTCA", "validationContext"],
    ["default", "tlsCertificate"],
  ]);
  const one = await client.fetch({ names: ["ROOTCA"], typeUrl: "" });
  assert.match(one.version, /^1-[0-9a-f]{12}$/);
  const again = await client.fetch({ names: ["ROOTCA"], version: one.version });
  assert.equal(again.secrets.length, 1, "a version that is current gets the body all the same (R67)");
});

test("what was fetched counts as what may run, and an answer on a stream is still the only ACK (R66)", async (t) => {
  const server = await startServer(t);
  const client = server.client(await server.credential("cart.shop"));
  await client.fetch({ names: ["ROOTCA", "default"] });
  await until("the row", () => server.running.status().proxies.length === 1);
  const [row] = server.running.status().proxies;
  assert.deepEqual(row?.versions, {}, "nothing is ACKed");
  assert.deepEqual(row?.signedBy.length, 1, "the leaf may be presented");
  assert.equal(row?.connected, false);

  const stream = client.secrets();
  const response = await stream.request({ names: ["ROOTCA"] }).next();
  stream.ack();
  await until("the ACK", () => server.running.status().proxies[0]?.versions.ROOTCA === response.version);
  await client.fetch({ names: ["ROOTCA"] });
  assert.equal(server.running.status().proxies[0]?.versions.ROOTCA, response.version, "a fetch changes no ACK");
});

test("a request that can't be meant is INVALID_ARGUMENT; what can't be had is NOT_FOUND, whoever's it is (R67, T14)", async (t) => {
  const server = await startServer(t);
  const client = server.client(await server.credential("cart.shop"));
  const rows: [string, Parameters<typeof client.fetch>[0], number, RegExp][] = [
    ["no names", { names: [] }, status.INVALID_ARGUMENT, /resource_names is empty/],
    ["empty names", { names: ["", ""] }, status.INVALID_ARGUMENT, /resource_names is empty/],
    ["another type", { names: ["a"], typeUrl: CLUSTER }, status.INVALID_ARGUMENT, /serves .*Secret, not .*Cluster/],
    ["no node", { names: ["ROOTCA"], node: false }, status.INVALID_ARGUMENT, /missing node information/],
    ["nobody's name", { names: ["nothing-of-this-name"] }, status.NOT_FOUND, /none of these/],
    ["everything", { names: ["*"] }, status.NOT_FOUND, /none of these/],
    [
      "another's name, and another's node",
      { names: ["service-cert:shop/pay"], node: { id: "pay" } },
      status.NOT_FOUND,
      /none of these/,
    ],
  ];
  for (const [what, ask, code, details] of rows) {
    await assert.rejects(
      client.fetch(ask),
      (end: { code: number; details: string }) => {
        assert.equal(end.code, code, `${what}: ${end.details}`);
        assert.match(end.details, details, what);
        return true;
      },
      what,
    );
  }
  assert.ok(
    server.log.some(({ component, name }) => component === "audit" && name === "service-cert:shop/pay"),
    "asking for another's secret is in the audit",
  );
});

test("what could not be recorded is not handed out: UNAVAILABLE (E7)", async (t) => {
  const server = await startServer(t);
  const client = server.client(await server.credential("cart.shop"));
  await client.fetch({ names: ["ROOTCA"] });
  server.failDisk((step) => Object.assign(new Error(`EIO: i/o error, ${step}`), { code: "EIO" }));
  await assert.rejects(client.fetch({ names: ["default"] }), { code: status.UNAVAILABLE });
  server.failDisk(undefined);
  await until("it can be had", () =>
    client.fetch({ names: ["default"] }).then(
      ({ secrets }) => secrets.length === 1,
      () => false,
    ),
  );
});
