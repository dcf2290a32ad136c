import assert from "node:assert/strict";
import { cp, mkdir, readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, type TestContext, test } from "node:test";
import { parse } from "yaml";
import { ENVOY_VERSIONS } from "../../src/envoy/binary.ts";
import { type BootstrapOptions, buildBootstrap, renderBootstrap, renderProxyFiles } from "../../src/envoy/bootstrap.ts";
import { writeCredentials } from "../../src/envoy/credentials-dir.ts";
import { apiConfigSource, XDS_VARIANTS } from "../../src/envoy/secret-sources.ts";
import { temporaryDirectory } from "../support/data-dir.ts";
import { envoyOrSkip, eventually, runEnvoy } from "../support/envoy.ts";
import { makeTestLeaf, makeTestRoot } from "../support/test-certificates.ts";
import { startXdsRecorder } from "../support/xds-recorder.ts";

const OPTIONS: BootstrapOptions = {
  nodeId: "bookstore-1",
  cluster: "bookstore",
  identity: { serviceAccount: "store", namespace: "books" },
  xds: { host: "127.0.0.1", port: 15128, serverName: "xds.meshroot.internal" },
  variant: "sotw",
  configDir: ".",
  certDir: "certs",
  inbound: { port: 15006, app: { host: "127.0.0.1", port: 8080 } },
  outbound: [
    { name: "warehouse", listenPort: 15001, peer: { host: "10.0.0.2", port: 15006 }, service: "stock/warehouse" },
    { name: "ledger", listenPort: 15002, peer: { host: "localhost", port: 15006 }, service: "money/ledger" },
  ],
};

/** What each variant calls. SDS has a stream for each secret, ADS one for all. */
const METHOD = {
  sotw: "StreamSecrets",
  delta: "DeltaSecrets",
  ads: "StreamAggregatedResources",
  "delta-ads": "DeltaAggregatedResources",
} as const;

type SecretReference = { readonly name: string; readonly sds_config: unknown };

/** Every reference to a workload's secret in some configuration, in order. */
function workloadSecrets(value: unknown): SecretReference[] {
  if (typeof value !== "object" || value === null) return [];
  const reference = value as SecretReference;
  const own = "sds_config" in value && !reference.name.endsWith("_sds") ? [reference] : [];
  return [...own, ...Object.values(value).flatMap(workloadSecrets)];
}

const parsedFiles = (files: Readonly<Record<string, string>>): unknown[] =>
  Object.values(files).map((text) => parse(text));

function sharedSources(value: unknown): void {
  const sources = new Map<string, string>();
  for (const { name, sds_config } of workloadSecrets(value)) {
    const source = JSON.stringify(sds_config);
    assert.equal(sources.get(name) ?? source, source, `${name} comes from two sources`);
    sources.set(name, source);
  }
}

/**
 * Starts Envoy in `dir`, on free ports, against a server that listens and never answers, until it has asked for every
 * secret in `wanted` by `method`; its log must hold no complaint. (`--mode validate` would start no subscription, and ends
 * with a segmentation fault on clusters whose secrets come over ADS.)
 */
async function assertAsks(
  t: TestContext,
  { binary, dir, file, method, wanted }: Record<"binary" | "dir" | "file" | "method", string> & { wanted: string[] },
): Promise<void> {
  const root = await makeTestRoot("root");
  const proxy = await makeTestLeaf(root, { uris: ["meshroot://cluster.local/proxy/books/store/sidecar/1"] });
  await writeCredentials(join(dir, "certs"), { certPem: proxy.certPem, keyPem: proxy.keyPem, caPem: root.certPem });
  const recorder = await startXdsRecorder(t, root, await makeTestLeaf(root, { dns: ["xds.meshroot.internal"] }));
  for (const name of (await readdir(dir)).filter((entry) => entry.endsWith(".yaml"))) {
    const text = await readFile(join(dir, name), "utf8");
    const moved = text.replaceAll(
      /port_value: (\d+)/g,
      (_, port) => `port_value: ${port === "15128" ? recorder.port : 0}`,
    );
    await writeFile(join(dir, name), moved);
  }

  const envoy = await runEnvoy(t, { binary, bootstrapPath: file, name: file, cwd: dir });
  const asked = () => wanted.every((name) => recorder.streams().some(({ bytes }) => bytes.includes(name)));
  await eventually(`${file} asks for ${wanted.join(", ")}`, asked);
  const streams = recorder.streams();
  await envoy.stop();
  assert.deepEqual([...new Set(streams.map((stream) => stream.method))], [method]);
  assert.equal(streams.length, method.includes("Aggregated") ? 1 : wanted.length);
  assert.doesNotMatch(envoy.logTail().join("\n"), /deprecated|unknown field|Failed to load|\[(error|critical)\]/i);
}

test("every secret is asked for under its OSM name", () => {
  const names = workloadSecrets(buildBootstrap(OPTIONS)).map(({ name }) => name);
  assert.deepEqual(names, [
    "service-cert:books/store",
    "root-cert-for-mtls-outbound:stock/warehouse",
    "service-cert:books/store",
    "root-cert-for-mtls-outbound:money/ledger",
    "service-cert:books/store",
    "root-cert-for-mtls-inbound",
  ]);
});

test("names can be replaced, for secret configurations written for SPIRE or Istio", () => {
  const { outbound: _, ...rest } = OPTIONS;
  const inbound = { port: 15006, app: { host: "127.0.0.1", port: 8080 }, bundleName: "ROOTCA" };
  const names = workloadSecrets(buildBootstrap({ ...rest, inbound, leafName: "default" })).map(({ name }) => name);
  assert.deepEqual(names, ["default", "ROOTCA"]);
});

test("one name has one source, also where inbound and outbound share a bundle", () => {
  const outbound = (OPTIONS.outbound ?? []).map((entry) => ({ ...entry, bundleName: "root-cert-for-mtls-inbound" }));
  for (const variant of XDS_VARIANTS) {
    sharedSources(parsedFiles(renderProxyFiles({ ...OPTIONS, variant })));
    sharedSources(parsedFiles(renderProxyFiles({ ...OPTIONS, variant, outbound })));
  }
});

test("the text says what the data says, without anchors, and durations in seconds", () => {
  const options = { ...OPTIONS, connectTimeoutMs: 250 };
  assert.deepEqual(parse(renderBootstrap(options)), buildBootstrap(options));
  assert.doesNotMatch(renderBootstrap(options), /[&*]a\d/);
  assert.match(renderBootstrap(options), /connect_timeout: 0\.25s/);
});

/** Apart, because Envoy asks for the secrets of listeners only when those of all clusters have come. */
const { inbound: _inbound, ...OUTBOUND } = OPTIONS;
const { outbound: _outbound, ...INBOUND } = OPTIONS;

describe("real Envoys take it", { concurrency: 4 }, () => {
  for (const version of ENVOY_VERSIONS) {
    for (const variant of XDS_VARIANTS) {
      test(`Envoy ${version} takes the rendered bootstrap and asks for every secret: ${variant}`, async (t) => {
        const envoy = await envoyOrSkip(t, version);
        if (envoy === undefined) return;
        for (const half of [INBOUND, OUTBOUND]) {
          const dir = await temporaryDirectory(t);
          const files = renderProxyFiles({ ...half, variant });
          for (const [name, content] of Object.entries(files)) await writeFile(join(dir, name), content);
          const wanted = [...new Set(workloadSecrets(parsedFiles(files)).map(({ name }) => name))];
          await assertAsks(t, { binary: envoy.path, dir, file: "bootstrap.yaml", method: METHOD[variant], wanted });
        }
      });
    }

    for (const side of ["server", "client"]) {
      test(`Envoy ${version} takes envoy-examples/${side} and asks for every secret`, async (t) => {
        const envoy = await envoyOrSkip(t, version);
        if (envoy === undefined) return;
        const wanted =
          side === "server"
            ? ["service-cert:bookstore/bookstore", "root-cert-for-mtls-inbound"]
            : ["service-cert:bookbuyer/bookbuyer", "root-cert-for-mtls-outbound:bookstore/bookstore"];
        for (const variant of ["sotw", "delta", "ads"] as const) {
          const dir = join(await temporaryDirectory(t), side);
          await mkdir(dir);
          await cp(join(import.meta.dirname, "../../envoy-examples", side), dir, { recursive: true });
          await assertAsks(t, { binary: envoy.path, dir, file: `${variant}.yaml`, method: METHOD[variant], wanted });
        }
      });
    }
  }
});

test("an Envoy that lost its server is back within the 30 s that E6 and E14 rely on, in every variant", () => {
  const expected = { retry_back_off: { base_interval: "0.5s", max_interval: "30s" } };
  for (const variant of XDS_VARIANTS) {
    const { grpc_services } = apiConfigSource(variant) as {
      readonly grpc_services: readonly { readonly envoy_grpc: { readonly retry_policy: unknown } }[];
    };
    assert.deepEqual(
      grpc_services.map(({ envoy_grpc }) => envoy_grpc.retry_policy),
      [expected],
      variant,
    );
  }
});
