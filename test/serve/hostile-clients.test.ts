/** Clients that have a certificate and mean no good, or are confused: what they say, whose they say they are, how much they ask for. */

import assert from "node:assert/strict";
import { generateKeyPairSync } from "node:crypto";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { requestBootstrap } from "../../src/access/admin-client.ts";
import { grpcSocketPath } from "../../src/serve/sockets.ts";
import { grpcCaller } from "../support/grpc-call.ts";
import { startRawProxy } from "../support/raw-proxy.ts";
import { runMeshroot } from "../support/run-meshroot.ts";
import { startServer, until } from "../support/server.ts";

const KEY = generateKeyPairSync("ec", { namedCurve: "P-256" })
  .privateKey.export({ type: "pkcs8", format: "pem" })
  .toString();
const SECRET = KEY.split("\n")[1] ?? "";

test("D6: a key that a client says aloud stands in no log, ledger, status or CSDS, wherever it says it", async (t) => {
  const server = await startServer(t);
  const credentials = await server.credential("cart.shop");
  const node = { id: `cart ${KEY}`, cluster: KEY, userAgentName: KEY };
  const stream = server.client(credentials).ads({ node });
  stream.request({ names: ["ROOTCA", KEY, `service-cert:${KEY}`] });
  const response = await stream.next();
  stream.nack(`Failed to load ${KEY.trim()} from <inline>`, {}, response);
  await until("the refusal", () => server.running.status().proxies[0]?.sync === "ERROR");
  await server.logged(/secret that is not its own/);
  const [proxy] = server.running.status().proxies;
  assert.match(proxy?.error ?? "", /^answering ROOTCA: Failed to load \[PEM cut out\] from <inline>$/);
  const csds = grpcCaller(t, `unix:${grpcSocketPath(server.config.dataDir)}`);
  const clients = await csds.unary("envoy.service.status.v3.ClientStatusDiscoveryService", "FetchClientStatus", {});
  const cli = await runMeshroot(["proxy", "status", "-o", "json", "--data-dir", server.config.dataDir]);
  await server.running.stop();
  const ledger = await readFile(join(server.config.dataDir, "state/ledger.jsonl"), "utf8");
  assert.match(ledger, /Failed to load \[PEM cut out\]/);
  for (const [what, text] of Object.entries({
    log: JSON.stringify(server.log),
    ledger,
    status: JSON.stringify(proxy),
    csds: JSON.stringify(clients),
    cli: cli.stdout + cli.stderr,
  }))
    assert.ok(!text.includes(SECRET) && !/BEGIN PRIVATE/.test(text), what);
  assert.match(JSON.stringify(clients), /cart \[PEM cut out\]/);
});

test("D7: a uuid is a uuid and belongs to one identity, whether or not its proxy has ever come", async (t) => {
  const server = await startServer(t);
  const ask = (serviceAccount: string, uuid?: string) =>
    requestBootstrap(server.config.dataDir, { serviceAccount, namespace: "shop", kind: "sidecar", uuid });
  for (const uuid of [
    "",
    "../../x",
    "x",
    "00000000-0000-4000-8000-00000000000G",
    "00000000-0000-4000-8000-000000000000\n",
  ])
    await assert.rejects(ask("cart", uuid), { code: "MR5002", message: /uuid is not a uuid/ });
  const cart = await server.credential("cart.shop");
  const { uuid } = cart.proxy;
  await assert.rejects(ask("pay", uuid), { code: "MR4010", message: /is cart\.shop, and can't be pay\.shop/ });
  const own = startRawProxy(server, cart);
  await until("its leaf", () => own.accepted("default") !== undefined);
  await assert.rejects(ask("pay", uuid), { code: "MR4010" });
  assert.equal((await server.credentialFor(uuid, "cart.shop")).proxy.uuid, uuid, "its own is written anew");

  // Signed by a server that did not know of the other one: the ledger of this one does.
  const unknown = "00000000-0000-4000-8000-000000000001";
  const pay = await server.credentialFor(unknown, "pay.shop");
  await server.running.stop();
  await server.start();
  const late = await server.credentialFor(unknown, "cart.shop");
  const first = server
    .client(pay)
    .secrets()
    .request({ names: ["default"] });
  const theirs = await first.next();
  const thief = server
    .client(late)
    .secrets()
    .request({ names: ["default"] });
  assert.notEqual((await thief.ended).code, 0);
  assert.ok(theirs.secrets[0]?.kind === "tlsCertificate");
  await server.logged(/^xDS client refused: MR4010 proxy 00000000-.* is pay\.shop, and can't be cart\.shop/);
  await server.running.stop();
  const offline = await runMeshroot([
    "proxy",
    "bootstrap",
    "cart.shop",
    "--data-dir",
    server.config.dataDir,
    "--out",
    join(server.config.dataDir, "../x"),
  ]);
  assert.equal(offline.code, 0, offline.stderr);
});

test("D9: 10,000 names that are somebody else's are one line with a count, and none again for the next stream", async (t) => {
  const server = await startServer(t);
  const credentials = await server.credential("cart.shop");
  const lines = () => server.log.filter(({ component }) => component === "audit");
  const names = Array.from({ length: 10_000 }, (_, index) => `service-cert:shop/other-${index}`);
  const asked = [...names, "nonsense", "default", "ROOTCA"];
  for (const stream of [
    server.client(credentials).ads().request({ names: asked }),
    server.client(credentials).ads().request({ names: asked }),
  ]) {
    await stream.next();
    stream.ack();
    await stream.next();
    stream.ack();
    await server.replanned();
    assert.equal(lines().length, 1);
  }
  const line = lines()[0] ?? assert.fail();
  assert.deepEqual([line.level, line.count, (line.names as string[]).length], ["warn", 10_000, 10]);
  assert.equal(line.message, "a proxy asked for 10000 secrets that are not its own; they were not answered");
  const [proxy] = server.running.status().proxies;
  assert.equal(proxy?.sync, "SYNCED");
  assert.ok((proxy?.unknownNames.length ?? 0) <= 20);
  // A few are said one by one.
  const few = ["service-cert:shop/a", "service-cert:shop/b"];
  const pay = server.client(await server.credential("pay.shop")).deltaAds();
  pay.request({ subscribe: [...few, "ROOTCA"] });
  await pay.next();
  assert.deepEqual(
    lines()
      .slice(1)
      .map(({ name }) => name),
    few,
  );
});
