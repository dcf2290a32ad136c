/** C5: what an operator writes into the folder under a running agent is never mixed with what the agent was sent before. */

import assert from "node:assert/strict";
import { mkdir, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import type { EnvoyState } from "../../src/agent/loading.ts";
import { writeCredentials } from "../../src/envoy/credentials-dir.ts";
import { prepare, runImpatientAgent, xdsLeaf } from "../support/played-envoy.ts";
import { until } from "../support/server.ts";
import { makeTestRoot } from "../support/test-certificates.ts";

/** An agent in its folder; roots a (in force at first), b, c. */
async function start(t: TestContext, envoyState: () => EnvoyState = () => "unknown") {
  const { root: a, xds, admin, dir, file, credentials } = await prepare(t);
  const [b, c] = [await makeTestRoot("b"), await makeTestRoot("c")];
  await runImpatientAgent(t, { dir, adminAddress: admin.address, envoyState });
  /** `meshroot proxy bootstrap` into the same folder. */
  const bootstrap = async () => {
    const made = await xdsLeaf(a);
    await writeCredentials(join(dir, "certs"), { ...credentials, ...made });
    return made;
  };
  return { a, b, c, xds, admin, file, bootstrap, dir };
}

test("a secret that comes after it is not merged into it: the agent begins anew, with what lies there", async (t) => {
  const { a, b, xds, file, bootstrap } = await start(t);
  const stream = await xds.stream(0);
  assert.equal(await stream.answer(stream.sendBundle("2-b", b.certPem + a.certPem)), undefined);
  const { certPem } = await bootstrap();
  const lost = stream.sendLeaf("L3", await xdsLeaf(b));
  const next = await xds.stream(1);
  assert.equal(stream.isAnswered(lost), false);
  assert.deepEqual([await file("tls.crt"), await file("ca.crt")], [certPem, a.certPem]);
  assert.deepEqual(
    [...(next.requests[0]?.initialResourceVersions ?? [])],
    [],
    "what it was told to hold is not there any more",
  );
  const leaf = await xdsLeaf(b);
  assert.equal(await next.answer(next.sendBundle("2-b", b.certPem + a.certPem)), undefined);
  assert.equal(await next.answer(next.sendLeaf("L4", leaf)), undefined);
  assert.equal(await file("tls.crt"), leaf.certPem);
  assert.match(await file("ca.crt"), new RegExp(b.certPem.split("\n")[1]?.replaceAll("+", "\\+") ?? ""));
});

test("a bundle that was in place and not answered yet is not ACKed with what comes after it", async (t) => {
  const { a, b, xds, admin, file, bootstrap } = await start(t);
  const stream = await xds.stream(0);
  admin.follows = false;
  const bundle = stream.sendBundle("2-b", b.certPem + a.certPem);
  await until("in place", async () => (await file("ca.crt")).includes(b.certPem));
  await bootstrap();
  const leaf = stream.sendLeaf("L3", await xdsLeaf(a));
  admin.follows = true;
  await xds.stream(1);
  assert.deepEqual([stream.isAnswered(bundle), stream.isAnswered(leaf)], [false, false]);
});

test("C3: what was ACKed while no Envoy ran is what is put back after a refusal", async (t) => {
  let state: EnvoyState = "unknown";
  const { a, b, c, xds, admin, file } = await start(t, () => state);
  const stream = await xds.stream(0);
  state = "stopped";
  const leaf = await xdsLeaf(b);
  assert.equal(await stream.answer(stream.sendBundle("2-b", b.certPem + a.certPem)), undefined);
  assert.equal(await stream.answer(stream.sendLeaf("LB", leaf)), undefined);
  await fetch(`http://${admin.address}/certs`);
  admin.follows = false;
  state = "unknown";
  const refused = stream.sendBundle("3-c", c.certPem + b.certPem + a.certPem);
  await until("in place", async () => (await file("ca.crt")).includes(c.certPem));
  admin.refusals += 1;
  assert.match((await stream.answer(refused)) ?? "", /could not load/);
  const ca = await file("ca.crt");
  assert.deepEqual([ca.includes(b.certPem), ca.includes(c.certPem)], [true, false]);
  assert.ok((await file("tls.crt")).includes(leaf.certPem));
});

test("a set that is replaced while the agent waits for Envoy to load it is given up at once, answered or refused by nobody", async (t) => {
  for (const refusals of [0, 1]) {
    const { a, b, xds, admin, file, bootstrap } = await start(t);
    const stream = await xds.stream(0);
    await fetch(`http://${admin.address}/certs`);
    admin.follows = false;
    const bundle = stream.sendBundle("2-b", b.certPem + a.certPem);
    await until("in place", async () => (await file("ca.crt")).includes(b.certPem));
    const { certPem } = await bootstrap();
    admin.refusals += refusals;
    const next = await xds.stream(1);
    assert.equal(stream.isAnswered(bundle), false);
    assert.equal(await file("tls.crt"), certPem);
    admin.follows = true;
    assert.equal(await next.answer(next.sendBundle("2-b", b.certPem + a.certPem)), undefined);
  }
});

test("C3: a set that is not in the folder any more is not ACKed because its Envoy was stopped", async (t) => {
  let state: EnvoyState = "unknown";
  const { a, b, xds, admin, file, bootstrap } = await start(t, () => state);
  const stream = await xds.stream(0);
  await fetch(`http://${admin.address}/certs`);
  admin.follows = false;
  const bundle = stream.sendBundle("2-b", b.certPem + a.certPem);
  await until("in place", async () => (await file("ca.crt")).includes(b.certPem));
  await bootstrap();
  state = "stopped";
  await xds.stream(1);
  assert.equal(stream.isAnswered(bundle), false);
});

test("what could not be written is not merged with what comes next: a new connection brings it again", async (t) => {
  const { a, b, xds, file, dir } = await start(t);
  const stream = await xds.stream(0);
  const obstacle = join(dir, "certs", "..data_tmp");
  await mkdir(obstacle);
  await writeFile(join(obstacle, "x"), "");
  const bundle = stream.sendBundle("2-b", b.certPem + a.certPem);
  const next = await xds.stream(1);
  assert.equal(stream.isAnswered(bundle), false);
  await rm(obstacle, { recursive: true });
  assert.equal(await next.answer(next.sendBundle("2-b", b.certPem + a.certPem)), undefined);
  assert.ok((await file("ca.crt")).includes(b.certPem));
});
