/** Several types that change together: what each stream is sent, and when, over real ADS streams of both variants. */

import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { type Resource, type ResourceVerdict, resourceSet, XdsServer } from "../../src/xds/index.ts";
import { until } from "../support/server.ts";
import { makeTestLeaf, makeTestRoot } from "../support/test-certificates.ts";
import { type Response, type XdsTestClient, xdsClient } from "../support/xds-client.ts";

const PREFIX = "type.googleapis.com/envoy.config";
const ENDPOINTS = `${PREFIX}.endpoint.v3.ClusterLoadAssignment`;
const CLUSTERS = `${PREFIX}.cluster.v3.Cluster`;
const ROUTES = `${PREFIX}.route.v3.RouteConfiguration`;
const SERVER_NAME = "xds.example";

/** Names with their versions. */
type Contents = Readonly<Partial<Record<"endpoints" | "clusters" | "routes", string>>>;

async function start(t: TestContext) {
  const root = await makeTestRoot("root");
  const own = await makeTestLeaf(root, { dns: [SERVER_NAME] });
  const verdicts: ResourceVerdict[] = [];
  const resources = resourceSet({
    types: [{ typeUrl: ENDPOINTS }, { typeUrl: CLUSTERS, packing: "full", wildcard: true }, { typeUrl: ROUTES }],
    onVerdict: (verdict) => void verdicts.push(verdict),
  });
  const server = new XdsServer<string>({
    credentials: { certificatePem: own.certPem, privateKeyPem: own.keyPem, clientCaPem: root.certPem },
    identify: () => "someone",
    sources: resources.sources,
  });
  const port = await server.listen("127.0.0.1", 0);
  const tls = { ca: root.certPem, certificate: own.certPem, key: own.keyPem, serverName: SERVER_NAME };
  const client = xdsClient(port, tls);
  t.after(async () => {
    client.close();
    await server.close();
  });
  const set = ({ endpoints = "", clusters = "", routes = "" }: Contents) =>
    resources.set(new Map([typed(ENDPOINTS, endpoints), typed(CLUSTERS, clusters), typed(ROUTES, routes)]));
  return { client, resources, set, verdicts };
}

function typed(typeUrl: string, contents: string): [string, Map<string, Resource>] {
  const pairs = contents.split(", ").filter((pair) => pair !== "");
  return [
    typeUrl,
    new Map(pairs.map((pair) => [pair.split(" ")[0] ?? "", { version: pair, value: Buffer.from(pair) }])),
  ];
}

/** A stream that ACKs whatever comes, until told not to. */
function player(client: XdsTestClient, variant: "sotw" | "delta") {
  const names = new Map<string, readonly string[]>();
  const sotw = variant === "sotw" ? client.ads() : undefined;
  const delta = variant === "delta" ? client.deltaAds() : undefined;
  /** `=version` at the end: what the client has of the first name. */
  const ask = (typeUrl: string, ...words: string[]) => {
    const wanted = words.filter((word) => !word.startsWith("="));
    const has = words.find((word) => word.startsWith("="))?.slice(1);
    names.set(typeUrl, wanted);
    sotw?.request({ typeUrl, names: wanted, version: has ?? "", nonce: "" });
    const initialVersions = has === undefined ? {} : { initialVersions: { [wanted[0] ?? ""]: has } };
    delta?.request({ typeUrl, subscribe: wanted, ...initialVersions });
  };
  const next = async (): Promise<{ readonly said: string; readonly response: Response }> => {
    const response = await (sotw ?? delta)?.next();
    assert.ok(response !== undefined);
    const values = response.resources.map(({ any }) => any.subarray(any.indexOf("\x12") + 2).toString());
    const said = [...values, ...response.removed.map((name) => `-${name}`)].join(", ");
    return { said: `${response.typeUrl.split(".").at(-1)}: ${said}`, response };
  };
  const answer = (response: Response, error?: string) => {
    const { typeUrl } = response;
    const also = { typeUrl, ...(sotw === undefined ? {} : { names: names.get(typeUrl) ?? [] }) };
    if (error === undefined) (sotw ?? delta)?.ack(also, response);
    else (sotw ?? delta)?.nack(error, also, response);
  };
  return {
    ask,
    next,
    answer,
    silence: () => (sotw ?? delta)?.expectSilence(50),
    /** Receives these, in this order, and ACKs each before the next. */
    takes: async (...expected: readonly string[]) => {
      for (const one of expected) {
        const { said, response } = await next();
        assert.equal(said, one);
        answer(response);
      }
    },
  };
}

const BLUE = { endpoints: "blue 1", clusters: "blue 1", routes: "web 1" };
const GREEN = { endpoints: "green 1", clusters: "green 1", routes: "web 2" };

for (const variant of ["sotw", "delta"] as const) {
  const begin = async (t: TestContext) => {
    const started = await start(t);
    started.set(BLUE);
    const stream = player(started.client, variant);
    stream.ask(CLUSTERS);
    await stream.takes("Cluster: blue 1");
    stream.ask(ENDPOINTS, "blue");
    stream.ask(ROUTES, "web");
    await stream.takes("ClusterLoadAssignment: blue 1", "RouteConfiguration: web 1");
    return { ...started, stream };
  };

  test(`${variant}: the new goes out type by type, each after the ACK of those before it, and the old goes last`, async (t) => {
    const { set, stream } = await begin(t);
    set(GREEN);
    const cluster = await stream.next();
    assert.equal(cluster.said, variant === "sotw" ? "Cluster: blue 1, green 1" : "Cluster: green 1");
    await stream.silence();
    // As Envoy does: it asks for the endpoints of a new cluster before it ACKs it.
    stream.ask(ENDPOINTS, ...(variant === "sotw" ? ["blue", "green"] : ["green"]));
    const endpoints = await stream.next();
    assert.equal(endpoints.said, "ClusterLoadAssignment: green 1");
    stream.answer(cluster.response);
    await stream.silence();
    stream.answer(endpoints.response);
    const route = await stream.next();
    assert.equal(route.said, "RouteConfiguration: web 2");
    await stream.silence();
    stream.answer(route.response);
    if (variant === "sotw") await stream.takes("Cluster: green 1");
    else {
      const gone = [(await stream.next()).said, (await stream.next()).said].sort();
      assert.deepEqual(gone, ["Cluster: -blue", "ClusterLoadAssignment: -blue"]);
    }
    await stream.silence();
  });

  test(`${variant}: after a refusal no later type goes out and nothing is taken away, until it is mended`, async (t) => {
    const { set, stream, verdicts } = await begin(t);
    set({ ...GREEN, endpoints: "blue 2, green 1" });
    await stream.takes("ClusterLoadAssignment: blue 2");
    const cluster = await stream.next();
    stream.answer(cluster.response, "green is no colour");
    await until("the refusal has arrived", () => verdicts.at(-1)?.verdict === "nacked");
    await stream.silence();
    assert.deepEqual(
      verdicts
        .slice(-2)
        .map(({ typeUrl, verdict, message, resources }) => [typeUrl, verdict, message, resources.length]),
      [
        [ENDPOINTS, "acked", undefined, 1],
        [CLUSTERS, "nacked", "green is no colour", variant === "sotw" ? 2 : 1],
      ],
    );
    assert.equal(verdicts.at(-1)?.client.node.id, "test-node");
    // What stands before it in the order goes on.
    set({ ...GREEN, endpoints: "blue 3, green 1" });
    await stream.takes("ClusterLoadAssignment: blue 3");
    await stream.silence();
    set({ ...GREEN, endpoints: "blue 3, green 1", clusters: "green 2" });
    await stream.takes(
      variant === "sotw" ? "Cluster: blue 1, green 2" : "Cluster: green 2",
      "RouteConfiguration: web 2",
      variant === "sotw" ? "Cluster: green 2" : "Cluster: -blue",
    );
  });

  test(`${variant}: a refused resource is taken back`, async (t) => {
    const { set, stream } = await begin(t);
    set({ ...BLUE, clusters: "blue 1, green 1", routes: "web 2" });
    const { response } = await stream.next();
    stream.answer(response, "green is no colour");
    await stream.silence();
    set({ ...BLUE, routes: "web 3" });
    await stream.takes("RouteConfiguration: web 3", variant === "sotw" ? "Cluster: blue 1" : "Cluster: -green");
  });

  test(`${variant}: a refusal keeps nothing from a client that has nothing, and all from one that comes back with something`, async (t) => {
    const { set, client } = await start(t);
    set(BLUE);
    const open = async (returning: boolean) => {
      const stream = player(client, variant);
      stream.ask(CLUSTERS);
      const { response } = await stream.next();
      stream.ask(ROUTES, ...(returning ? ["web", "=web 0"] : ["web"]));
      await stream.silence();
      stream.answer(response, "blue is no colour");
      return stream;
    };
    const fresh = await open(false);
    await fresh.takes("RouteConfiguration: web 1");
    const returning = await open(true);
    await returning.silence();
    set({ ...BLUE, clusters: "blue 2" });
    await returning.takes("Cluster: blue 2", "RouteConfiguration: web 1");
  });

  test(`${variant}: nobody is answered before there is something to say; then an empty type is an empty answer`, async (t) => {
    const { set, client } = await start(t);
    const stream = player(client, variant);
    stream.ask(CLUSTERS);
    stream.ask(ROUTES, "web");
    await stream.silence();
    set({ routes: "web 1" });
    await stream.takes("Cluster: ", "RouteConfiguration: web 1");
  });

  test(`${variant}: an edit on top of an unfinished one: what neither wants any more still goes last`, async (t) => {
    const { set, stream } = await begin(t);
    set(GREEN);
    const cluster = await stream.next();
    set({ endpoints: "red 1", clusters: "red 1", routes: "web 3" });
    await stream.silence();
    stream.answer(cluster.response);
    await stream.takes(
      variant === "sotw" ? "Cluster: blue 1, green 1, red 1" : "Cluster: red 1",
      "RouteConfiguration: web 3",
    );
    const last = await stream.next();
    if (variant === "sotw") assert.equal(last.said, "Cluster: red 1");
    else {
      const gone = [last.said, (await stream.next()).said].sort();
      assert.deepEqual(gone, ["Cluster: -blue, -green", "ClusterLoadAssignment: -blue"]);
    }
  });

  test(`${variant}: a new stream gets its types in order, and no empty answer while it waits; none waits for another stream`, async (t) => {
    const { set, stream, client } = await begin(t);
    set(GREEN);
    await stream.next();
    // The first stream stays at its clusters; the second asks for everything at once, as an Envoy that reconnects.
    const second = player(client, variant);
    second.ask(ROUTES, "web");
    second.ask(CLUSTERS);
    await second.takes("RouteConfiguration: web 2", "Cluster: green 1");
    set({ ...GREEN, clusters: "green 2", routes: "web 3" });
    await second.takes("Cluster: green 2", "RouteConfiguration: web 3");
  });
}

/** What went out, in the order of the stream, until `last`; each is ACKed. Resources that came are named with their type's first letter. */
async function story(stream: ReturnType<XdsTestClient["deltaAds"]>, last: string): Promise<string[]> {
  const seen: string[] = [];
  while (seen.at(-1) !== last) {
    const response = await stream.next();
    const type = response.typeUrl.split(".").at(-1)?.[0] ?? "";
    const names = [...response.resources.map(({ name }) => `+${name}`), ...response.removed.map((name) => `-${name}`)];
    seen.push(...names.map((name) => type + name));
    stream.ack({ typeUrl: response.typeUrl }, response);
  }
  return seen;
}

test("C4: a delta client that comes back after clusters and routes were swapped loses what is gone last", async (t) => {
  const { set, client } = await start(t);
  set({ clusters: "green 1, kept 1", routes: "web 2" });
  const swapped = client.deltaAds();
  const clusters = { blue: "blue 1", kept: "kept 1" };
  swapped.request({ typeUrl: CLUSTERS, subscribe: ["*"], initialVersions: clusters });
  swapped.request({ typeUrl: ENDPOINTS, subscribe: ["blue"], initialVersions: { blue: "blue 1" } });
  swapped.request({ typeUrl: ROUTES, subscribe: ["web"], initialVersions: { web: "web 1" } });
  assert.deepEqual((await story(swapped, "C-blue")).slice(0, 2), ["C+green", "R+web"]);

  // Nothing is new but the route: the cluster may not go before it was asked for.
  const late = client.deltaAds();
  late.request({ typeUrl: CLUSTERS, subscribe: ["*"], initialVersions: { ...clusters, green: "green 1" } });
  const nothingNew = await late.next();
  assert.deepEqual([nothingNew.resources, nothingNew.removed], [[], []], "R59");
  late.ack({ typeUrl: CLUSTERS }, nothingNew);
  await late.expectSilence(50);
  late.request({ typeUrl: ROUTES, subscribe: ["web"], initialVersions: { web: "web 1" } });
  assert.deepEqual(await story(late, "C-blue"), ["R+web", "C-blue"], "who asks for no endpoints has a second to do so");

  const refused = client.deltaAds();
  refused.request({ typeUrl: CLUSTERS, subscribe: ["*"], initialVersions: clusters });
  refused.request({ typeUrl: ENDPOINTS, subscribe: [] });
  refused.request({ typeUrl: ROUTES, subscribe: ["web"], initialVersions: { web: "web 1" } });
  const green = await refused.next();
  refused.nack("green is no colour", { typeUrl: CLUSTERS }, green);
  await refused.expectSilence(50);
  set({ clusters: "blue 2, green 2", routes: "web 2" });
  assert.deepEqual(
    await story(refused, "C-kept"),
    ["C+blue", "C+green", "R+web", "C-kept"],
    "what came back is no loss",
  );
});

test("C4: a client of the state of the world, too, where this process knows what its version held", async (t) => {
  const { set, client } = await start(t);
  set({ clusters: "blue 1", routes: "web 1" });
  const first = player(client, "sotw");
  first.ask(CLUSTERS);
  const { response, said } = await first.next();
  assert.equal(said, "Cluster: blue 1");
  first.answer(response);
  set({ clusters: "green 1", routes: "web 2" });
  const back = client.ads();
  back.request({ typeUrl: CLUSTERS, names: [], version: response.version });
  back.request({ typeUrl: ENDPOINTS, names: [] });
  back.request({ typeUrl: ROUTES, names: ["web"], version: "of the first" });
  const seen: string[] = [];
  while (seen.at(-1) !== "green 1") {
    const next = await back.next();
    seen.push(next.resources.map(({ any }) => any.subarray(any.indexOf("\x12") + 2).toString()).join(", "));
    back.ack({ typeUrl: next.typeUrl, names: next.typeUrl === ROUTES ? ["web"] : [] }, next);
  }
  assert.deepEqual(seen, ["blue 1, green 1", "web 2", "green 1"]);
});

test("delta: what a client brings with it counts as there (R57), and is not sent", async (t) => {
  const { set, client } = await start(t);
  set(BLUE);
  const stream = client.deltaAds();
  stream.request({ typeUrl: CLUSTERS, initialVersions: { blue: "blue 1" } });
  stream.request({ typeUrl: ROUTES, subscribe: ["web"] });
  const response = await stream.next(({ typeUrl }) => typeUrl === ROUTES);
  assert.deepEqual(
    response.resources.map(({ name }) => name),
    ["web"],
  );
  const clusters = stream.received.filter(({ typeUrl }) => typeUrl === CLUSTERS);
  assert.deepEqual(
    clusters.flatMap(({ resources, removed }) => [...resources, ...removed]),
    [],
  );
});

test("a type that is not in the set is a mistake of the caller", async (t) => {
  const { resources } = await start(t);
  assert.throws(() => resources.set(new Map([["type.googleapis.com/other", new Map()]])), TypeError);
});
