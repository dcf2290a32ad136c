/** Addresses and names as people write them, with a real Envoy as the judge. */

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { promisify } from "node:util";
import { freePorts } from "../../src/cli/demo/free-ports.ts";
import { parseAdmin, parseOutbounds } from "../../src/cli/endpoint-flags.ts";
import { envoyAdmin } from "../../src/envoy/admin.ts";
import { ENVOY_VERSIONS, type EnvoyBinary } from "../../src/envoy/binary.ts";
import { type BootstrapOptions, renderProxyFiles } from "../../src/envoy/bootstrap.ts";
import { writeCredentials } from "../../src/envoy/credentials-dir.ts";
import { temporaryDirectory } from "../support/data-dir.ts";
import { envoyOrSkip, eventually, runEnvoy } from "../support/envoy.ts";
import { runMeshroot } from "../support/run-meshroot.ts";
import { startServer } from "../support/server.ts";
import { makeTestLeaf, makeTestRoot } from "../support/test-certificates.ts";

/** What `envoy --mode validate` says to a bootstrap: nothing where it takes it. */
async function complaint(t: TestContext, envoy: EnvoyBinary, more: Partial<BootstrapOptions>): Promise<string> {
  const dir = await temporaryDirectory(t);
  const root = await makeTestRoot("root");
  const leaf = await makeTestLeaf(root, { uris: ["meshroot://cluster.local/proxy/books/store/sidecar/1"] });
  const certDir = join(dir, "certs");
  await writeCredentials(certDir, { certPem: leaf.certPem, keyPem: leaf.keyPem, caPem: root.certPem });
  const files = renderProxyFiles({
    nodeId: "bookstore-1",
    cluster: "bookstore",
    identity: { serviceAccount: "store", namespace: "books" },
    xds: { host: "127.0.0.1", port: 15128, serverName: "xds.meshroot.internal" },
    variant: "sotw",
    configDir: dir,
    certDir,
    ...more,
  });
  for (const [name, text] of Object.entries(files)) await writeFile(join(dir, name), text);
  const args = ["--mode", "validate", "-c", join(dir, "bootstrap.yaml"), "--log-level", "error"];
  return promisify(execFile)(envoy.path, args).then(
    () => "",
    (error: { stderr?: string }) => String(error.stderr),
  );
}

/** Every word that YAML 1.1, or Envoy's reader of it, takes for something else than a text, and some that look like it. */
const WORDS = [
  ..."y n yes no on off true false null nan inf".split(" ").flatMap((word) => {
    const capital = word.slice(0, 1).toUpperCase() + word.slice(1);
    return [word, capital, word.toUpperCase()];
  }),
  ...["~", "<<", "=", "0", "1", "-1", "+1", "08", "0777", "0o17", "0x1f", "0b11", "1_000", "1e3", "1.5", ".5", "1."],
  ...[".inf", "-.Inf", ".NaN", "1:20", "190:20:30", "2001-01-01", "2001-12-14t21:59:43.10-05:00", "12e03", "-0"],
  ...[
    "-",
    "?",
    ":",
    "- a",
    "a: b",
    "a #b",
    "#a",
    "&a",
    "*a",
    "!a",
    "!!str a",
    "%a",
    "@a",
    "`a",
    "|",
    ">",
    "[a]",
    "{a}",
  ],
  ...[",", "'a'", '"a"', "a\\b", " a", "a ", "...", "---", "é", "0.1.2", "9223372036854775808", "99999999999"],
];

for (const version of ENVOY_VERSIONS) {
  test(`B9: Envoy ${version} reads every word of YAML 1.1 as the text that it is`, async (t) => {
    const envoy = await envoyOrSkip(t, version);
    if (envoy === undefined) return;
    const outbound = [...new Set(WORDS)].map((name, index) => ({
      name,
      listenPort: 21_100 + index,
      peer: { host: "127.0.0.1", port: 15_006 },
      service: "a/b",
      bundleName: name,
    }));
    assert.equal(await complaint(t, envoy, { outbound }), "");
    for (const word of ["y", "0777", "null", "~", "1:20"])
      assert.equal(await complaint(t, envoy, { nodeId: word, cluster: word, leafName: word, outbound: [] }), "", word);
  });

  test(`B8: Envoy ${version} takes each address that --admin takes`, async (t) => {
    const envoy = await envoyOrSkip(t, version);
    if (envoy === undefined) return;
    for (const host of ["127.0.0.1", "[::1]", "[::]", "0.0.0.0", "[::ffff:127.0.0.1]", "localhost", "[fe80::1%lo]"])
      assert.equal(await complaint(t, envoy, { admin: parseAdmin(`${host}:21011`) }), "", host);
    for (const host of ["::1", "[::1%lo]", "here.local", "127.1", "010.0.0.1"])
      assert.throws(() => parseAdmin(`${host}:21011`), { code: "MR5002" }, host);
  });

  test(`B9: Envoy ${version} takes ways to services whose names are words, or one`, async (t) => {
    const envoy = await envoyOrSkip(t, version);
    if (envoy === undefined) return;
    const outbound = parseOutbounds([
      "21030=x/y@127.0.0.1:21010",
      "21031=on/y@[::1]:21010",
      "21032=x/app@localhost:21010",
      "21033=x/0777@127.0.0.1:21010",
      "21034=x/1e3@127.0.0.1:21010",
    ]);
    const names = outbound.map(({ name }) => name);
    assert.deepEqual(names, ["y.x", "y.on", "app.x", "0777", "1e3"]);
    const inbound = { port: 15_006, app: { host: "127.0.0.1", port: 8080 } };
    assert.equal(await complaint(t, envoy, { outbound, inbound }), "");
  });
}

test("B7, B8: a server and an Envoy that know nothing but ::1", async (t) => {
  const envoy = await envoyOrSkip(t);
  if (envoy === undefined) return;
  const server = await startServer(t, { bind: "[::1]" });
  for (const port of [server.running.httpPort, server.running.healthPort, server.running.xdsPort]) assert.ok(port > 0);
  assert.equal((await fetch(`http://[::1]:${server.running.httpPort}/health/ready`)).status, 200);

  const out = join(await temporaryDirectory(t), "cart");
  const [admin = 0, app = 0, inbound = 0, way = 0] = await freePorts(4);
  const flags = ["--xds-host", "::1", "--admin", `[::1]:${admin}`, "--app", `[::1]:${app}`, "--inbound", `${inbound}`];
  const outbound = ["--outbound", `${way}=shop/y@[::1]:${inbound}`, "--out", out];
  const env = { MESHROOT_DATA_DIR: server.config.dataDir };
  const made = await runMeshroot(["proxy", "bootstrap", "cart.shop", ...flags, ...outbound], { env });
  assert.equal(made.code, 0, made.stderr);
  assert.match(await readFile(join(out, "bootstrap.yaml"), "utf8"), /address: ::1\n/);
  await writeFile(join(server.config.dataDir, "services.yaml"), "shop/y: [cart.shop]\n");
  const running = await runEnvoy(t, { binary: envoy.path, bootstrapPath: join(out, "bootstrap.yaml"), name: "cart" });
  assert.equal(running.adminAddress, `[::1]:${admin}`);
  await eventually("it is ready", () => envoyAdmin(`[::1]:${admin}`).ready());
  const [proxy] = server.running.status().proxies;
  assert.equal(proxy?.identity, "cart.shop");
  assert.equal((await envoyAdmin(`[::1]:${admin}`).listeners()).get("inbound"), `0.0.0.0:${inbound}`);
  const got = await runMeshroot(["proxy", "get", "certs", "--admin", `[::1]:${admin}`]);
  assert.match(got.stdout, /"certificates"/, got.stderr);
});
