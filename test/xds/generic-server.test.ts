/** `meshroot/xds` as somebody else would use it: clusters and routes from memory, over mTLS, on their own services and over ADS. */

import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import * as grpc from "@grpc/grpc-js";
import {
  type ClientDeltaRequest,
  type ClientSotwRequest,
  decodeDeltaResponse,
  decodeSotwResponse,
  encodeDeltaRequest,
  encodeSotwRequest,
  type ReceivedResponse,
} from "../../src/xds/client-wire.ts";
import { type Resource, resourceMap, XdsServer } from "../../src/xds/index.ts";
import { AGGREGATED, type RawMethod, serviceOf } from "../../src/xds/services.ts";
import { decodeAny } from "../../src/xds/wire.ts";
import { makeTestLeaf, makeTestRoot } from "../support/test-certificates.ts";

const CLUSTER = "type.googleapis.com/envoy.config.cluster.v3.Cluster";
const ROUTE = "type.googleapis.com/envoy.config.route.v3.RouteConfiguration";
const node = { id: "some-node" };

const resources = (versions: Record<string, string>): Map<string, Resource> =>
  new Map(
    Object.entries(versions).map(([name, version]) => [name, { version, value: Buffer.from(`${name} ${version}`) }]),
  );

async function start(t: TestContext) {
  const root = await makeTestRoot("root");
  const server = await makeTestLeaf(root, { dns: ["xds.example"] });
  const client = await makeTestLeaf(root, { uris: ["spiffe://example/someone"] });
  const clusters = resourceMap({ typeUrl: CLUSTER, packing: "full", wildcard: true });
  const routes = resourceMap({ typeUrl: ROUTE });
  const xds = new XdsServer<string>({
    credentials: { certificatePem: server.certPem, privateKeyPem: server.keyPem, clientCaPem: root.certPem },
    identify: (certificate) => certificate.subjectAltName ?? "",
    sources: [clusters, routes],
    refused: () => undefined,
    onNode: () => undefined,
    onEvent: () => undefined,
    onRetired: () => undefined,
    now: () => Date.now(),
  });
  const port = await xds.listen("127.0.0.1", 0);
  const tls = grpc.credentials.createSsl(
    Buffer.from(root.certPem),
    Buffer.from(client.keyPem),
    Buffer.from(client.certPem),
  );
  const channel = new grpc.Client(`127.0.0.1:${port}`, tls, { "grpc.ssl_target_name_override": "xds.example" });
  t.after(async () => {
    channel.close();
    await xds.close();
  });
  return { clusters, routes, channel };
}

function open<Request>(
  channel: grpc.Client,
  method: RawMethod | undefined,
  encode: (request: Request) => Buffer,
  decode: (bytes: Buffer) => ReceivedResponse,
) {
  assert.ok(method);
  const call = channel.makeBidiStreamRequest(method.path, method.requestSerialize, method.responseDeserialize);
  call.on("error", () => undefined);
  const received = call.iterator() as NodeJS.AsyncIterator<Buffer>;
  return {
    say: (request: Request) => void call.write(encode(request)),
    next: async () => {
      const { value, done } = await received.next();
      assert.ok(!done, "the stream has ended");
      const response = decode(value as Buffer);
      return { ...response, values: response.resources.map(({ any }) => decodeAny(any).value.toString()) };
    },
  };
}

const sotw = (channel: grpc.Client, method?: RawMethod) =>
  open<ClientSotwRequest>(channel, method, encodeSotwRequest, decodeSotwResponse);
const delta = (channel: grpc.Client, method?: RawMethod) =>
  open<ClientDeltaRequest>(channel, method, encodeDeltaRequest, decodeDeltaResponse);

test("clusters over their own service: SotW always in full, delta only what changed", async (t) => {
  const { clusters, channel } = await start(t);
  clusters.set(resources({ a: "1", b: "1" }));
  const service = serviceOf(CLUSTER);
  const whole = sotw(channel, service?.sotw);
  whole.say({ node });
  const first = await whole.next();
  assert.deepEqual(first.values, ["a 1", "b 1"]);
  assert.equal(first.typeUrl, CLUSTER);
  whole.say({ versionInfo: first.version, responseNonce: first.nonce });
  const parts = delta(channel, service?.delta);
  parts.say({ node });
  const begun = await parts.next();
  assert.deepEqual(
    begun.resources.map(({ name, version }) => `${name} ${version}`),
    ["a 1", "b 1"],
  );
  parts.say({ responseNonce: begun.nonce });
  clusters.set(resources({ b: "2" }));
  assert.deepEqual((await whole.next()).values, ["b 2"]);
  const change = await parts.next();
  assert.deepEqual([change.values, change.removed], [["b 2"], ["a"]]);
});

test("two types on one ADS stream, each with its own versions, nonces and outcome (R8)", async (t) => {
  const { clusters, routes, channel } = await start(t);
  clusters.set(resources({ a: "1" }));
  routes.set(resources({ r: "1", s: "1" }));
  const ads = sotw(channel, AGGREGATED.sotw);
  ads.say({ node, typeUrl: CLUSTER });
  const cluster = await ads.next();
  ads.say({ typeUrl: ROUTE, resourceNames: ["r"] });
  const route = await ads.next();
  assert.deepEqual([route.typeUrl, route.values], [ROUTE, ["r 1"]]);
  ads.say({ typeUrl: ROUTE, resourceNames: ["r"], versionInfo: route.version, responseNonce: route.nonce });
  routes.set(resources({ r: "2", s: "2" }));
  assert.deepEqual(
    (await ads.next()).values,
    ["r 2"],
    "the cluster's answer is still missing, and matters to no route",
  );
  ads.say({ typeUrl: CLUSTER, versionInfo: cluster.version, responseNonce: cluster.nonce });
  clusters.set(new Map());
  const empty = await ads.next();
  assert.deepEqual([empty.typeUrl, empty.values], [CLUSTER, []]);
});

for (const variant of ["sotw", "delta"] as const) {
  test(`make before break on ADS: a route waits for clusters that could not go out yet (${variant})`, async (t) => {
    const { clusters, routes, channel } = await start(t);
    clusters.set(resources({ a: "1" }));
    routes.set(resources({ r: "1" }));
    const ads = variant === "sotw" ? sotw(channel, AGGREGATED.sotw) : delta(channel, AGGREGATED.delta);
    const acknowledge = ({ typeUrl, version, nonce }: Awaited<ReturnType<typeof ads.next>>) =>
      typeUrl === ROUTE && variant === "sotw"
        ? ads.say({ typeUrl, versionInfo: version, responseNonce: nonce, resourceNames: ["r"] })
        : ads.say({ typeUrl, versionInfo: version, responseNonce: nonce });
    ads.say(variant === "sotw" ? { node, typeUrl: CLUSTER } : { node, typeUrl: CLUSTER, subscribe: ["*"] });
    const first = await ads.next();
    ads.say(variant === "sotw" ? { typeUrl: ROUTE, resourceNames: ["r"] } : { typeUrl: ROUTE, subscribe: ["r"] });
    acknowledge(await ads.next());
    // The first clusters are still unanswered: the new one can't go out, and the route that needs it must not overtake it.
    clusters.set(resources({ a: "1", b: "2" }));
    routes.set(resources({ r: "2" }));
    acknowledge(first);
    const next = await ads.next();
    assert.equal(next.typeUrl, CLUSTER);
    assert.ok(next.values.includes("b 2"));
    const then = await ads.next();
    assert.deepEqual([then.typeUrl, then.values], [ROUTE, ["r 2"]]);
  });
}

test("C8: a type waits only behind a change: an answer that is missing for what has not changed holds nobody up", async (t) => {
  const { clusters, routes, channel } = await start(t);
  clusters.set(resources({ a: "1" }));
  routes.set(resources({ r: "1" }));
  const ads = sotw(channel, AGGREGATED.sotw);
  ads.say({ node, typeUrl: CLUSTER });
  const cluster = await ads.next();
  ads.say({ typeUrl: ROUTE, resourceNames: ["r"] });
  const answer = async (values: string) => {
    const { values: seen, typeUrl, version, nonce } = await ads.next();
    assert.deepEqual([typeUrl, seen], [ROUTE, [values]]);
    ads.say({ typeUrl, resourceNames: ["r"], versionInfo: version, responseNonce: nonce });
  };
  await answer("r 1");
  // Everything is set anew, and only routes differ: the clusters' first answer never comes.
  clusters.set(resources({ a: "1" }));
  routes.set(resources({ r: "2" }));
  await answer("r 2");
  // A change waits, and is taken back.
  clusters.set(resources({ a: "2" }));
  routes.set(resources({ r: "3" }));
  clusters.set(resources({ a: "1" }));
  await answer("r 3");
  clusters.set(resources({ a: "2" }));
  routes.set(resources({ r: "4" }));
  ads.say({ typeUrl: CLUSTER, versionInfo: cluster.version, responseNonce: cluster.nonce });
  assert.deepEqual((await ads.next()).values, ["a 2"], "behind a change it waits");
});

test("R57: a delta client that reconnects gets what has changed, and no more", async (t) => {
  const { clusters, channel } = await start(t);
  clusters.set(resources({ a: "1", b: "2" }));
  const stream = delta(channel, serviceOf(CLUSTER)?.delta);
  stream.say({
    node,
    initialResourceVersions: new Map([
      ["a", "1"],
      ["b", "1"],
      ["c", "1"],
    ]),
  });
  const { values, removed } = await stream.next();
  assert.deepEqual([values, removed], [["b 2"], ["c"]]);
});
