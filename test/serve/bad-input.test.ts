/** What an operator may do to the files of a running mesh: the last good trust stays in force, and somebody says why. */

import assert from "node:assert/strict";
import { access, readdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { startRawProxy } from "../support/raw-proxy.ts";
import { manifest } from "../support/roots.ts";
import { runMeshroot } from "../support/run-meshroot.ts";
import { FIRST, startServer, type TestServer, until } from "../support/server.ts";

const at = (server: TestServer, path: string) => join(server.config.dataDir, path);
const firstFile = (server: TestServer) => at(server, `roots/${FIRST}.yaml`);

/** Waits for a hold at the gate `roots`, and checks that trust stands and the mesh is served. */
async function holds(server: TestServer, message: RegExp, trusted: readonly string[] = [FIRST]): Promise<void> {
  const found = () => server.running.status().holds.find((hold) => message.test(hold.message));
  await until(`a hold ${message}: ${JSON.stringify(server.running.status().holds)}`, () => found() !== undefined);
  assert.equal(found()?.gate, "roles");
  assert.match(found()?.message ?? "", /^MR\d{4} .*the last good trust stays in force: ["`A-Z].*\.$/);
  assert.deepEqual([server.running.status().signer, server.running.status().trusted], [FIRST, trusted]);
  const line = await server.logged(new RegExp(`^held: follow the roles: .*${message.source}`));
  assert.equal(line.level, "warn");
  assert.match((await server.http("/metrics")).text, /^meshroot_rotation_gate_blocked\{gate="roles"\} 1$/m);
  assert.equal((await server.http("/health/ready")).status, 200, "it can sign: proxies are served");
}

const free = (server: TestServer) => until("no hold", () => server.running.status().holds.length === 0);

test("sets of roots that break a rule: held until mended", async (t) => {
  const server = await startServer(t);
  const good = await readFile(firstFile(server), "utf8");
  const stream = server
    .client(await server.credential("cart.shop"))
    .secrets()
    .request({ names: ["ROOTCA"] });
  const { version } = await stream.next();
  stream.ack();

  await writeFile(firstFile(server), good.replace("role: active", "role: inactive"));
  await holds(server, /MR1007 no root would be active/);
  await writeFile(firstFile(server), good.replace("role: active", "role: passive"));
  await holds(server, /MR1007 .*no root would sign/);
  await writeFile(firstFile(server), good);
  await free(server);

  const extra = `${manifest("b", "passive")}---\n${manifest("c", "passive")}`;
  await writeFile(at(server, "roots/extra.yaml"), extra);
  await holds(server, /MR1007 3 roots would be in use/);
  await rm(at(server, "roots/extra.yaml"));
  await free(server);

  await writeFile(
    at(server, "roots/other.yaml"),
    manifest("d", "passive").replace("namespace: osm-system", "namespace: other"),
  );
  await holds(server, /MR1007 .*outside the control namespace/);
  await rm(at(server, "roots/other.yaml"));
  await free(server);

  stream.request({ names: ["ROOTCA", "ALL"] });
  assert.equal((await stream.next()).version, version, "through all of it, nothing was sent and no version moved");
  assert.equal(stream.received.length, 2);
});

test("a manifest that can't be read: its last good version stays, a warning names file and line", async (t) => {
  const server = await startServer(t);
  const good = await readFile(firstFile(server), "utf8");
  const rows: [string, string, RegExp][] = [
    [good.replace("spec:", "spec: ["), "MR2003", /YAML syntax error in line \d+, column \d+/],
    ["", "MR1001", /./],
    [good.replace("trustDomain", "trustDomian"), "MR1002", /did you mean trustDomain/],
    [good.replace("role: active", "role: primary"), "MR1003", /role/],
  ];
  for (const [text, code, message] of rows) {
    const before = server.log.length;
    await writeFile(firstFile(server), text);
    const find = () => server.log.slice(before).find((line) => line.code === code);
    await until(`${code} in the log`, () => find() !== undefined);
    assert.equal(find()?.level, "warn");
    assert.match(find()?.message ?? "", message);
    assert.match(String(find()?.message), new RegExp(`^${FIRST}.yaml: `));
    assert.match(String(find()?.hint), /^["`A-Z].*[.?]$/);
    const status = server.running.status();
    assert.match(status.problems.join(), new RegExp(`${FIRST}.yaml: ${code}`));
    assert.deepEqual([status.signer, status.roots[0]?.role, status.holds], [FIRST, "active", []]);
    assert.equal(await readFile(firstFile(server), "utf8"), text, "the file is the operator's");
  }
  await writeFile(firstFile(server), good);
  await until("no problem", () => server.running.status().problems.length === 0);
  assert.equal(server.running.status().generation, 1);
});

test("an edit of what must not change is MR1005 until it is undone", async (t) => {
  const server = await startServer(t);
  const good = await readFile(firstFile(server), "utf8");
  for (const text of [
    good.replace("trustDomain: cluster.local", "trustDomain: other.local"),
    good.replace("spiffeEnabled: false", "spiffeEnabled: true"),
    good.replace("name: osm-ca-bundle", "name: another"),
  ]) {
    assert.notEqual(text, good);
    await writeFile(firstFile(server), text);
    await holds(server, new RegExp(`MR1005 root ${FIRST} was edited: only its role may change`));
    await writeFile(firstFile(server), good);
    await free(server);
  }
  assert.deepEqual(await readdir(at(server, "secrets/osm-system")), ["meshroot-xds-server.yaml", "osm-ca-bundle.yaml"]);
  assert.equal(server.running.status().generation, 1);
});

test("the manifest of the signer deleted: it signs on, its key is kept, also over a restart", async (t) => {
  const server = await startServer(t);
  const good = await readFile(firstFile(server), "utf8");
  await server.createRoot("next");
  await until("the next root is trusted", () => server.running.status().trusted.length === 2);
  await rm(firstFile(server));
  await holds(server, /MR1007 next would be passive alone/, [FIRST, "next"]);
  server.shiftClock(60_000);
  await server.replanned();
  await access(at(server, "secrets/osm-system/osm-ca-bundle.yaml"));
  await server.running.stop();
  await server.start();
  await holds(server, /MR1007 next would be passive alone/, [FIRST, "next"]);
  await server
    .client(await server.credential("cart.shop"))
    .secrets()
    .request({ names: ["default"] })
    .next();
  await writeFile(firstFile(server), good);
  await free(server);
});

test("an emptied or lost folder of roots destroys no key", async (t) => {
  const server = await startServer(t);
  await server.createRoot("next");
  await until("the next root is trusted", () => server.running.status().trusted.length === 2);
  const roots = at(server, "roots");
  const files = await readdir(roots);
  const texts = new Map<string, string>();
  for (const file of files) texts.set(file, await readFile(join(roots, file), "utf8"));
  for (const file of files) await rm(join(roots, file));
  await holds(server, /MR1007 no root would be active/, [FIRST, "next"]);
  server.shiftClock(60_000);
  await server.replanned();
  for (const secret of ["osm-ca-bundle", "next-ca"]) await access(at(server, `secrets/osm-system/${secret}.yaml`));
  for (const file of await readdir(roots)) await rm(join(roots, file));
  for (const [file, text] of texts) await writeFile(join(roots, file), text);
  await free(server);
  assert.equal(server.running.status().generation, 2);

  await rename(roots, `${roots}.away`);
  await server.logged(/MR2002.*what was read last stays in force/);
  assert.deepEqual([server.running.status().holds, server.running.status().trusted.length], [[], 2]);
});

test("an inactive root that was deleted loses its key, a root that signs does not lose it to `root delete`", async (t) => {
  const server = await startServer(t);
  const proxy = startRawProxy(server, await server.credential("cart.shop"));
  await until("synced", () => server.running.status().proxies[0]?.sync === "SYNCED");
  proxy.hold(true);
  await server.createRoot("next");
  await until("trust grows", () => server.running.status().trusted.length === 2);
  // The proxy does not answer: the signer can't move, whatever the roles say.
  await server.setRole("next", "active");
  await server.setRole(FIRST, "passive");
  await server.setRole(FIRST, "inactive");
  await until("the signer waits", () => server.running.status().holds.some(({ gate }) => gate === "signer"));
  const args = ["root", "delete", FIRST, "--data-dir", server.config.dataDir];
  const refused = await runMeshroot(args);
  assert.equal(refused.code, 3);
  assert.match(
    refused.stderr,
    new RegExp(`^error: MR1012 root ${FIRST} still signs: held: sign with next: .*\nhint: .*proxy status`),
  );
  await access(firstFile(server));

  proxy.hold(false);
  await until("the old root left", () => server.running.status().trusted.join() === "next");
  assert.equal((await runMeshroot(args)).code, 0);
  await until("the server has seen it", () =>
    server.running.status().roots.every(({ name, role }) => name !== FIRST || role === undefined),
  );
  server.shiftClock(10_000);
  await server.logged(new RegExp(`^root ${FIRST} was deleted: its key is destroyed`));
  await assert.rejects(access(at(server, "secrets/osm-system/osm-ca-bundle.yaml")));
});

test("a services file that breaks: the last good one stays", async (t) => {
  const server = await startServer(t);
  const file = at(server, "services.yaml");
  const name = "root-cert-for-mtls-outbound:shop/pay";
  await writeFile(file, "shop/pay: [pay.shop]\n");
  const stream = server
    .client(await server.credential("cart.shop"))
    .secrets()
    .request({ names: [name] });
  await stream.nextSecret(name, 30_000);
  stream.ack();
  for (const text of ["shop/pay: [", "shop/pay: [pay]\n", "just text\n"]) {
    const before = server.log.length;
    await writeFile(file, text);
    await until("MR2006", () =>
      server.log.slice(before).some(({ code, level }) => code === "MR2006" && level === "warn"),
    );
  }
  await rm(file);
  await writeFile(file, "shop/pay: [pay.shop, more.shop]\n");
  const { secrets } = await stream.next(
    ({ secrets: [secret] }) => secret?.kind === "validationContext" && secret.sans.length === 2,
    30_000,
  );
  assert.equal(secrets[0]?.name, name);
  assert.equal(stream.received.length, 2, "the broken ones sent nothing");
});

test("a new root whose CA can't be had is refused by name; the mesh goes on", async (t) => {
  const server = await startServer(t);
  const secret = at(server, "secrets/osm-system/next-ca.yaml");
  await writeFile(secret, "kind: [");
  await server.createRoot("next");
  await holds(server, /MR2005 root next: can't read secret/);
  assert.equal(await readFile(secret, "utf8"), "kind: [");
  await rm(secret);
  // By its clock it tries again every five seconds.
  server.shiftClock(5_000);
  await until("mended, it is trusted", () => server.running.status().trusted.includes("next"));
});

test("what can't be recorded is not sent: streams end, nothing is lost, and it heals by itself", async (t) => {
  const server = await startServer(t);
  const client = server.client(await server.credential("cart.shop"));
  const state = at(server, "state");
  await rename(state, `${state}.away`);
  await writeFile(state, "not a folder");
  const stream = client.secrets().request({ names: ["ROOTCA"] });
  const end = await stream.ended;
  assert.deepEqual([end.code, stream.received.length], [14, 0]);
  assert.match(end.details, /MR2002 the state could not be written/);
  const line = await server.logged(/nothing new is sent and nothing changes until it can be written/);
  assert.match(String(line.code), /^MR200[24]$/);
  await rm(state);
  await rename(`${state}.away`, state);
  await client
    .secrets()
    .request({ names: ["ROOTCA"] })
    .next();
  await server.logged(/the state can be written again/);
});
