/** envoy-examples/yaml-folder, run as its README says, with real Envoys over ADS: requests go on through every edit. */

import assert from "node:assert/strict";
import { X509Certificate } from "node:crypto";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { startEchoApp } from "../../src/cli/demo/traffic.ts";
import { type EnvoyAdmin, envoyAdmin } from "../../src/envoy/admin.ts";
import { ENVOY_VERSIONS } from "../../src/envoy/binary.ts";
import { envoyOrSkip, eventually, runEnvoy } from "../support/envoy.ts";
import { startHttpsLoad } from "../support/https-load.ts";
import { makeTestLeaf, makeTestRoot } from "../support/test-certificates.ts";
import { startYamlFolder } from "../support/yaml-folder.ts";

for (const version of ENVOY_VERSIONS) {
  for (const apiType of ["GRPC", "DELTA_GRPC"] as const) {
    test(`the YAML folder, Envoy ${version}, ${apiType}: edits, removals and refusals without a failed request`, async (t) => {
      const binary = await envoyOrSkip(t, version);
      if (binary === undefined) return;
      const [blue, green] = [await startEchoApp("blue"), await startEchoApp("green")];
      t.after(() => Promise.all([blue.stop(), green.stop()]));
      // Every port of the example but the application's is any free one.
      const folder = await startYamlFolder(t, (_, text) =>
        text.replaceAll(/port_value: (8080|8443|9901)\b/g, "port_value: 0").replace("8081", String(blue.port)),
      );
      await folder
        .edit("envoy.yaml", (text) =>
          text.replace("18000", String(folder.port)).replace("api_type: GRPC", `api_type: ${apiType}`),
        )
        .catch((error: Error) => assert.equal(apiType, "GRPC", error.message));
      const options = { binary: binary.path, bootstrapPath: "envoy.yaml", name: "yaml-folder", cwd: folder.dir };
      const admin = envoyAdmin((await runEnvoy(t, options)).adminAddress);
      await eventually(
        "the listeners are there",
        async () => (await admin.ready()) && (await admin.listeners()).size === 2,
      );
      const web = await readFile(join(folder.dir, "certs", "web.crt"), "utf8");
      const root = await makeTestRoot("root");
      const other = await makeTestLeaf(root, { dns: ["localhost"] });
      const port = Number((await admin.listeners()).get("https")?.split(":").at(-1));
      const load = startHttpsLoad({ port, serverName: "localhost", trusted: [web, root.certPem] });
      t.after(() => load.stop());
      const isAnsweredBy = (app: string) =>
        eventually(`${app} answers`, () => load.last()?.body.startsWith(`${app} `) === true);
      await isAnsweredBy("blue");
      assert.equal(load.last()?.serial, serialOf(web));

      // The old cluster and the listener that names it are taken out in the edit that adds the new one.
      const blueOnly = await readFile(join(folder.dir, "clusters.yaml"), "utf8");
      await folder.edit("routes.yaml", (text) => text.replace("cluster: blue", "cluster: green"));
      await folder.says(/^not in force: routes\.yaml: web names green, which is not in clusters\.yaml$/m);
      assert.ok(load.last()?.body.startsWith("blue "));
      await folder.edit("listeners.yaml", (text) =>
        text.slice(0, text.lastIndexOf('  - "@type"')).replace(/\n *$/, "\n"),
      );
      await folder.edit("endpoints.yaml", (text) =>
        text.replace("blue", "green").replace(String(blue.port), String(green.port)),
      );
      await folder.edit("clusters.yaml", (text) => text.replaceAll("blue", "green"));
      await isAnsweredBy("green");
      await eventually("what is gone is gone", async () => {
        const dump = await admin.configDump("resource=dynamic_active_clusters");
        return !dump.includes('"blue"') && dump.includes('"green"') && !(await admin.listeners()).has("tcp");
      });

      assert.deepEqual(load.failures, []);

      // A secret is exchanged: the key itself, this time.
      await folder.edit("secrets.yaml", (text) =>
        text
          .replace("{ filename: certs/web.crt }", `{ inline_string: ${JSON.stringify(other.certPem)} }`)
          .replace("{ filename: certs/web.key }", `{ inline_string: ${JSON.stringify(other.keyPem)} }`),
      );
      await eventually("the new certificate is shown", () => load.last()?.serial === other.serial);
      const serials = (await admin.certs()).flatMap(({ chain }) => chain.map(({ serial }) => serial));
      assert.ok(serials.includes(other.serial) && !serials.includes(serialOf(web)), serials.join(", "));

      // The server is away for a while; nothing changes when it is back, but what was edited meanwhile.
      const before = await dumpOfClusters(admin);
      assert.equal(await folder.stop(), 0);
      await folder.edit("routes.yaml", (text) => text.replace("timeout: 5s", "timeout: 6s"));
      await folder.edit("clusters.yaml", (text) => text.replace("type: EDS", "type: EDSS"));
      await folder.start();
      await eventually("the server has begun with a mistake", () => /DiscoveryType$/m.test(folder.output()));
      await eventually(
        "Envoy is connected again",
        async () => (await admin.stats("^control_plane\\.connected_state$")).get("control_plane.connected_state") === 1,
      );
      await load.more(20);
      assert.deepEqual(await dumpOfClusters(admin), before, "it takes nothing away");
      await folder.edit("clusters.yaml", (text) => text.replace("type: EDSS", "type: EDS"));
      await eventually("the route is edited", async () =>
        (await admin.configDump("resource=dynamic_route_configs")).includes('"timeout": "6s"'),
      );
      // In SotW they come again and Envoy finds them equal; in delta not even that.
      assert.deepEqual(await dumpOfClusters(admin), before);

      // What the server can see is refused there, ...
      await folder.edit("clusters.yaml", (text) => text.replace("connect_timeout", "conect_timeout"));
      await folder.says(/^not in force: clusters\.yaml: resources\[0\] \(green\): .*"conect_timeout" is unknown$/m);
      // ... and what only Envoy can, by Envoy, which then gets no route to what it refused.
      await folder.edit(
        "clusters.yaml",
        () => `${blueOnly.replace("1s", "0s")}${withoutHead(blueOnly).replaceAll("blue", "green")}`,
      );
      await folder.edit(
        "endpoints.yaml",
        (text) => `${text}${withoutHead(text).replace("green", "blue").replace(String(green.port), String(blue.port))}`,
      );
      await folder.edit("routes.yaml", (text) => text.replace("cluster: green", "cluster: blue"));
      await folder.says(/^refused by some-envoy: \S*Cluster: [\s\S]*connect_?timeout/im);
      await load.more(20);
      assert.ok(load.last()?.body.startsWith("green "));
      assert.ok(!(await admin.configDump("resource=dynamic_route_configs")).includes('"blue"'));
      // Mended, it goes on from there.
      await folder.edit("clusters.yaml", (text) => text.replace("0s", "1s"));
      await isAnsweredBy("blue");

      const { requests, failures } = await load.stop();
      assert.deepEqual(failures, []);
      assert.ok(requests > 50 && blue.requests() > 0 && green.requests() > 0);
      assert.equal(await folder.stop(), 0);
    });
  }
}

const KEY = '"-----BEGIN PRIVATE KEY----- not-base64!"';

/** What is wrong in a file, and what the example says of it. */
const MISTAKES: readonly (readonly [file: string, from: string | RegExp, to: string, says: RegExp])[] = [
  ["routes.yaml", /^[\s\S]*$/, "", /^not in force: routes\.yaml: it must hold one list, resources:$/m],
  ["clusters.yaml", "type: EDS", "type: [EDS", /^not in force: clusters\.yaml: .* at line \d+, column \d+:/m],
  ["clusters.yaml", /^resources:/, "resource:", /^not in force: clusters\.yaml: it must hold one list, resources:$/m],
  [
    "clusters.yaml",
    "config.cluster",
    "config.klaster",
    /^not in force: clusters\.yaml: resources\[0\] \(blue\): "@type" must be /m,
  ],
  [
    "clusters.yaml",
    "type: EDS",
    "type: EDSS",
    /^not in force: clusters\.yaml: resources\[0\] \(blue\): type: cannot decode enum .*DiscoveryType$/m,
  ],
  [
    "clusters.yaml",
    "1s",
    "1 second",
    /^not in force: clusters\.yaml: .*\(blue\): connect_timeout: cannot decode message google\.protobuf\.Duration$/m,
  ],
  [
    "clusters.yaml",
    "name: blue",
    "alt_stat_name: blue",
    /^not in force: clusters\.yaml: resources\[0\]: name is missing$/m,
  ],
  [
    "listeners.yaml",
    "stat_prefix: https",
    "stat_prefiks: https",
    /^not in force: listeners\.yaml: resources\[0\] \(https\): filter_chains\[0\]\.filters\[0\]\.typed_config: .*"stat_prefiks" is unknown$/m,
  ],
  [
    "listeners.yaml",
    "http.router.v3.Router",
    "http.lua.v3.Lua",
    /^not in force: listeners\.yaml: .*http_filters\[0\]\.typed_config: .*Lua is not in the type registry$/m,
  ],
  [
    "listeners.yaml",
    "name: tcp\n",
    "name: https\n",
    /^not in force: listeners\.yaml: resources\[1\] \(https\): there are two of this name$/m,
  ],
  [
    "listeners.yaml",
    "name: web,",
    "name: wep,",
    /^not in force: listeners\.yaml: https names wep, which is not in secrets\.yaml$/m,
  ],
  [
    "endpoints.yaml",
    "name: blue",
    "name: red",
    /^not in force: clusters\.yaml: blue names blue, which is not in endpoints\.yaml$/m,
  ],
];

test("each mistake in the YAML folder is named with its file, and changes nothing", async (t) => {
  const folder = await startYamlFolder(t);
  for (const [file, from, to, says] of MISTAKES) {
    const right = await readFile(join(folder.dir, file), "utf8");
    await folder.edit(file, (text) => text.replace(from, to));
    await folder.says(says);
    await folder.edit(file, () => right);
    await folder.says(/^in force: /m);
  }
  // No mistake makes it quote a key.
  for (const broken of [
    `{ inline_bytes: ${KEY} }`,
    `{ inline_string: [${KEY}] }`,
    `{ inline_string: [${KEY} }`,
    `${KEY}`,
  ]) {
    const right = await readFile(join(folder.dir, "secrets.yaml"), "utf8");
    await folder.edit("secrets.yaml", (text) => text.replace("{ filename: certs/web.key }", broken));
    await folder.says(/^not in force: secrets\.yaml: /m);
    await folder.edit("secrets.yaml", () => right);
    await folder.says(/^in force: /m);
  }
  assert.ok(!folder.output().includes("not-base64"), folder.output());
  assert.equal(await folder.stop(), 0);
});

/** Which clusters Envoy has, and since when. */
async function dumpOfClusters(admin: EnvoyAdmin): Promise<readonly unknown[]> {
  const { configs } = JSON.parse(await admin.configDump("resource=dynamic_active_clusters")) as {
    readonly configs: readonly { readonly cluster: { readonly name: string }; readonly last_updated: string }[];
  };
  return configs.map(({ cluster, last_updated }) => [cluster.name, last_updated]);
}

function withoutHead(yaml: string): string {
  return yaml.replace(/^resources:\n/, "");
}

function serialOf(pem: string): string {
  return new X509Certificate(pem).serialNumber.toLowerCase().replace(/^0+/, "");
}
