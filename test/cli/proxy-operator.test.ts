/** `meshroot proxy forget|assume|retry` as a user types them, on a running server and without one. */

import assert from "node:assert/strict";
import { join } from "node:path";
import { test } from "node:test";
import { temporaryDirectory } from "../support/data-dir.ts";
import { type RawProxy, startRawProxy } from "../support/raw-proxy.ts";
import { runMeshroot } from "../support/run-meshroot.ts";
import { startServer, type TestServer, until } from "../support/server.ts";

const proxy = (server: TestServer, ...args: string[]) =>
  runMeshroot(["proxy", ...args], { env: { MESHROOT_DATA_DIR: server.config.dataDir } });

const statusOf = (server: TestServer, uuid: string) => {
  const found = server.running.status().proxies.find((one) => one.proxy === uuid);
  assert.ok(found !== undefined, `proxy ${uuid}`);
  return found;
};

/** A proxy of this identity that has its secrets, and one that has gone again. */
async function started(server: TestServer, identity: string): Promise<RawProxy> {
  const one = startRawProxy(server, await server.credential(identity));
  await until(`${identity} is synced`, () =>
    server.running
      .status()
      .proxies.some(({ proxy, sync, leafExpires }) => proxy === one.uuid && sync === "SYNCED" && leafExpires),
  );
  return one;
}

async function gone(server: TestServer, identity: string): Promise<string> {
  const one = await started(server, identity);
  one.leave();
  await until(`${identity} is gone`, () => !statusOf(server, one.uuid).connected);
  return one.uuid;
}

test("forget: by uuid, prefix or identity, with a reason, audited, shown, durable, and over when the proxy returns", async (t) => {
  const server = await startServer(t);
  const credentials = await server.credential("cart.shop");
  const first = startRawProxy(server, credentials);
  await until("synced", () => server.running.status().proxies[0]?.leafExpires !== undefined);
  first.leave();
  await until("gone", () => !statusOf(server, first.uuid).connected);

  const made = await proxy(server, "forget", "cart.shop", "--reason", "node 7 burnt down");
  assert.equal(made.code, 0, made.stderr);
  assert.equal(made.stdout, `proxy/${first.uuid} (cart.shop): forgotten until it returns\n`);
  assert.match(made.stderr, /^warning: it is your word that the process is gone: .*requests .* can fail/);
  const line = await server.logged(/^an operator says that this proxy is gone/);
  const { level, component, action, proxy: uuid, identity, reason } = line;
  assert.deepEqual(
    [level, component, action, uuid, identity, reason],
    ["warn", "audit", "forget", first.uuid, "cart.shop", "node 7 burnt down"],
  );
  assert.deepEqual(
    [statusOf(server, first.uuid).counts, statusOf(server, first.uuid).forgotten?.reason],
    [false, reason],
  );

  const shown = await proxy(server, "status");
  assert.match(shown.stdout, /cart\.shop +UNKNOWN \(forgotten\)/);
  assert.match(
    shown.stderr,
    new RegExp(
      `^operator on cart\\.shop \\(${first.uuid}\\): forgotten until it returns: node 7 burnt down \\(since 2`,
      "m",
    ),
  );
  assert.match((await proxy(server, "ps", "-o", "wide")).stdout, /forgotten until it returns: node 7/);
  const item = JSON.parse((await proxy(server, "status", first.uuid, "-o", "json")).stdout);
  assert.equal(item.status.forgotten.reason, "node 7 burnt down");

  await server.running.stop();
  await server.start();
  assert.equal(statusOf(server, first.uuid).forgotten?.reason, "node 7 burnt down", "read back");
  assert.match(String((await server.logged(/gate until it returns, since 2/)).since), /^\d{4}-/);
  startRawProxy(server, credentials);
  await until("it counts again", () => statusOf(server, first.uuid).counts);
  assert.equal(statusOf(server, first.uuid).forgotten, undefined);
});

test("E13 forget --gone: what is known of the proxy leaves at once, for good, audited; a connected one stays", async (t) => {
  const server = await startServer(t);
  const uuid = await gone(server, "cart.shop");
  const here = await started(server, "till.shop");
  const seen = () => server.running.status().proxies.map((one) => one.proxy);

  const refused = await proxy(server, "forget", here.uuid, "--gone", "--reason", "drill");
  assert.equal(refused.code, 3);
  assert.match(refused.stderr, /^error: MR5008 proxy .* is connected/);
  const both = await proxy(server, "forget", uuid, "--gone", "--undo", "--reason", "drill");
  assert.equal(both.code, 2);
  assert.match(both.stderr, /^error: MR5001 --undo can't take back --gone/);
  assert.deepEqual(new Set(seen()), new Set([uuid, here.uuid]), "nothing was changed");

  const said = await proxy(server, "forget", "cart.shop", "--gone", "--reason", "node 7 burnt down");
  assert.equal(said.code, 0, said.stderr);
  assert.equal(said.stdout, `proxy/${uuid} (cart.shop): gone for good, it has left the ledger\n`);
  assert.match(said.stderr, /^warning: it is your word that the process is gone: .*nothing takes that back\n/);
  assert.deepEqual(seen(), [here.uuid]);
  const line = await server.logged(/^an operator says that this proxy is gone for good/);
  assert.deepEqual(
    [line.component, line.action, line.proxy, line.reason],
    ["audit", "gone", uuid, "node 7 burnt down"],
  );
  assert.match((await proxy(server, "forget", uuid, "--gone", "--reason", "twice")).stderr, /^error: MR5005 no proxy/);

  await server.running.stop();
  await server.start();
  assert.deepEqual(seen(), [here.uuid], "on disk, too");
});

test("E13 forget --gone without a server takes the row out of the data directory", async (t) => {
  const server = await startServer(t);
  const uuid = await gone(server, "cart.shop");
  await server.running.stop();
  const said = await proxy(server, "forget", uuid, "--gone", "--reason", "offline");
  assert.equal(said.code, 0, said.stderr);
  assert.match(said.stderr, /No server runs on .*: it is written down there/);
  await server.start();
  assert.deepEqual(server.running.status().proxies, []);
});

test("forget --undo and assume --undo take the word back", async (t) => {
  const server = await startServer(t);
  const uuid = await gone(server, "cart.shop");
  for (const [word, field] of [
    ["forget", "forgotten"],
    ["assume", "assumed"],
  ] as const) {
    const said = await proxy(server, word, uuid.slice(0, 4), "--reason", "drill");
    assert.equal(said.code, 0, said.stderr);
    assert.equal(statusOf(server, uuid)[field]?.reason, "drill");
    const back = await proxy(server, word, uuid, "--undo", "--reason", "drill is over");
    assert.deepEqual([back.code, back.stderr], [0, ""]);
    assert.match(back.stdout, new RegExp(`^proxy/${uuid} \\(cart\\.shop\\): no longer ${field}\n$`));
    assert.equal(statusOf(server, uuid)[field], undefined);
    const again = await proxy(server, word, uuid, "--undo", "--reason", "twice");
    assert.equal(again.code, 1);
    assert.match(again.stderr, new RegExp(`^error: MR5005 nobody said ${word} of proxy .*\nhint: `));
  }
  const audited = server.log
    .filter(({ component }) => component === "audit")
    .map(({ action, reason }) => [action, reason]);
  assert.deepEqual(audited, [
    ["forget", "drill"],
    ["unforget", "drill is over"],
    ["assume", "drill"],
    ["unassume", "drill is over"],
  ]);
});

test("what can't be: each is refused with a code, says what to do, and changes nothing", async (t) => {
  const server = await startServer(t);
  const live = await started(server, "cart.shop");
  const absent = await gone(server, "cart.shop");
  const rows: [string[], number, RegExp][] = [
    [
      ["forget", live.uuid, "--reason", "x"],
      3,
      /MR5008 proxy .* is connected \(envoy\).*it counts because it is connected\nhint: Stop it first/,
    ],
    [["forget", absent], 2, /MR5001 forget needs --reason\nhint: Say why .*process is gone.*can fail/],
    [["assume", absent, "--reason", " "], 2, /MR5001 assume needs --reason/],
    [["forget", absent, "--undo"], 2, /MR5001 forget --undo needs --reason\nhint: Say why with --reason TEXT\.\n$/],
    [["forget", absent, "--reason", "two\nlines"], 2, /MR5002 the reason holds control characters/],
    [["forget", absent, "--reason", "x".repeat(501)], 2, /MR5002 the reason is longer than 500/],
    [["forget", "nobody.shop", "--reason", "x"], 1, /MR5005 no proxy nobody\.shop\nhint: Give its uuid/],
    [["forget", absent.slice(0, 3), "--reason", "x"], 1, /MR5005 no proxy/],
    [
      ["forget", "cart.shop", "--reason", "x"],
      1,
      new RegExp(
        `MR5007 2 proxies are called cart\\.shop: ${absent} \\(cart\\.shop, absent, last contact 2.*\\), ${live.uuid} \\(cart\\.shop, connected, last contact 2`,
      ),
    ],
  ];
  for (const [args, code, message] of rows) {
    const result = await proxy(server, ...args);
    assert.deepEqual([result.code, result.stdout], [code, ""], `${args.join(" ")}: ${result.stderr}`);
    assert.match(result.stderr, /^error: MR5\d{3} [^\n]+\nhint: [^\n]+\n$/);
    assert.match(result.stderr, message);
  }
  const { forgotten, assumed } = statusOf(server, absent);
  assert.deepEqual([forgotten, assumed], [undefined, undefined]);
  assert.ok(server.log.every(({ component }) => component !== "audit"));
});

test("retry sends what was refused at once, in new bytes; it needs a server", async (t) => {
  const server = await startServer(t);
  const cart = await started(server, "cart.shop");
  assert.match((await proxy(server, "retry", "cart.shop")).stdout, /nothing to send again, it refuses nothing/);
  await server.logged(/^an operator asked for refused secrets to be sent again; this proxy refuses none$/);
  cart.judge = () => "Failed to load";
  await server.createRoot("next");
  await until("the refusal", () => statusOf(server, cart.uuid).sync === "ERROR");
  const seen = cart.answers.length;
  cart.judge = () => undefined;
  const made = await proxy(server, "retry", cart.uuid.slice(0, 8), "--reason", "disk is back");
  assert.equal(made.code, 0, made.stderr);
  assert.match(made.stdout, /^proxy\/.* \(cart\.shop\): root-cert-for-mtls-inbound sent again\n$/);
  await until("it has accepted", () => statusOf(server, cart.uuid).sync === "SYNCED");
  assert.ok(cart.answers.length > seen);
  const line = await server.logged(/^an operator has refused secrets sent again: disk is back$/);
  assert.deepEqual([line.component, line.action], ["audit", "retry"]);

  await server.running.stop();
  const offline = await proxy(server, "retry", cart.uuid);
  assert.equal(offline.code, 5);
  assert.match(offline.stderr, /^error: MR5004 no server runs on .*: retry needs one.*\nhint: Start it/);
});

test("forget and assume without a server: under the lock, kept for its start; never on what is no data directory", async (t) => {
  const server = await startServer(t);
  const uuid = await gone(server, "cart.shop");
  await server.running.stop();
  for (const word of ["forget", "assume"]) {
    const made = await proxy(server, word, "cart.shop", "--reason", `${word} offline`);
    assert.equal(made.code, 0, made.stderr);
    assert.match(made.stderr, /No server runs on .*: it is written down there, and holds when one starts/);
  }
  assert.match((await proxy(server, "status")).stdout, /cart\.shop +UNKNOWN \(forgotten\)/);
  await server.start();
  const { forgotten, assumed, counts, signedBy } = statusOf(server, uuid);
  assert.deepEqual([forgotten?.reason, assumed?.reason, counts], ["forget offline", "assume offline", false]);
  assert.equal(signedBy.length, 1, "what it may run is not forgotten");
  assert.equal(server.log.filter(({ component, since }) => component === "audit" && since !== undefined).length, 2);

  const nowhere = join(await temporaryDirectory(t), "none");
  const wrong = await runMeshroot(["proxy", "forget", uuid, "--reason", "x", "--data-dir", nowhere]);
  assert.equal(wrong.code, 1);
  assert.match(wrong.stderr, /^error: MR2002 .* is not a meshroot data directory\nhint: /);
});
