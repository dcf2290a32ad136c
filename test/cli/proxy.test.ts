/** `meshroot proxy bootstrap|status|get` as a user types them. */

import assert from "node:assert/strict";
import { X509Certificate } from "node:crypto";
import { appendFile, readdir, readFile, stat } from "node:fs/promises";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { test } from "node:test";
import { parse } from "yaml";
import { temporaryDirectory } from "../support/data-dir.ts";
import { startRawProxy } from "../support/raw-proxy.ts";
import { runMeshroot } from "../support/run-meshroot.ts";
import { FIRST, startServer, type TestServer, until } from "../support/server.ts";

const proxy = (server: TestServer, ...args: string[]) =>
  runMeshroot(["proxy", ...args], { env: { MESHROOT_DATA_DIR: server.config.dataDir } });

test("bootstrap writes what one Envoy needs, and its credential opens the server", async (t) => {
  const server = await startServer(t);
  const out = join(await temporaryDirectory(t), "cart");
  const made = await proxy(
    server,
    "bootstrap",
    "cart.shop",
    "--out",
    out,
    "--outbound",
    "15001=shop/pay@10.0.0.7:15006",
  );
  assert.equal(made.code, 0, made.stderr);
  assert.equal(made.stdout, `${out}\n`);
  assert.match(
    made.stderr,
    /^Proxy [0-9a-f-]{36} \(cart\.shop\), xDS certificate valid until \d{4}.*\nStart it, with its agent: meshroot proxy run .*\n.*bootstrap\.yaml\)\n$/,
  );
  for (const file of ["bootstrap.yaml", "tls_sds.yaml", "validation_context_sds.yaml"])
    assert.ok((await readdir(out)).includes(file), file);
  const { node, static_resources } = parse(await readFile(join(out, "bootstrap.yaml"), "utf8"));
  assert.equal(node.cluster, "cart.shop");
  assert.ok(
    JSON.stringify(static_resources).includes(`"port_value":${server.running.xdsPort}`),
    "the port that the server took",
  );
  const [tls, context] = await Promise.all(
    ["tls_sds.yaml", "validation_context_sds.yaml"].map(
      async (file) => parse(await readFile(join(out, file), "utf8")).resources[0],
    ),
  );
  const files = {
    certificate: tls.tls_certificate.certificate_chain.filename,
    key: tls.tls_certificate.private_key.filename,
    ca: context.validation_context.trusted_ca.filename,
  };
  const [certificate, key, ca] = await Promise.all(Object.values(files).map((path: string) => readFile(path, "utf8")));
  assert.equal(
    new X509Certificate(certificate ?? "").subjectAltName,
    `URI:meshroot://cluster.local/proxy/shop/cart/sidecar/${node.id}`,
  );
  assert.equal((await stat(files.key)).mode & 0o077, 0, "nobody else reads the key");
  const client = server.client({
    ca: ca ?? "",
    certificate: certificate ?? "",
    key: key ?? "",
    serverName: "xds.meshroot.internal",
  });
  await client
    .secrets()
    .request({ names: ["default"] })
    .next();

  const mine = "# mine\n";
  await appendFile(join(out, "bootstrap.yaml"), mine);
  const again = await proxy(server, "bootstrap", "cart.shop", "--out", out);
  assert.ok(
    (await readFile(join(out, "bootstrap.yaml"), "utf8")).endsWith(mine),
    "a renewal leaves the bootstrap alone",
  );
  assert.match(again.stderr, new RegExp(`^New credentials for proxy ${node.id}`), "the same proxy");
  assert.notEqual(await readFile(files.certificate, "utf8"), certificate);
  const other = await proxy(server, "bootstrap", "pay.shop", "--out", out);
  assert.equal(other.code, 2);
  assert.match(other.stderr, /^error: MR5002 .* holds the credentials of cart\.shop\nhint: .*nothing was overwritten/);
});

test("bootstrap without a server: from the data directory, or a hint to start one", async (t) => {
  const server = await startServer(t);
  await server.running.stop();
  const out = join(await temporaryDirectory(t), "cart");
  const made = await proxy(server, "bootstrap", "cart.shop", "--out", out);
  assert.equal(made.code, 0, made.stderr);
  assert.ok((await readdir(out)).includes("bootstrap.yaml"));
  const nowhere = await runMeshroot(["proxy", "bootstrap", "cart.shop", "--data-dir", join(out, "none"), "--out", out]);
  assert.equal(nowhere.code, 5);
  assert.match(nowhere.stderr, /^error: MR5004 no mesh in .*\nhint: .*meshroot serve/);
  assert.ok(!(await readdir(out)).includes("none"), "looking makes no directory");
});

test("bootstrap: wrong input is exit 2, says how it should look, and writes nothing", async (t) => {
  const server = await startServer(t);
  const out = join(await temporaryDirectory(t), "out");
  const rows: [string[], RegExp][] = [
    [["cart"], /"cart" is no service identity\nhint: .*bookbuyer\.bookstore/],
    [["a.b.c"], /no service identity/],
    [["Cart.shop"], /service account "Cart" is not a DNS label/],
    [["cart.shop", "--kind", "router"], /router/],
    [["cart.shop", "--variant", "rest"], /rest/],
    [["cart.shop", "--inbound", "0"], /--inbound "0" is not a port/],
    [["cart.shop", "--app", "8080"], /--app "8080" is not host:port/],
    [["cart.shop", "--outbound", "15001=pay"], /--outbound "15001=pay" can't be read\nhint: .*15001=/],
    [["cart.shop", "--admin", "here"], /--admin "here"/],
    [["cart.shop", "--admin", "here:15000"], /--admin "here:15000" has a name where Envoy takes an IP address only/],
    [["cart.shop", "--admin", "::1:15000"], /--admin .* without brackets/],
    [["cart.shop", "--app", "[::1]:65536"], /--app .* has no port from 1 to 65535/],
    [["cart.shop", "--xds-host", "localhost:15128"], /--xds-host .* has a port\nhint: .*--xds-port/],
    [["cart.shop", "--xds-host", "a b"], /--xds-host "a b" is no address/],
    [["cart.shop", "--outbound", "15001=a/B@c:1"], /--outbound .* can't be read/],
    [["cart.shop", "--outbound", "0=a/b@c:1"], /--outbound "0" is not a port/],
    [["cart.shop", "--outbound", "1=a/b@c:1", "--outbound", "1=c/d@c:1"], /port 1 is for a\/b and c\/d/],
    [["cart.shop", "--outbound", "1=a/b@c:1", "--outbound", "2=a/b@c:1"], /a\/b is there twice/],
  ];
  for (const [args, message] of rows) {
    const { code, stdout, stderr } = await proxy(server, "bootstrap", ...args, "--out", out);
    assert.deepEqual([code, stdout], [2, ""], args.join(" "));
    assert.match(stderr, /^error: MR500[12] [^\n]+\nhint: [^\n]+\n$/, args.join(" "));
    assert.match(stderr, message);
    await assert.rejects(readdir(out), { code: "ENOENT" }, `${args.join(" ")} left something`);
  }
});

test("status: every proxy in table, wide, json, yaml and name; by name and by identity; also after the server's end", async (t) => {
  const server = await startServer(t);
  const none = await proxy(server, "status");
  assert.deepEqual([none.code, none.stdout], [0, ""]);
  assert.match(none.stderr, /No proxy has connected yet: `meshroot proxy bootstrap`/);
  assert.deepEqual(JSON.parse((await proxy(server, "status", "-o", "json")).stdout).items, []);

  const cart = startRawProxy(server, await server.credential("cart.shop"));
  startRawProxy(server, await server.credential("pay.shop"), { names: ["ROOTCA"] });
  await until(
    "both are there",
    () =>
      server.running.status().proxies.filter(({ sync }) => sync === "SYNCED").length === 2 &&
      server.running.status().proxies.some(({ leafExpires }) => leafExpires !== undefined),
  );
  const rows = (text: string) =>
    text
      .trimEnd()
      .split("\n")
      .map((line) => line.trim().split(/ {2,}/));
  const [head, ...lines] = rows((await proxy(server, "status")).stdout);
  assert.deepEqual(head, ["NAME", "IDENTITY", "SYNC", "SIGNED-BY", "TRUSTS", "LAST-CONTACT", "LEAF-EXPIRES"]);
  const own = lines.find(([name]) => name === cart.uuid);
  assert.deepEqual(own?.slice(1, 5), ["cart.shop", "SYNCED", FIRST, FIRST]);
  assert.deepEqual(lines.map((line) => line[1]).sort(), ["cart.shop", "pay.shop"]);
  const wide = await proxy(server, "ps", "-o", "wide");
  assert.match(wide.stdout, /NODE +XDS-CREDENTIAL +COUNTS +OPERATOR +VERSIONS/);
  assert.match(wide.stdout, new RegExp(`${cart.uuid} .* yes +.*default=`));
  assert.match((await proxy(server, "status", "-o", "name")).stdout, new RegExp(`^proxy/${cart.uuid}$`, "m"));
  for (const name of [cart.uuid, cart.uuid.slice(0, 8), "cart.shop"]) {
    const item = JSON.parse((await proxy(server, "status", name, "-o", "json")).stdout);
    assert.deepEqual([item.kind, item.metadata.name, item.status.sync], ["Proxy", cart.uuid, "SYNCED"]);
  }
  assert.equal(parse((await proxy(server, "status", "cart.shop", "-o", "yaml")).stdout).metadata.name, cart.uuid);
  const missing = await proxy(server, "status", "nobody");
  assert.equal(missing.code, 1);
  assert.match(missing.stderr, /^error: MR5005 no proxy nobody\nhint: Give its name/);

  cart.judge = () => "Failed to load";
  await server.createRoot("next");
  await until("the refusal", () => server.running.status().proxies.some(({ sync }) => sync === "ERROR"));
  const refused = await proxy(server, "status");
  assert.match(refused.stdout, /cart\.shop +ERROR/);
  assert.match(
    refused.stderr,
    new RegExp(`^refused by cart\\.shop \\(${cart.uuid}\\): answering .*: Failed to load$`, "m"),
  );
  await server.setRole("next", "active");
  await server.setRole(FIRST, "passive");
  await until("the hold", () => server.running.status().holds.length > 0);
  assert.match(
    (await proxy(server, "status")).stderr,
    /^held \(signer\): sign with next: refused secrets at cart\.shop/m,
  );

  await server.running.stop();
  const after = await proxy(server, "status");
  assert.match(after.stdout, /cart\.shop +ERROR \(absent\)/);
  assert.match(after.stdout, /pay\.shop +UNKNOWN \(absent\)/);
});

test("get: the admin interface's answer as it is, and what to check when there is none", async (t) => {
  const asked: string[] = [];
  const admin = createServer((request, response) => {
    asked.push(request.url ?? "");
    response.writeHead(request.url === "/nothing" ? 404 : 200).end('{ "configs": [ ] }');
  }).listen(0, "127.0.0.1");
  t.after(() => admin.close());
  await until("it listens", () => admin.listening);
  const address = `127.0.0.1:${(admin.address() as AddressInfo).port}`;
  for (const query of ["config_dump", "/certs", "stats?filter=ssl"]) {
    const { code, stdout, stderr } = await runMeshroot(["proxy", "get", query, "--admin", address]);
    assert.deepEqual([code, stdout, stderr], [0, '{ "configs": [ ] }', ""], query);
  }
  assert.deepEqual(asked, ["/config_dump", "/certs", "/stats?filter=ssl"]);
  const missing = await runMeshroot(["proxy", "get", "nothing", "--admin", address]);
  assert.equal(missing.code, 5);
  assert.match(missing.stderr, /^error: MR5004 .* answers 404 to \/nothing\nhint: /);
  const wrong = await runMeshroot(["proxy", "get", "certs", "--admin", "here"]);
  assert.equal(wrong.code, 2);
  assert.match(wrong.stderr, /^error: MR5002 --admin "here" is not host:port\nhint: /);
  admin.close();
  admin.closeAllConnections();
  const gone = await runMeshroot(["proxy", "get", "certs", "--admin", address]);
  assert.equal(gone.code, 5);
  assert.match(gone.stderr, /^error: MR5004 .* does not answer: .*\nhint: Is the Envoy running/);
});
