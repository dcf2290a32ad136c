/** What stands in the way of a start: one clear message with a code and what to do next, and nothing is overwritten. */

import assert from "node:assert/strict";
import { mkdir, readdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { dirname, join } from "node:path";
import { type TestContext, test } from "node:test";
import { stringify } from "yaml";
import type { ErrorCode } from "../../src/core/errors.ts";
import { privateKeyPem } from "../../src/pki/keys.ts";
import { createRootCa } from "../../src/pki/root-ca.ts";
import { manifest } from "../support/roots.ts";
import { FIRST, prepareServer, startServer, type TestServer, until } from "../support/server.ts";

const DAY_MS = 86_400_000;
/** A server tries again so often to have a root's CA, by its clock. */
const RETRY_MS = 5_000;
const CA = "secrets/osm-system/osm-ca-bundle.yaml";

/** Writes files into a data directory that no server has seen yet. */
async function prepared(t: TestContext, files: Readonly<Record<string, string>> = {}, flags = {}): Promise<TestServer> {
  const server = await prepareServer(t, flags);
  for (const [path, text] of Object.entries(files)) {
    await mkdir(dirname(at(server, path)), { recursive: true });
    await writeFile(at(server, path), text);
  }
  return server;
}

const at = (server: TestServer, path: string) => join(server.config.dataDir, path);

async function refuses(server: TestServer, code: ErrorCode, message: RegExp, hint: RegExp): Promise<void> {
  await assert.rejects(server.start(), (error: Error & { code?: string; hint?: string }) => {
    assert.equal(error.code, code, error.stack);
    assert.match(error.message, message);
    assert.match(error.hint ?? "", hint);
    assert.match(error.hint ?? "", /^["`A-Z].*[.?]$/, "a sentence");
    assert.doesNotMatch(`${error.message}${error.hint}`, /PRIVATE KEY/);
    return true;
  });
  assert.ok(!(await readdir(server.config.dataDir)).includes("lock"), "the directory is free again");
}

async function caSecret(validity: { readonly now: number; readonly validityMs: number }): Promise<string> {
  const { certificatePem, keyPair } = await createRootCa({
    ...{ organization: "Test", commonName: "brought", algorithm: "ec-p256" as const },
    ...validity,
  });
  const base64 = (text: string) => Buffer.from(text).toString("base64");
  const data = { "ca.crt": base64(certificatePem), "private.key": base64(privateKeyPem(keyPair)) };
  const metadata = { name: "osm-ca-bundle", namespace: "osm-system" };
  return stringify({ apiVersion: "v1", kind: "Secret", metadata, type: "Opaque", data });
}

const OURS = "labels: {app.kubernetes.io/managed-by: meshroot}";

test("a CA secret that can't be used, on a first start", async (t) => {
  const good = await caSecret({ now: Date.now(), validityMs: 365 * DAY_MS });
  const rows: [string, string, ErrorCode, RegExp, RegExp][] = [
    ["no YAML", "kind: [", "MR2005", /osm-ca-bundle/, /^Mend line 1. meshroot never replaces/],
    ["no YAML, of ours", `${OURS}\nkind: [`, "MR2005", /osm-ca-bundle/, /Mend line 2, or restore .* backup/],
    ["no Secret", "kind: ConfigMap\n", "MR2005", /not of kind Secret/, /never replaces/],
    [
      "no certificate",
      good.replace(/ca.crt: .*/, "ca.crt: aGVsbG8="),
      "MR3001",
      /osm-ca-bundle/,
      /Nothing was overwritten/,
    ],
    [
      "no key",
      good.replace(/ {2}private.key: .*/, ""),
      "MR3001",
      /private.key is missing/,
      /^In this secret add the CA's private key as private\.key.*Nothing was overwritten/,
    ],
    [
      "no key, of ours",
      good.replace(/ {2}private.key: .*/, "").replace("metadata:", `metadata:\n  ${OURS}`),
      "MR3001",
      /private.key is missing/,
      /^Restore private\.key.* backup.*Nothing was overwritten/,
    ],
  ];
  for (const [what, text, code, message, hint] of rows) {
    const server = await prepared(t, { [CA]: text });
    await refuses(server, code, message, hint);
    assert.equal(await readFile(at(server, CA), "utf8"), text, what);
    await writeFile(at(server, CA), good);
    await server.start();
    assert.equal(server.running.status().signer, FIRST, "mended, it starts");
  }
  const server = await prepared(t);
  await mkdir(at(server, CA), { recursive: true });
  await refuses(server, "MR2005", /EISDIR/, /./);
});

test("a root that has expired, or is not valid yet, on a first start", async (t) => {
  const now = Date.now();
  const expired = await prepared(t, { [CA]: await caSecret({ now: now - 2 * DAY_MS, validityMs: DAY_MS }) });
  await refuses(expired, "MR3002", new RegExp(`root ${FIRST} expired at 2`), /root create/);
  const early = await prepared(t, { [CA]: await caSecret({ now: now + DAY_MS, validityMs: DAY_MS }) });
  await refuses(early, "MR3003", new RegExp(`root ${FIRST} is not valid before 2`), /clock \(it says 2/);
  for (const server of [expired, early]) {
    assert.deepEqual(await readdir(at(server, "state")), [], "no trust was put in force");
    await writeFile(at(server, CA), await caSecret({ now, validityMs: 365 * DAY_MS }));
    await server.start();
  }
});

test("manifests that can't make a first mesh", async (t) => {
  const rows: [string, ErrorCode, RegExp, RegExp][] = [
    ["kind: [", "MR2003", /line 1/, /save again/],
    [manifest("a", "passive"), "MR1007", /no root would sign/, /active/],
    [
      `${manifest("a", "active")}---\n${manifest("b", "passive")}---\n${manifest("c", "passive")}`,
      "MR1007",
      /3 roots/,
      /./,
    ],
    [manifest("a", "active").replace("trustDomain", "trustdomain"), "MR1002", /did you mean trustDomain/, /./],
  ];
  for (const [text, code, message, hint] of rows) {
    const server = await prepared(t, { "roots/a.yaml": text });
    await refuses(server, code, message, hint);
    assert.deepEqual(await readdir(at(server, "roots")), ["a.yaml"]);
    assert.equal(await readFile(at(server, "roots/a.yaml"), "utf8"), text);
  }
});

test("a data directory in use, or of no use", async (t) => {
  const running = await startServer(t);
  const second = await prepareServer(t, { dataDir: running.config.dataDir });
  await assert.rejects(second.start(), { code: "MR2001", message: /held by process \d+/, hint: /Stop process \d+/ });
  await running.http("/health/ready");
  const file = await prepared(t, { "a-file": "" });
  const below = await prepareServer(t, { dataDir: at(file, "a-file/data") });
  await assert.rejects(below.start(), { code: "MR2002", message: /ENOTDIR/, hint: /--data-dir/ });
});

test("each of the three ports in use", async (t) => {
  const taken = createServer().listen(0, "127.0.0.1");
  t.after(() => taken.close());
  await until("the port is taken", () => taken.listening);
  const address = taken.address();
  const port = String(typeof address === "object" ? address?.port : 0);
  for (const [setting, flag] of [
    ["xdsPort", "--xds-port"],
    ["httpPort", "--http-port"],
    ["healthPort", "--health-port"],
  ] as const) {
    const server = await prepared(t, {}, { [setting]: port });
    await refuses(server, "MR5003", new RegExp(`127.0.0.1:${port} is in use`), new RegExp(flag));
  }
});

test("state that can't be read is MR2004, and stays as it is", async (t) => {
  for (const [path, text] of [
    ["state/trust.json", "{"],
    ["state/trust.json", '{"format":99}'],
    ["state/ledger.jsonl", "garbage\n"],
  ] as const) {
    const server = await startServer(t);
    await server.running.stop();
    await writeFile(at(server, path), text);
    await refuses(server, "MR2004", /trust|ledger/, /[Nn]othing was (overwritten|changed)/);
    assert.equal(await readFile(at(server, path), "utf8"), text);
  }
  const server = await startServer(t);
  await server.createRoot("next");
  await until("there is a backup", () => server.running.status().generation === 2);
  await server.running.stop();
  await rm(at(server, "state/trust.json"));
  await refuses(server, "MR2004", /only its backup/, /trust.json.bak/);
});

test("a mesh that ran before starts without its CA: last good trust, a hold, not ready; restored, all is well", async (t) => {
  const server = await startServer(t);
  const credentials = await server.credential("cart.shop");
  const fingerprint = server.running.status().roots[0]?.fingerprint;
  const damage: [string, (path: string) => Promise<void>, RegExp][] = [
    ["corrupt", (path) => writeFile(path, "kind: ["), /MR2005.*YAML syntax error/],
    ["gone", (path) => rm(path), /MR2005.*is gone.*nothing was made in its place/],
  ];
  for (const [what, harm, message] of damage) {
    await server.running.stop();
    const path = at(server, CA);
    const good = await readFile(path, "utf8");
    await harm(path);
    const before = server.log.length;
    await server.start();
    await until(`${what}: the hold`, () =>
      server.running.status().holds.some((hold) => hold.reason === "SignerMissing"),
    );
    const status = server.running.status();
    const [hold] = status.holds;
    assert.equal(hold?.gate, "roles");
    assert.match(hold?.message ?? "", message);
    assert.ok(hold?.message.includes(FIRST));
    assert.deepEqual([status.signer, status.trusted, status.roots[0]?.fingerprint], [FIRST, [FIRST], fingerprint]);
    const ready = await server.http("/health/ready");
    assert.equal(ready.status, 503);
    assert.match(ready.text, message);
    assert.equal((await server.http("/health/alive")).status, 200);
    assert.ok(server.log.slice(before).some((line) => line.level === "warn" && /^held: sign with/.test(line.message)));
    const stream = server
      .client(credentials)
      .secrets()
      .request({ names: ["ROOTCA"] });
    assert.equal((await stream.next()).secrets[0]?.name, "ROOTCA", "trust is served on");

    await writeFile(path, good);
    server.shiftClock(RETRY_MS);
    await until(`${what}: it signs again`, () => server.running.status().holds.length === 0);
    assert.equal((await server.http("/health/ready")).status, 200);
    stream.ack({ names: ["ROOTCA", "default"] });
    await stream.nextSecret("default", 30_000);
  }
});

test("an emptied folder of roots is no first start", async (t) => {
  const server = await startServer(t);
  await server.running.stop();
  const roots = at(server, "roots");
  await rename(roots, `${roots}.away`);
  await server.start();
  await until("the hold", () =>
    server.running.status().holds.some(({ message }) => /MR1007 no root would be active/.test(message)),
  );
  assert.deepEqual(await readdir(roots), [], "no new first root");
  assert.equal(server.running.status().signer, FIRST);
  assert.equal((await server.http("/health/ready")).status, 200, "it signs: the key is there, and was found");
  const stream = server
    .client(await server.credential("cart.shop"))
    .secrets()
    .request({ names: ["default"] });
  await stream.next();
});

test("a root edited while no server ran is MR1005 until the edit is undone", async (t) => {
  const server = await startServer(t);
  await server.running.stop();
  const path = at(server, `roots/${FIRST}.yaml`);
  const good = await readFile(path, "utf8");
  await writeFile(path, good.replace("cluster.local", "other.local"));
  await server.start();
  await until("the hold", () =>
    server.running.status().holds.some(({ message }) => /MR1005.*Undo the edit/.test(message)),
  );
  assert.deepEqual(
    server.running.status().roots.map(({ trustDomain }) => trustDomain),
    ["cluster.local"],
  );
  await writeFile(path, good);
  await until("no hold", () => {
    server.shiftClock(RETRY_MS);
    return server.running.status().holds.length === 0;
  });
  assert.equal(server.running.status().generation, 1);
});

test("a root that expired while the mesh ran: what to do is said, and doing it mends the mesh", async (t) => {
  const server = await startServer(t, { rootValidity: "2h", leafValidity: "1h", xdsCertValidity: "1h" });
  await server.running.stop();
  server.shiftClock(3 * 3_600_000);
  await server.start();
  await server.logged(/^xDS has no certificate of its own: MR3002/);
  const ready = await server.http("/health/ready");
  assert.equal(ready.status, 503);
  assert.match(ready.text, new RegExp(`^MR3002 root ${FIRST} expired at .*root create`));
  await server.createRoot("next");
  await until("the new root is trusted", () => server.running.status().trusted.includes("next"));
  await server.setRole("next", "active");
  await until("the new root signs", () => server.running.status().signer === "next");
  await until("ready", async () => (await server.http("/health/ready")).status === 200);
});

test("a clock that went back: MR3003 names the time, and nothing else changes", async (t) => {
  const server = await startServer(t);
  await server.running.stop();
  server.shiftClock(-DAY_MS);
  await server.start();
  const ready = await server.http("/health/ready");
  assert.match(ready.text, /^MR3003 root .* is not valid before .*Check this machine's clock \(it says 2/);
  await until("the hold", () => server.running.status().holds.some(({ message }) => message.startsWith("MR3003")));
  server.shiftClock(DAY_MS);
  await until("ready", async () => (await server.http("/health/ready")).status === 200);
});

test("a broken services file at the start: its bundles wait, everything else is served", async (t) => {
  const server = await prepared(t, { "services.yaml": "shop/pay: [" });
  await server.start();
  const line = await server.logged(/^services.yaml: YAML syntax error/);
  assert.deepEqual([line.level, line.code], ["warn", "MR2006"]);
  const name = "root-cert-for-mtls-outbound:shop/pay";
  const stream = server.client(await server.credential("cart.shop")).deltaSecrets();
  stream.request({ subscribe: [name, "ROOTCA"] });
  const first = await stream.next();
  assert.deepEqual(
    [first.removed, first.secrets[0]?.name],
    [[], "ROOTCA"],
    "nobody says that the service is not there",
  );
  stream.ack();
  await writeFile(at(server, "services.yaml"), "shop/pay: [pay.shop]\n");
  await stream.nextSecret(name, 30_000);
});
