/** A root proves itself before the mesh trusts it: at the first start, by the command, and where a file was put there by hand. */

import assert from "node:assert/strict";
import { X509Certificate } from "node:crypto";
import { access, mkdir, readdir, readFile, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { type TestContext, test } from "node:test";
import { stringify } from "yaml";
import { privateKeyPem } from "../../src/pki/keys.ts";
import { createRootCa } from "../../src/pki/root-ca.ts";
import { CA, type OddRoot, oddRoot, SKI } from "../support/odd-roots.ts";
import { startRawProxy } from "../support/raw-proxy.ts";
import { REFUSED_BY_ENVOY, REFUSED_BY_OPENSSL } from "../support/root-table.ts";
import { runMeshroot } from "../support/run-meshroot.ts";
import { FIRST, prepareServer, startServer, type TestServer, until } from "../support/server.ts";

const at = (server: TestServer, path: string) => join(server.config.dataDir, path);
const secretPath = (server: TestServer, name: string) => at(server, `secrets/osm-system/${name}.yaml`);

async function bring(server: TestServer, name: string, root: OddRoot): Promise<void> {
  const path = secretPath(server, name);
  await mkdir(dirname(path), { recursive: true, mode: 0o700 });
  const base64 = (text: string) => Buffer.from(text).toString("base64");
  const data = { "ca.crt": base64(root.certificatePem), "private.key": base64(root.keyPem) };
  const metadata = { name, namespace: "osm-system" };
  await writeFile(path, stringify({ apiVersion: "v1", kind: "Secret", metadata, data }), { mode: 0o600 });
}

/** A server that was started on this root of its operator. */
async function startOn(t: TestContext, root: OddRoot): Promise<TestServer> {
  const server = await prepareServer(t);
  await bring(server, "osm-ca-bundle", root);
  await server.start();
  return server;
}

const create = (server: TestServer, ...args: string[]) =>
  runMeshroot(["root", "create", ...args, "--data-dir", server.config.dataDir]);

const holds = (server: TestServer) => server.running.status().holds;

const eku = () => oddRoot({ extensions: [...CA, SKI, "extendedKeyUsage=serverAuth"] });

test("A1: eku-server-only as the first CA ends the start with its own code, and as the next root it is refused", async (t) => {
  const first = await prepareServer(t);
  await bring(first, "osm-ca-bundle", eku());
  await assert.rejects(first.start(), { code: "MR3006", message: /extendedKeyUsage, which lacks clientAuth/ });
  assert.deepEqual(await readdir(at(first, "state")), [], "no trust was put in force");

  const server = await startServer(t);
  await bring(server, "next-ca", eku());
  const refused = await create(server, "next");
  assert.equal(refused.code, 1);
  assert.match(
    refused.stderr,
    /^error: MR3006 root next: .*lacks clientAuth.*\nhint: Make it anew without extendedKeyUsage/,
  );
  await assert.rejects(access(at(server, "roots/next.yaml")), "nothing was written");

  await server.createRoot("next");
  await until("the hold", () => holds(server).some(({ message }) => /^MR3006 root next: /.test(message)));
  const [hold] = holds(server);
  assert.deepEqual([hold?.gate, hold?.reason], ["roles", "RolesNotAllowed"]);
  assert.match(hold?.message ?? "", /the last good trust stays in force: Make it anew without extendedKeyUsage/);
  assert.deepEqual([server.running.status().trusted, server.running.status().generation], [[FIRST], 1]);
  assert.equal((await server.logged(/^MR3006 root next: .*lacks clientAuth/)).level, "error");
  await bring(server, "next-ca", oddRoot());
  await until("mended, it is trusted", () => server.running.status().trusted.includes("next"));
});

test("A1: without a server the command refuses it all the same", async (t) => {
  const server = await prepareServer(t);
  await bring(server, "first-ca", eku());
  const refused = await create(server, "first");
  assert.match(refused.stderr, /^error: MR3006 /);
  assert.deepEqual(await readdir(at(server, "roots")), []);
});

test("A2: a root whose name constraints shut out the mesh is refused: the server's names, a service's, a proxy's", async (t) => {
  const first = await prepareServer(t);
  await bring(first, "osm-ca-bundle", REFUSED_BY_ENVOY["name-constraints"]?.make() as OddRoot);
  await assert.rejects(first.start(), { code: "MR3007", message: /xds\.meshroot\.internal.*permitted DNS foo\.bar/ });

  const server = await prepareServer(t);
  await mkdir(server.config.dataDir, { recursive: true });
  await writeFile(at(server, "services.yaml"), "shop/pay: [pay.shop]\n");
  await server.start();
  startRawProxy(server, await server.credential("cart.bank"));
  await until("the proxy is known", () => server.running.status().proxies.length === 1);
  for (const [name, domain] of [
    ["pay.shop", "shop.cluster.local"],
    ["cart.bank", "bank.cluster.local"],
  ]) {
    await bring(server, "next-ca", oddRoot({ extensions: [...CA, SKI, `nameConstraints=excluded;DNS:${domain}`] }));
    const { code, stderr } = await create(server, "next");
    assert.equal(code, 1);
    assert.match(
      stderr,
      new RegExp(`^error: MR3007 root next: the certificate of ${name} \\(${name}\\.cluster\\.local\\)`),
    );
  }
});

test("A2: an identity that comes later and is outside the signer's constraints is refused by name, others are served", async (t) => {
  const root = oddRoot({ extensions: [...CA, SKI, "nameConstraints=excluded;DNS:bank.cluster.local"] });
  const server = await startOn(t, root);
  const { certPem } = await server.credential("cart.shop");
  assert.match(certPem, /BEGIN CERTIFICATE/);
  await assert.rejects(server.credential("cart.bank"), {
    code: "MR3007",
    message: /certificate of cart\.bank \(cart\.bank\.cluster\.local\) is outside the name constraints/,
  });
  await writeFile(at(server, "services.yaml"), "bank/pay: [pay.bank]\n");
  await until("the hold", () => holds(server).some(({ reason }) => reason === "RootUnfit"));
  const [hold] = holds(server);
  assert.deepEqual([hold?.gate, hold?.root], ["roles", FIRST]);
  assert.match(
    hold?.message ?? "",
    /^MR3007 the certificate of pay\.bank .*; no certificate is issued for it\. Use a root/,
  );
  assert.equal((await server.logged(/^held: carry the mesh with .*MR3007/)).level, "warn");
  assert.equal((await server.http("/health/ready")).status, 200);
  await writeFile(at(server, "services.yaml"), "");
  await until("gone from the mesh, it holds nothing", () => holds(server).length === 0);
});

test("A2: a root that validates does not become the signer while an identity is outside its constraints", async (t) => {
  const server = await startServer(t);
  await bring(
    server,
    "next-ca",
    oddRoot({ extensions: [...CA, SKI, "nameConstraints=excluded;DNS:bank.cluster.local"] }),
  );
  await server.createRoot("next");
  await until("it is trusted", () => server.running.status().trusted.includes("next"));
  await writeFile(at(server, "services.yaml"), "bank/pay: [pay.bank]\n");
  await until("the hold", () => holds(server).some(({ root }) => root === "next"));
  await server.setRole("next", "active");
  await server.setRole(FIRST, "passive");
  await until("it waits", () =>
    holds(server).some(({ wants, reason }) => wants === "sign with next" && reason === "RootUnfit"),
  );
  assert.equal(server.running.status().signer, FIRST);
  await writeFile(at(server, "services.yaml"), "");
  await until("then it signs", () => server.running.status().signer === "next");
});

test("A3: twin-b beside twin-a is refused: the message names the other root", async (t) => {
  const twin = () =>
    oddRoot({ subject: "/O=Open Service Mesh/CN=ca", extensions: [...CA, "subjectKeyIdentifier=none"] });
  const server = await startOn(t, twin());
  await bring(server, "next-ca", twin());
  const { code, stderr } = await create(server, "next");
  assert.equal(code, 1);
  assert.match(
    stderr,
    new RegExp(`^error: MR1013 root next has the subject of root ${FIRST} .*can't tell it from ${FIRST}`),
  );
  await server.createRoot("next");
  await until("the hold", () => holds(server).some(({ message }) => /^MR1013 root next has/.test(message)));
  assert.deepEqual(server.running.status().trusted, [FIRST]);
});

test("A5: two roots that /certs can't tell apart are refused beside each other", async (t) => {
  const [first, second] = sameSecond();
  const server = await startOn(t, first);
  await bring(server, "next-ca", second);
  assert.match((await create(server, "next")).stderr, new RegExp(`^error: MR1013 .*serial number \\(1\\).*${FIRST}`));
});

/** Serial number 1 twice, in the same second, as a script makes them. */
function sameSecond(): [OddRoot, OddRoot] {
  for (;;) {
    const pair: [OddRoot, OddRoot] = [
      oddRoot({ subject: "/CN=one", serial: "1" }),
      oddRoot({ subject: "/CN=two", serial: "1" }),
    ];
    const [a, b] = pair.map(({ certificatePem }) => new X509Certificate(certificatePem).validFrom);
    if (a === b) return pair;
  }
}

async function shortLived(validityMs: number): Promise<OddRoot> {
  const { certificatePem, keyPair } = await createRootCa({
    ...{ organization: "Test", commonName: "short", algorithm: "ec-p256", now: Date.now(), validityMs },
  });
  return { certificatePem, keyPem: privateKeyPem(keyPair) };
}

test("A6: a root that ends in 110 s is refused unless forced; as the signer it is a loud warning everywhere", async (t) => {
  const server = await startServer(t);
  await bring(server, "next-ca", await shortLived(110_000));
  const refused = await create(server, "next");
  assert.equal(refused.code, 1);
  assert.match(
    refused.stderr,
    /^error: MR3008 root next ends at .*sooner than the 21 days .*\nhint: .*--accept-short-life/,
  );
  await server.createRoot("next");
  await until("the hold", () => holds(server).some(({ message }) => /^MR3008 root next ends/.test(message)));
  await server.removeRoot("next");

  const forced = await create(server, "next", "--accept-short-life", "a rehearsal");
  assert.equal(forced.code, 0, forced.stderr);
  assert.match(await readFile(at(server, "roots/next.yaml"), "utf8"), /accept-short-life: a rehearsal/);
  await until("it is trusted", () => server.running.status().trusted.includes("next"));
  assert.deepEqual(server.running.status().warnings, [], "it does not sign yet");
  assert.match((await server.http("/metrics")).text, /^meshroot_signer_ends_soon 0$/m);
  await server.setRole("next", "active");
  await server.setRole(FIRST, "passive");
  await until("it signs", () => server.running.status().signer === "next");

  const warning = /MR3009 the signing root next ends at /;
  const line = await server.logged(warning);
  assert.deepEqual([line.level, line.code], ["warn", "MR3009"]);
  assert.match(server.running.status().warnings[0]?.message ?? "", /the signing root next ends/);
  assert.match((await server.http("/metrics")).text, /^meshroot_signer_ends_soon 1$/m);
  for (const args of [
    ["root", "list"],
    ["root", "get", "next"],
    ["root", "set-role", "next", "active"],
    ["proxy", "status"],
  ]) {
    const { stderr } = await runMeshroot([...args, "--data-dir", server.config.dataDir]);
    assert.match(stderr, new RegExp(`^warning: ${warning.source}.*\\nhint: Rotate now`, "m"), args.join(" "));
  }
});

test("A6: a root of thirty days is long enough for what is issued by default", async (t) => {
  const server = await startOn(t, await shortLived(30 * 86_400_000));
  assert.deepEqual(server.running.status().warnings, []);
});

test("every other bad root put there by hand is a hold with its code, one after the other, and the mesh goes on", async (t) => {
  const server = await startServer(t);
  const all = Object.entries({ ...REFUSED_BY_OPENSSL, ...REFUSED_BY_ENVOY });
  for (const [index, [name, { make, code, message }]] of all.entries()) {
    const root = `bad-${index}`;
    await bring(server, `${root}-ca`, make());
    await server.createRoot(root);
    if (name === "constraints that exclude this mesh")
      await until(name, () =>
        holds(server).some((hold) => hold.message.startsWith(`${code} root ${root}: a workload's`)),
      );
    else
      await until(name, () =>
        holds(server).some((hold) => hold.message.startsWith(`${code} root ${root}: `) && message.test(hold.message)),
      );
    assert.equal(server.running.status().signer, FIRST);
    await server.removeRoot(root);
    await until(`${name}: taken back`, () => holds(server).length === 0);
  }
});
