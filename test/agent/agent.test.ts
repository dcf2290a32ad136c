/** The agent against a server that does as it is told and an Envoy that is played: what real ones don't do on demand. */

import assert from "node:assert/strict";
import { readFile, readlink } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { startAgent } from "../../src/agent/agent.ts";
import { MeshrootError } from "../../src/core/errors.ts";
import { XDS_BUNDLE, XDS_LEAF } from "../../src/core/evidence/secret-names.ts";
import { writeCredentials } from "../../src/envoy/credentials-dir.ts";
import { createLog } from "../../src/ops/log.ts";
import { agentFolder } from "../support/agent.ts";
import { oddRoot } from "../support/odd-roots.ts";
import { IDENTITY, prepare, runImpatientAgent, xdsLeaf } from "../support/played-envoy.ts";
import { SERVER_NAME } from "../support/scripted-xds.ts";
import { until } from "../support/server.ts";
import { makeTestLeaf, makeTestRoot, type TestLeaf } from "../support/test-certificates.ts";

/** Long enough that a test which waits for it fails: what comes sooner was not waiting. */
const HOUR = { baseMs: 3_600_000, mostMs: 3_600_000 };

test("asks for both names on one delta stream, as the agent of its proxy, and ACKs what is loaded", async (t) => {
  const { root, xds, dir, file } = await prepare(t);
  const agent = await runImpatientAgent(t, { dir });
  const stream = await xds.stream(0);
  const [asked] = stream.requests;
  assert.deepEqual([asked?.node?.id, asked?.node?.userAgentName], [IDENTITY.uuid, "meshroot-agent"]);
  assert.deepEqual(asked?.subscribe, [XDS_BUNDLE, XDS_LEAF]);
  assert.equal(asked?.initialResourceVersions.size, 0, "no stream has sent what the bootstrap wrote");

  const bundle = `meshroot 0123456789abcdef\n${root.certPem}`;
  assert.equal(await stream.answer(stream.sendBundle("1-b", bundle)), undefined);
  assert.equal(await file("ca.crt"), bundle, "verbatim, comment line included (E2)");
  const leaf = await xdsLeaf(root);
  assert.equal(await stream.answer(stream.sendLeaf("v2", leaf)), undefined);
  assert.deepEqual([await file("tls.crt"), await file("tls.key")], [leaf.certPem, leaf.keyPem]);
  assert.equal(await file("ca.crt"), bundle, "the other half stays");
  assert.equal(await file("sds_cert.pem"), leaf.certPem);
  assert.deepEqual(agent.state().loaded, { [XDS_BUNDLE]: "1-b", [XDS_LEAF]: "v2" });
  assert.equal(await stream.answer(stream.sendRemoval(XDS_LEAF)), undefined);
  assert.equal(await file("tls.crt"), leaf.certPem, "the last good credentials are never lost");
});

test("certificate, key and bundle of one response come in one swap, or not at all (C2)", async (t) => {
  const { root, first, xds, dir, file } = await prepare(t);
  await runImpatientAgent(t, { dir });
  const stream = await xds.stream(0);
  const leaf = await xdsLeaf(root);
  const before = await readlink(join(dir, "certs/..data"));
  assert.match((await stream.answer(stream.sendBoth("v", leaf, ""))) ?? "", /trust bundle is empty/);
  assert.equal(await readlink(join(dir, "certs/..data")), before);
  assert.equal(await file("tls.crt"), first.certPem);

  const next = await makeTestRoot("next");
  const both = next.certPem + root.certPem;
  assert.equal(await stream.answer(stream.sendBoth("v", leaf, both)), undefined);
  assert.deepEqual(
    [await file("tls.crt"), await file("tls.key"), await file("ca.crt")],
    [leaf.certPem, leaf.keyPem, both],
  );
});

test("what is wrong is refused in words before anything is written, without a key in them", async (t) => {
  const { root, first, xds, dir, file } = await prepare(t);
  const agent = await runImpatientAgent(t, { dir });
  const stream = await xds.stream(0);
  const [good, other] = [await xdsLeaf(root), await xdsLeaf(root)];
  const service = await makeTestLeaf(root, { dns: ["cart.shop.cluster.local"] });
  const strange = await xdsLeaf(root, { uuid: "00000000-0000-4000-8000-000000000000" });
  const renamed = await xdsLeaf(root, { serviceAccount: "pay" });
  const moved = await xdsLeaf(root, { namespace: "bank" });
  const cases: readonly (readonly [() => string, RegExp])[] = [
    [
      () => stream.sendLeaf("v", { ...good, keyPem: other.keyPem }),
      /certificate and private key do not belong together/,
    ],
    [() => stream.sendLeaf("v", service), /no xDS certificate of meshroot/],
    [() => stream.sendLeaf("v", strange), /another proxy's \(00000000-/],
    [() => stream.sendLeaf("v", renamed), /is for pay\.shop/],
    [() => stream.sendLeaf("v", moved), /is for cart\.bank/],
    [() => stream.sendLeaf("v", { ...good, keyPem: "nonsense" }), /private key is not an unencrypted PEM key/],
    [() => stream.sendLeaf("v", { ...good, certPem: "" }), /holds no certificate/],
    [() => stream.sendLeaf("v", { ...good, certPem: good.certPem.replace("MII", "!!!") }), /is not base64/],
    [() => stream.sendBundle("v", ""), /trust bundle is empty/],
    [() => stream.sendBundle("v", good.certPem), /is not a CA/],
    [() => stream.sendBundle("v", root.certPem, "ROOTCA"), /did not ask for "ROOTCA"/],
  ];
  for (const [send, expected] of cases) {
    const text = await stream.answer(send());
    assert.match(text ?? "", expected);
    assert.doesNotMatch(text ?? "", /PRIVATE KEY/);
  }
  assert.deepEqual([await file("tls.crt"), await file("ca.crt")], [first.certPem, root.certPem]);
  assert.match(agent.state().refused ?? "", /ROOTCA/);
  holdsNoKey(JSON.stringify(agent.log), [good, other, strange, renamed, moved]);
});

test("an expired certificate is refused", async (t) => {
  const { root, xds, dir } = await prepare(t);
  await runImpatientAgent(t, { dir, now: () => Date.now() + 10 * 86_400_000 });
  const stream = await xds.stream(0);
  assert.match((await stream.answer(stream.sendLeaf("v", await xdsLeaf(root)))) ?? "", /expired at 20/);
});

test("what Envoy does not show is not answered; the log says so once, and a newer response takes its place (C3)", async (t) => {
  const { root, xds, admin, dir } = await prepare(t);
  const agent = await runImpatientAgent(t, { dir });
  const stream = await xds.stream(0);
  await until("Envoy has been looked at", () => admin.looks > 0);
  admin.follows = false;
  const next = await makeTestRoot("next");
  const both = next.certPem + root.certPem;
  const unanswered = stream.sendBundle("2-b", both);
  const line = await agent.logged(/has not loaded them yet: Envoy still shows the bundle from before/);
  assert.equal(line.level, "warn");
  assert.equal(stream.isAnswered(unanswered), false);
  assert.deepEqual(agent.state().loaded, {});

  const looks = admin.looks;
  await until("it has looked again and again", () => admin.looks >= looks + 2);
  const again = stream.sendBundle("2-b", `meshroot 0123456789abcdef\n${both}`);
  await until("the newer one is in place", async () =>
    (await readFile(join(dir, "certs/ca.crt"), "utf8")).startsWith("m"),
  );
  admin.follows = true;
  assert.equal(await stream.answer(again), undefined);
  assert.equal(stream.isAnswered(unanswered), false);
  assert.equal(agent.log.filter(({ message }) => /has not loaded them yet/.test(message)).length, 1);
  // By its data and by its age it stands, and is one connection all the same.
  assert.equal(agent.state().connections, 1);
});

test("a set that Envoy loads late answers every response that brought a part of it (C3)", async (t) => {
  const { root, xds, admin, dir, file } = await prepare(t);
  const agent = await runImpatientAgent(t, { dir });
  const stream = await xds.stream(0);
  await until("Envoy has been looked at", () => admin.looks > 0);
  admin.follows = false;
  const leaf = await xdsLeaf(root);
  const older = stream.sendLeaf("v2", leaf);
  await until("the leaf is in place", async () => (await file("tls.crt")) === leaf.certPem);
  // The server gave up waiting, and goes on with the other secret; it does not send the leaf again.
  const newer = stream.sendBundle("2-b", `meshroot 0123456789abcdef\n${root.certPem}`);
  await until("the bundle is in place", async () => (await file("ca.crt")).startsWith("m"));
  admin.follows = true;
  assert.equal(await stream.answer(newer), undefined);
  assert.equal(await stream.answer(older), undefined);
  assert.deepEqual(agent.state().loaded, { [XDS_LEAF]: "v2", [XDS_BUNDLE]: "2-b" });
});

test("two responses in one go are both put in place and answered", async (t) => {
  const { root, xds, dir, file } = await prepare(t);
  await runImpatientAgent(t, { dir });
  const stream = await xds.stream(0);
  const leaf = await xdsLeaf(root);
  const nonces = [stream.sendLeaf("v2", leaf), stream.sendBundle("2-b", `meshroot 0123456789abcdef\n${root.certPem}`)];
  for (const nonce of nonces) assert.equal(await stream.answer(nonce), undefined);
  assert.equal(await file("tls.crt"), leaf.certPem);
});

test("an Envoy that counts a failed reload is believed: NACK, and the last good set is back in bytes that it can't skip", async (t) => {
  const { root, first, xds, admin, dir, file } = await prepare(t);
  const agent = await runImpatientAgent(t, { dir });
  const stream = await xds.stream(0);
  admin.follows = false;
  const next = await makeTestRoot("next");
  const nonce = stream.sendBundle("2-b", next.certPem + root.certPem);
  await until("it is in place", async () => (await file("ca.crt")).includes(next.certPem));
  admin.refusals += 1;
  assert.match((await stream.answer(nonce)) ?? "", /Envoy could not load it/);
  assert.match(await file("ca.crt"), /^meshroot [0-9a-f]{16}\n-----BEGIN/);
  assert.ok((await file("ca.crt")).endsWith(root.certPem) && !(await file("ca.crt")).includes(next.certPem));
  assert.equal(await file("tls.crt"), first.certPem);
  assert.match(agent.state().refused ?? "", /could not load/);
});

test("an Envoy before 1.40 lists the first root only: that one has to be the first of the bundle", async (t) => {
  const { root, xds, admin, dir } = await prepare(t);
  admin.version = "1.36.4";
  const agent = await runImpatientAgent(t, { dir });
  const stream = await xds.stream(0);
  const next = await makeTestRoot("next");
  assert.equal(await stream.answer(stream.sendBundle("2-b", next.certPem + root.certPem)), undefined);
  admin.follows = false;
  const nonce = stream.sendBundle("3-b", root.certPem + next.certPem);
  await agent.logged(/Envoy still shows the bundle from before/);
  assert.equal(stream.isAnswered(nonce), false);
});

test("A5: two roots of one serial number: a bundle is loaded when both are shown, not when one is", async (t) => {
  const { root, xds, admin, dir } = await prepare(t);
  const agent = await runImpatientAgent(t, { dir });
  const stream = await xds.stream(0);
  const [one, two] = [oddRoot({ serial: "1" }), oddRoot({ serial: "1", more: ["-days", "30"] })];
  const pem = one.certificatePem + root.certPem;
  assert.equal(await stream.answer(stream.sendBundle("2-b", pem)), undefined);
  admin.follows = false;
  const nonce = stream.sendBundle("3-b", two.certificatePem + pem);
  await agent.logged(/Envoy still shows the bundle from before/);
  assert.equal(stream.isAnswered(nonce), false);
  admin.follows = true;
  assert.equal(await stream.answer(nonce), undefined);
});

test("without an Envoy nothing is answered, except where a supervisor knows that there is none", async (t) => {
  const { root, xds, dir } = await prepare(t);
  let state: "stopped" | "unknown" = "unknown";
  const agent = await runImpatientAgent(t, { dir, adminAddress: "127.0.0.1:1", envoyState: () => state });
  const stream = await xds.stream(0);
  const nonce = stream.sendLeaf("v2", await xdsLeaf(root));
  await agent.logged(/has not loaded them yet: MR5004 Envoy's admin at 127.0.0.1:1 does not answer/);
  assert.equal(stream.isAnswered(nonce), false);
  state = "stopped";
  assert.equal(await stream.answer(nonce), undefined);
});

test("a stream that ends with OK is followed at once by a new connection with the new certificate, and reports its versions (C4, E15)", async (t) => {
  const { root, first, xds, dir } = await prepare(t);
  const agent = await runImpatientAgent(t, { dir, retry: HOUR });
  const stream = await xds.stream(0);
  const leaf = await xdsLeaf(root);
  assert.equal(await stream.answer(stream.sendLeaf("v2", leaf)), undefined);
  assert.equal(stream.serial, first.serial);
  stream.end();
  const second = await xds.stream(1);
  assert.equal(second.serial, leaf.serial);
  assert.notEqual(second.port, stream.port);
  assert.deepEqual([...(second.requests[0]?.initialResourceVersions ?? [])], [[XDS_LEAF, "v2"]]);
  await until("connected", () => agent.state().connections === 2);
});

test("a new agent reports what Envoy shows, and nothing that it does not show", async (t) => {
  const { root, xds, admin, dir } = await prepare(t);
  const one = await runImpatientAgent(t, { dir });
  const stream = await xds.stream(0);
  assert.equal(await stream.answer(stream.sendBundle("1-b", root.certPem)), undefined);
  assert.equal(await stream.answer(stream.sendLeaf("v2", await xdsLeaf(root))), undefined);
  await one.stop();
  const two = await runImpatientAgent(t, { dir });
  const known = [
    [XDS_BUNDLE, "1-b"],
    [XDS_LEAF, "v2"],
  ];
  assert.deepEqual([...((await xds.stream(1)).requests[0]?.initialResourceVersions ?? [])], known);
  await two.stop();

  const leaf = await xdsLeaf(root);
  admin.follows = false;
  await writeCredentials(join(dir, "certs"), {
    certPem: leaf.certPem,
    keyPem: leaf.keyPem,
    caPem: root.certPem,
    files: { "versions.json": JSON.stringify({ [XDS_LEAF]: "v3" }) },
  });
  await runImpatientAgent(t, { dir });
  assert.equal((await xds.stream(2)).requests[0]?.initialResourceVersions.size, 0);
});

test("what was ACKed is reported while Envoy can't be asked, until somebody changes the files", async (t) => {
  const { root, first, xds, admin, dir } = await prepare(t);
  let address = admin.address;
  await runImpatientAgent(t, { dir, adminAddress: () => address });
  const stream = await xds.stream(0);
  assert.equal(await stream.answer(stream.sendBundle("1-b", root.certPem)), undefined);
  address = "127.0.0.1:1";
  stream.end();
  const second = await xds.stream(1);
  assert.deepEqual([...(second.requests[0]?.initialResourceVersions ?? [])], [[XDS_BUNDLE, "1-b"]]);
  const files = { "versions.json": JSON.stringify({ [XDS_BUNDLE]: "2-b" }) };
  const caPem = `meshroot 0123456789abcdef\n${root.certPem}`;
  await writeCredentials(join(dir, "certs"), { certPem: first.certPem, keyPem: first.keyPem, caPem, files });
  second.end();
  assert.equal((await xds.stream(2)).requests[0]?.initialResourceVersions.size, 0);
});

test("one agent per folder", async (t) => {
  const { dir } = await prepare(t);
  const agent = await runImpatientAgent(t, { dir });
  const log = createLog({ level: "silent", format: "json" });
  await assert.rejects(startAgent({ dir, log }), (error) => {
    assert.ok(error instanceof MeshrootError && error.code === "MR2001");
    assert.match(error.message, /another agent keeps .* process \d+/);
    return true;
  });
  await agent.stop();
  await (await startAgent({ dir, log })).stop();
});

test("a bootstrap without an admin address needs one from the command line", async (t) => {
  const { root, first } = await prepare(t);
  const answer = { certPem: first.certPem, keyPem: first.keyPem, caPem: root.certPem, notAfter: "", xdsPort: 1 };
  const dir = await agentFolder(t, { credentials: { ...answer, proxy: IDENTITY, serverName: SERVER_NAME } });
  const log = createLog({ level: "silent", format: "json" });
  await assert.rejects(startAgent({ dir, log }), /MR5002 .*any free admin port/);
});

function holdsNoKey(text: string, leaves: readonly TestLeaf[]): void {
  assert.doesNotMatch(text, /PRIVATE KEY/);
  for (const { keyPem } of leaves) {
    for (const line of keyPem.split("\n").filter((one) => /^[A-Za-z0-9+/=]{40,}$/.test(one)))
      assert.ok(!text.includes(line), "a piece of a private key is in the log");
  }
}
