/** Who a client is: what its certificate proves, on every method, whatever it claims (evidence.md C1, T14). */

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { X509Certificate } from "node:crypto";
import { once } from "node:events";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { generateKeyPair, privateKeyPem } from "../../src/pki/keys.ts";
import type { LocalAuthority } from "../../src/pki/local-authority.ts";
import { localAuthority } from "../../src/pki/local-authority.ts";
import { createRootCa } from "../../src/pki/root-ca.ts";
import type { IssueRequest } from "../../src/ports/provider.ts";
import { createTresor } from "../../src/providers/tresor.ts";
import { secretFiles } from "../../src/stores/files/secret-files.ts";
import { temporaryDirectory } from "../support/data-dir.ts";
import { loadAuthority } from "../support/load-authority.ts";
import { FIRST, startServer, type TestServer, tlsOf, until } from "../support/server.ts";
import type { ClientTls } from "../support/xds-client.ts";

const UUID = "00000000-0000-4000-8000-000000000001";
const URI = `meshroot://cluster.local/proxy/shop/cart/sidecar/${UUID}`;
const DAY_MS = 86_400_000;
const clock = { now: () => Date.now(), after: () => () => undefined };

const namesOf = (sa: string) => [
  `service-cert:shop/${sa}`,
  `spiffe://cluster.local/${sa}/shop`,
  `spiffe://cluster.local/ns/shop/sa/${sa}`,
];

test("C1: a certificate of A with the node.id and the names of B gets nothing of B, on any streaming method (T14)", async (t) => {
  const server = await startServer(t);
  const [a, b] = [await server.credential("cart.shop"), await server.credential("pay.shop")];
  const node = { id: b.proxy.uuid, cluster: "pay.shop" };
  const client = server.client(a);
  const foreign = namesOf("pay");

  for (const stream of [client.secrets({ node }), client.ads({ node })]) {
    // The own leaf comes last in the list: had something of B been found, it would have been sent before.
    stream.request({ names: [...foreign, "default"] });
    const response = await stream.next();
    assert.deepEqual(
      response.secrets.map(({ name }) => name),
      ["default"],
    );
    assert.equal(subjectOf(response.secrets[0]), "cart.shop.cluster.local");
    stream.ack();
    // A second name's answer comes after whatever the first request may still have caused.
    stream.request({ names: [...foreign, "default", "ROOTCA"] });
    assert.deepEqual(
      (await stream.next()).secrets.map(({ name }) => name),
      ["ROOTCA"],
    );
    await stream.cancel();
  }
  for (const stream of [client.deltaSecrets({ node }), client.deltaAds({ node })]) {
    stream.request({ subscribe: [...foreign, "default"] });
    const removal = await stream.next();
    assert.deepEqual([removal.resources.length, [...removal.removed].sort()], [0, [...foreign].sort()]);
    stream.ack();
    const own = await stream.next();
    assert.equal(subjectOf(own.secrets[0]), "cart.shop.cluster.local");
    stream.ack({ subscribe: ["ROOTCA"] });
    const next = await stream.next();
    assert.deepEqual([next.removed, next.secrets[0]?.name], [[], "ROOTCA"], "what was removed is not listed twice");
    await stream.cancel();
  }
  const audit = server.log.filter((line) => line.component === "audit");
  for (const name of foreign)
    assert.ok(
      audit.some((line) => line.name === name && line.proxy === a.proxy.uuid),
      name,
    );
  assert.deepEqual(
    server.running.status().proxies.map(({ identity }) => identity),
    ["cart.shop"],
  );
});

test("names are taken to the byte: no second spelling leads anywhere", async (t) => {
  const server = await startServer(t);
  const stream = server.client(await server.credential("cart.shop")).deltaSecrets();
  const odd = [
    ...["service-cert:shop/cart/", "service-cert:shop%2fcart", "service-cert:Shop/cart", "service-cert:shop/cart\0"],
    ...["spiffe://cluster.local/cart/shop/", "spiffe://CLUSTER.local/cart/shop", "spiffe://other.local/cart/shop"],
    ...["spiffe://cluster.local/shop/cart", "Default", "default ", "rootca", "../default", "xdstp://a/b"],
  ];
  stream.request({ subscribe: odd });
  assert.deepEqual([...(await stream.next()).removed].sort(), [...odd].sort());
});

test("who is no proxy of this mesh is refused, with who, why and what to do in the log", async (t) => {
  const server = await startServer(t);
  const authority = await authorityOf(server);
  const other = await createRootCa({
    ...{ commonName: "osm-ca.openservicemesh.io", organization: "Open Service Mesh", country: "US", locality: "CA" },
    ...{ algorithm: "ec-p256", validityMs: DAY_MS, now: Date.now() },
  });
  const stranger = localAuthority({
    certificatePem: other.certificatePem,
    privateKey: other.keyPair.privateKey,
    clock,
  });
  const who = new RegExp(`cart.shop \\(${UUID}\\)`);
  const now = Date.now();
  const rows: [string, ClientTls, RegExp, RegExp][] = [
    ["no certificate", { ca: authority.certificatePem }, /sent no certificate/, /proxy bootstrap/],
    [
      "a service leaf",
      await credential(authority, {
        dnsNames: ["cart.shop.cluster.local"],
        uris: ["spiffe://cluster.local/cart/shop"],
      }),
      /CN=cart.*no xDS certificate/,
      /proxy bootstrap/,
    ],
    [
      "two URI SANs",
      await credential(authority, { uris: [URI, URI.replace("cart", "pay")] }),
      /CN=cart.*exactly one URI SAN/,
      /proxy bootstrap/,
    ],
    [
      "a URI of another form",
      await credential(authority, { uris: [`${URI}/`] }),
      /CN=cart.*no xDS certificate/,
      /proxy bootstrap/,
    ],
    ["an unknown root of the same name", await credential(stranger, { uris: [URI] }), who, /bootstrap/],
    [
      "expired",
      await credential(authority, { uris: [URI], notBefore: now - 2 * DAY_MS, notAfter: now - DAY_MS }),
      /cart.shop.*expired at/,
      /proxy bootstrap/,
    ],
    [
      "not yet valid",
      await credential(authority, { uris: [URI], notBefore: now + DAY_MS, notAfter: now + 2 * DAY_MS }),
      /cart.shop.*valid from/,
      /clocks/,
    ],
    [
      "a foreign trust domain",
      await credential(authority, { uris: [URI.replace("cluster.local", "other.local")] }),
      /trust domain other.local of cart.shop/,
      /bootstrap/,
    ],
  ];
  for (const [what, tls, reason, hint] of rows) {
    const before = server.log.length;
    const stream = server
      .client({ serverName: "xds.meshroot.internal", ...tls, ca: authority.certificatePem })
      .secrets();
    stream.request({ names: ["ROOTCA"] });
    const end = await stream.ended;
    assert.equal(end.code, 14, `${what}: ${end.details}`);
    assert.equal(stream.received.length, 0, what);
    const line = await found(server, before, /^xDS client refused/);
    assert.equal(line.level, "warn");
    assert.match(String(line.remote), /^127\.0\.0\.1:\d+$/);
    assert.match(String(line.reason), reason, what);
    assert.match(String(line.hint), hint, what);
  }
  assert.match((await server.http("/metrics")).text, /^meshroot_xds_clients_refused_total \d+$/m);
  assert.deepEqual(server.running.status().proxies, []);
});

test("the leaf that SDS delivers opens no xDS stream", async (t) => {
  const server = await startServer(t, { enableSpiffe: true });
  const credentials = await server.credential("cart.shop");
  const stream = server
    .client(credentials)
    .secrets()
    .request({ names: ["default"] });
  const [leaf] = (await stream.next()).secrets;
  assert.ok(leaf?.kind === "tlsCertificate");
  const tls = { ...tlsOf(credentials), certificate: leaf.chainPem, key: leaf.privateKeyPem };
  assert.notEqual(
    (
      await server
        .client(tls)
        .secrets()
        .request({ names: ["ROOTCA"] }).ended
    ).code,
    0,
  );
  await server.logged(/refused.*no xDS certificate/);
});

test("plain text and a foreign protocol are refused and named", async (t) => {
  const server = await startServer(t);
  const { xdsClient } = await import("../support/xds-client.ts");
  const client = xdsClient(server.running.xdsPort);
  t.after(() => client.close());
  assert.notEqual((await client.secrets().request({ names: ["ROOTCA"] }).ended).code, 0);
  const line = await server.logged(/^xDS client refused: TLS handshake failed/);
  assert.match(String(line.remote), /^127/);
});

async function found(server: TestServer, from: number, message: RegExp) {
  const find = () => server.log.slice(from).find((line) => message.test(line.message));
  await until(`a log line ${message}`, () => find() !== undefined);
  return find() as TestServer["log"][number];
}

/** The server's own authority, loaded a second time from its secret. */
async function authorityOf(server: TestServer): Promise<LocalAuthority> {
  const tresor = createTresor({ secrets: secretFiles(join(server.config.dataDir, "secrets")), clock });
  const root = (await server.roots.list()).roots.find(({ name }) => name === FIRST);
  assert.ok(root);
  return loadAuthority(tresor, root);
}

async function credential(authority: LocalAuthority, request: Partial<IssueRequest>): Promise<ClientTls> {
  const keyPair = await generateKeyPair("ec-p256");
  const now = Date.now();
  const { chainPem } = await authority.issue({
    ...{ commonName: "cart", dnsNames: [], uris: [], usages: ["clientAuth"], publicKey: keyPair.publicKey },
    ...{ notBefore: now - DAY_MS, notAfter: now + DAY_MS / 2 },
    ...request,
  });
  return { ca: authority.certificatePem, certificate: chainPem, key: privateKeyPem(keyPair) };
}

function subjectOf(secret: { readonly kind: string } | undefined): string | undefined {
  assert.ok(secret !== undefined && "chainPem" in secret && typeof secret.chainPem === "string");
  return /^CN=(.+)$/m.exec(new X509Certificate(secret.chainPem).subject)?.[1];
}

test("C5: a credential under a root that has left is refused by the name of its proxy, the name of the root, and the remedy", async (t) => {
  const server = await startServer(t);
  const stale = await server.credential("cart.shop");
  await server.createRoot("next");
  await server.setRole("next", "active");
  await server.setRole(FIRST, "passive");
  await until("the signer moves", () => server.running.status().signer === "next");
  await server.setRole(FIRST, "inactive");
  await until("the old root is on no port", () => unused(server));
  // It trusts the server's new root, as an operator's hand-made bundle might, and still comes with the old certificate.
  const { caPem } = await server.credential("pay.shop");
  const client = server.client({ ...tlsOf(stale), ca: caPem });
  await client.secrets().request({ names: ["ROOTCA"] }).ended;
  const line = await server.logged(
    new RegExp(`cart\\.shop \\(${stale.proxy.uuid}\\) is under ${FIRST}, a root that has left`),
  );
  assert.match(String(line.hint), /meshroot proxy bootstrap/);
});

test("C5: a client that does not trust our certificate any more is named by its SNI, as a claim", async (t) => {
  const server = await startServer(t);
  const credentials = await server.credential("cart.shop");
  const { uuid } = credentials.proxy;
  await server
    .client(credentials)
    .secrets()
    .request({ names: ["ROOTCA"] })
    .next();
  // OpenSSL says why it leaves, as Envoy does; Node's own client only hangs up.
  const roots = join(await temporaryDirectory(t), "roots.pem");
  await writeFile(roots, await foreignCa());
  const address = `127.0.0.1:${server.running.xdsPort}`;
  const sni = ["-servername", `${uuid}.cart.shop.xds.meshroot.internal`];
  const client = spawn("openssl", ["s_client", "-connect", address, ...sni, "-CAfile", roots, "-verify_return_error"]);
  await once(client, "exit");
  const line = await server.logged(/does not trust the root of this server's certificate/);
  assert.match(line.message, new RegExp(`${FIRST}.*by its SNI it is cart\\.shop \\(${uuid}\\)`));
  assert.equal(line.proxy, uuid);
});

function unused(server: TestServer): boolean {
  const root = server.running.status().roots.find(({ name }) => name === FIRST);
  return Object.values(root?.componentStatuses ?? {}).every((state) => state === "unused");
}

async function foreignCa(): Promise<string> {
  const validity = { algorithm: "ec-p256", validityMs: DAY_MS, now: Date.now() } as const;
  return (await createRootCa({ ...validity, commonName: "foreign", organization: "x", country: "US", locality: "CA" }))
    .certificatePem;
}
