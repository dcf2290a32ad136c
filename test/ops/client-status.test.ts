/** CSDS as grpcurl sees it: what each proxy was sent and has answered, on the operator's socket alone. */

import assert from "node:assert/strict";
import { stat } from "node:fs/promises";
import { type TestContext, test } from "node:test";
import type { ClientConfig, ClientStatusResponse } from "../../src/ops/client-status-messages.ts";
import type { BootstrapAnswer } from "../../src/serve/admin-api.ts";
import { grpcSocketPath } from "../../src/serve/sockets.ts";
import { grpcCaller } from "../support/grpc-call.ts";
import { startServer, type TestServer, until } from "../support/server.ts";

const SERVICE = "envoy.service.status.v3.ClientStatusDiscoveryService";
const INVALID_ARGUMENT = 3;
const UNIMPLEMENTED = 12;

function operator(t: TestContext, server: TestServer) {
  const caller = grpcCaller(t, `unix:${grpcSocketPath(server.config.dataDir)}`);
  const fetch = (request: object = {}) => caller.unary<ClientStatusResponse>(SERVICE, "FetchClientStatus", request);
  return {
    caller,
    fetch,
    /** name -> `config_status client_status`. */
    async states(): Promise<Record<string, string>> {
      const { config } = await fetch();
      return Object.fromEntries(
        config.flatMap(({ generic_xds_configs }) =>
          generic_xds_configs.map((secret) => [secret.name, `${secret.config_status} ${secret.client_status}`]),
        ),
      );
    },
    async only(): Promise<ClientConfig> {
      const { config } = await fetch();
      assert.equal(config.length, 1);
      return config[0] ?? assert.fail();
    },
  };
}

const names = ({ config }: ClientStatusResponse) => config.map(({ node }) => node.id).sort();

test("a secret is STALE until it is ACKed, then SYNCED, and UNKNOWN once its proxy is away", async (t) => {
  const server = await startServer(t);
  const { states, only } = operator(t, server);
  const client = server.client(await server.credential("cart.shop"));
  const stream = client.secrets({ node: { id: "cart-1", cluster: "cart" } });
  const bundle = await stream.request({ names: ["ROOTCA"] }).next();
  assert.deepEqual(await states(), { ROOTCA: "STALE REQUESTED" });
  stream.ack();
  await until("ROOTCA is SYNCED", async () => (await states()).ROOTCA === "SYNCED ACKED");
  const { node, client_scope, generic_xds_configs } = await only();
  assert.equal(node.id, "cart-1");
  assert.equal(node.cluster, "cart");
  assert.match(
    JSON.stringify(node.metadata.fields.verified_identity),
    /meshroot:\/\/cluster\.local\/proxy\/shop\/cart\//,
  );
  assert.notEqual(client_scope, "");
  const [secret] = generic_xds_configs;
  assert.equal(secret?.type_url, "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret");
  assert.equal(secret?.version_info, bundle.version);
  assert.ok(Math.abs(Number(secret?.last_updated?.seconds) - Date.now() / 1_000) < 120);
  assert.equal(secret?.error_state ?? undefined, undefined);
  await stream.cancel();
  await until("the proxy is away", async () => (await states()).ROOTCA === "UNKNOWN ACKED");
  assert.equal((await only()).generic_xds_configs[0]?.version_info, bundle.version);
});

test("a name that does not exist is NOT_SENT, and keeps no other from SYNCED (R86)", async (t) => {
  const server = await startServer(t);
  const { states } = operator(t, server);
  const stream = server.client(await server.credential("cart.shop")).secrets();
  await stream.request({ names: ["ROOTCA", "no-such-secret"] }).next();
  stream.ack();
  await until("ROOTCA is SYNCED", async () => (await states()).ROOTCA === "SYNCED ACKED");
  assert.equal((await states())["no-such-secret"], "NOT_SENT DOES_NOT_EXIST");
});

test("a NACK makes ERROR of the whole set, with Envoy's words; a stale NACK makes none (R17, E12)", async (t) => {
  const server = await startServer(t);
  const { states, only } = operator(t, server);
  const credential = await server.credential("cart.shop");
  const stream = server.client(credential).secrets();
  const bundle = await stream.request({ names: ["ROOTCA", "default"] }).next();
  stream.ack();
  const leaf = await stream.next();
  assert.notEqual(leaf.nonce, bundle.nonce);
  stream.ack();
  await until("both are SYNCED", async () => Object.values(await states()).every((state) => state === "SYNCED ACKED"));
  // Of a response that was answered long ago.
  stream.nack("too late", {}, bundle);
  await server.createRoot("next");
  const both = await stream.next();
  assert.deepEqual(
    Object.values(await states()).sort(),
    ["STALE ACKED", "SYNCED ACKED"],
    "the stale NACK said nothing",
  );
  stream.nack("Failed to load trusted CA certificates", {}, both);
  await until("ROOTCA is ERROR", async () => (await states()).ROOTCA === "ERROR NACKED");
  const secret = (await only()).generic_xds_configs.find(({ name }) => name === "ROOTCA");
  assert.equal(secret?.version_info, bundle.version, "the last one that was ACKed");
  assert.equal(secret?.error_state?.version_info, both.version);
  assert.equal(secret?.error_state?.details, "answering ROOTCA: Failed to load trusted CA certificates");
});

test("two proxies that call themselves the same stay two; of two streams the newest gives node and scope", async (t) => {
  const server = await startServer(t);
  const { fetch } = operator(t, server);
  const first = server.client(await server.credential("cart.shop"));
  const second = server.client(await server.credential("till.shop"));
  for (const client of [first, second])
    await client
      .secrets()
      .request({ names: ["ROOTCA"] })
      .next();
  const before = (await fetch()).config;
  assert.deepEqual(names({ config: before }), ["test-node", "test-node"]);
  assert.equal(new Set(before.map(({ node }) => JSON.stringify(node.metadata.fields.verified_identity))).size, 2);
  await first
    .ads({ node: { id: "newer", cluster: "test" } })
    .request({ names: ["ALL"] })
    .next();
  const after = (await fetch()).config;
  assert.deepEqual(names({ config: after }), ["newer", "test-node"]);
  const scopes = [...before, ...after].map(({ client_scope }) => client_scope);
  assert.equal(new Set(scopes).size, 3);
});

test("node_matchers choose by id, metadata and proven identity; one that matches is enough", async (t) => {
  const server = await startServer(t);
  const { fetch, caller } = operator(t, server);
  for (const [identity, id] of [
    ["cart.shop", "cart-1"],
    ["till.shop", "till-1"],
    ["cart.other", "cart-2"],
  ] as const) {
    const client = server.client(await server.credential(identity));
    await client
      .secrets({ node: { id, cluster: "c" } })
      .request({ names: ["ROOTCA"] })
      .next();
  }
  const chosen = async (...node_matchers: object[]) => names(await fetch({ node_matchers }));
  assert.deepEqual(await chosen(), ["cart-1", "cart-2", "till-1"]);
  assert.deepEqual(await chosen({ node_id: { exact: "till-1" } }), ["till-1"]);
  assert.deepEqual(await chosen({ node_id: { prefix: "CART-", ignore_case: true } }), ["cart-1", "cart-2"]);
  assert.deepEqual(await chosen({ node_id: { safe_regex: { regex: "cart-[0-9]" } } }), ["cart-1", "cart-2"]);
  assert.deepEqual(await chosen({ node_id: { safe_regex: { regex: "cart" } } }), [], "the whole id has to match");
  assert.deepEqual(await chosen({ node_id: { exact: "till-1" } }, { node_id: { suffix: "-2" } }), ["cart-2", "till-1"]);
  const inShop = { path: [{ key: "verified_identity" }], value: { string_match: { contains: "/proxy/shop/" } } };
  assert.deepEqual(await chosen({ node_metadatas: [inShop] }), ["cart-1", "till-1"]);
  assert.deepEqual(
    await chosen({ node_id: { prefix: "cart" }, node_metadatas: [inShop] }),
    ["cart-1"],
    "both have to agree",
  );
  await assert.rejects(fetch({ node_matchers: [{ node_id: { safe_regex: { regex: "(" } } }] }), {
    code: INVALID_ARGUMENT,
    details: /^MR4004 .*safe_regex/,
  });

  const streamed = await caller.exchange<ClientStatusResponse>(SERVICE, "StreamClientStatus", [
    {},
    { node_matchers: [{ node_id: { exact: "till-1" } }] },
  ]);
  assert.deepEqual(streamed.answers.map(names), [["cart-1", "cart-2", "till-1"], ["till-1"]], "one answer per request");
  assert.equal(streamed.code, 0, "a half-close ends it with OK");
  const refused = await caller.exchange(SERVICE, "StreamClientStatus", [{ node_matchers: [{ node_id: {} }] }]);
  assert.equal(refused.code, INVALID_ARGUMENT);
});

test("no private key is in an answer, and no port has the service but the operator's socket, which is the owner's", async (t) => {
  const server = await startServer(t);
  const { fetch } = operator(t, server);
  const credential = await server.credential("cart.shop");
  const stream = server.client(credential).secrets();
  const leaf = await stream.request({ names: ["default"] }).next();
  stream.ack();
  const text = JSON.stringify(await fetch());
  const key = leaf.secrets[0]?.kind === "tlsCertificate" ? leaf.secrets[0].privateKeyPem : assert.fail("no leaf");
  const der = Buffer.from(key.replaceAll(/-----[^-]+-----|\s/g, ""), "base64");
  assert.ok(der.length > 100);
  for (const form of [der.toString("base64"), der.toString("hex"), "PRIVATE KEY"]) assert.ok(!text.includes(form));

  const tls = tlsOf(credential);
  const { xdsPort, healthPort } = server.running;
  for (const caller of [grpcCaller(t, `127.0.0.1:${xdsPort}`, tls), grpcCaller(t, `127.0.0.1:${healthPort}`)])
    await assert.rejects(caller.unary(SERVICE, "FetchClientStatus", {}), { code: UNIMPLEMENTED });
  const { mode } = await stat(grpcSocketPath(server.config.dataDir));
  assert.equal(mode & 0o777, 0o600);
});

test("a node's own metadata is passed on, and can be matched; what claims to be the proven identity is not", async (t) => {
  const server = await startServer(t);
  const { fetch } = operator(t, server);
  const proxy = grpcCaller(t, `127.0.0.1:${server.running.xdsPort}`, tlsOf(await server.credential("cart.shop")));
  const text = (stringValue: string) => ({ stringValue });
  const fields = {
    LABELS: { structValue: { fields: { app: text("cart"), version: text("v2") } } },
    PORTS: { listValue: { values: [{ numberValue: 8080 }, { numberValue: 9090 }] } },
    READY: { boolValue: true },
    verified_identity: text("meshroot://cluster.local/proxy/bank/vault/sidecar/1"),
  };
  const node = { id: "cart-1", metadata: { fields } };
  const request = { node, resource_names: ["ROOTCA"] };
  await proxy.exchange("envoy.service.secret.v3.SecretDiscoveryService", "StreamSecrets", [request]);
  const matching = async (path: readonly string[], value: object) => {
    const matcher = { path: path.map((key) => ({ key })), value };
    return (await fetch({ node_matchers: [{ node_metadatas: [matcher] }] })).config.length;
  };
  assert.equal(await matching(["LABELS", "version"], { string_match: { exact: "v2" } }), 1);
  assert.equal(await matching(["LABELS", "version"], { string_match: { exact: "v1" } }), 0);
  assert.equal(await matching(["PORTS"], { list_match: { one_of: { double_match: { exact: 9090 } } } }), 1);
  assert.equal(await matching(["READY"], { bool_match: true }), 1);
  assert.equal(await matching(["ABSENT"], { present_match: false }), 1);
  assert.equal(await matching(["verified_identity"], { string_match: { contains: "bank" } }), 0);
  assert.equal(await matching(["verified_identity"], { string_match: { contains: "/proxy/shop/cart/" } }), 1);
});

function tlsOf({ caPem, certPem, keyPem, serverName }: BootstrapAnswer) {
  return { ca: caPem, certificate: certPem, key: keyPem, serverName };
}
