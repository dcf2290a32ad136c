/**
 * What real Envoys do (xds-protocol.md), beyond their answers to a secret: how they ask, come back, warm up, count, and what a
 * change does to connections that stand. Each message names what rests on it.
 */

import assert from "node:assert/strict";
import { once } from "node:events";
import { describe, type TestContext, test } from "node:test";
import { connect, type TLSSocket } from "node:tls";
import { ENVOY_VERSIONS } from "../../src/envoy/binary.ts";
import { envoyOrSkip, eventually } from "../support/envoy.ts";
import { type Findings, startFindings } from "../support/findings.ts";
import { openssl } from "../support/openssl.ts";
import { bundleSecret, leafSecret, type SecretStream, VARIANTS } from "../support/scripted-secrets.ts";
import { makeTestLeaf, makeTestRoot, type TestLeaf, type TestRoot } from "../support/test-certificates.ts";

const UNLOADABLE = "-----BEGIN CERTIFICATE-----\nbm90IGEgY2VydGlmaWNhdGU=\n-----END CERTIFICATE-----\n";

describe("findings", { concurrency: 4 }, () => {
  for (const version of ENVOY_VERSIONS) {
    for (const variant of VARIANTS) {
      const isDelta = variant === "delta" || variant === "deltaAds";
      const isAds = variant === "ads" || variant === "deltaAds";

      test(`how Envoy ${version} asks, ${variant}`, async (t) => {
        const found = await envoyOrSkip(t, version);
        if (found === undefined) return;
        const it = await startFindings(t, { binary: found.path, variant, pairs: ["one", "two"] });
        const names = ["one-leaf", "one-roots", "two-leaf", "two-roots"];
        const root = await makeTestRoot("root");
        const leaf = await makeTestLeaf(root, { dns: ["edge"] });
        const other = await makeTestLeaf(root, { dns: ["other"] });

        await t.test("streams: one for each name on SDS, one for all on ADS, and one connection", async () => {
          for (const name of names) await it.xds.streamOf(name);
          const { streams } = it.xds;
          assert.equal(streams.length, isAds ? 1 : names.length, "R73: so streams of one proxy are many");
          for (const stream of streams) assert.equal(stream.names().size, isAds ? names.length : 1);
          assert.equal(new Set(streams.map(({ connection }) => connection)).size, 1, "C4: they share a connection");
        });

        await t.test(
          "first requests: names, node and nothing else; before the first answer every nonce is empty",
          () => {
            for (const { requests } of it.xds.streams) {
              const [first, ...more] = requests;
              assert.equal(first?.node?.id, "findings", "R5");
              assert.equal(first?.node?.userAgentName, "envoy", "what tells an Envoy from an agent");
              assert.deepEqual([first?.version, first?.nonce, first?.error], ["", "", undefined]);
              assert.deepEqual(first?.initial, {});
              for (const { nonce } of more) assert.equal(nonce, "", "R19: an empty nonce is never stale");
            }
            if (variant !== "ads") return;
            // The list grows with each watch that Envoy adds: several requests ask before the first answer.
            const lists = it.xds.streams.flatMap(({ requests }) => requests.map((asked) => asked.names.length));
            assert.ok(
              lists.length > 1 && lists.every((length, index) => index === 0 || length >= (lists[index - 1] ?? 0)),
              "R19",
            );
          },
        );

        await t.test("until it has its secrets a listener's are warming, and its port is shut", async () => {
          const dump = await secretsDump(it);
          assert.deepEqual(dump.active, []);
          assert.deepEqual(
            dump.warming.map(({ name }) => name).sort(),
            names,
            "R37: Envoy waits for whoever is silent",
          );
          for (const { version_info } of dump.warming) assert.equal(version_info, "uninitialized");
          assert.equal(await it.admin.ready(), false);
        });

        await t.test("an answer ends the warming; counters and config_dump say so", async () => {
          for (const pair of ["one", "two"]) {
            assert.equal(await it.xds.tell("1", bundleSecret(`${pair}-roots`, root.certPem)), undefined);
            assert.equal(await it.xds.tell("1", leafSecret(`${pair}-leaf`, leaf)), undefined);
          }
          await eventually("ready", () => it.admin.ready());
          const dump = await secretsDump(it);
          assert.deepEqual(dump.warming, []);
          assert.deepEqual(
            dump.active.map(({ name, version_info }) => `${name} ${version_info}`).sort(),
            names.map((name) => `${name} 1`),
          );
          for (const name of names) {
            assert.equal(await it.stat(`sds.${name}.update_success`), 1);
            assert.equal(await it.stat(`sds.${name}.update_rejected`), 0);
            assert.equal(await it.stat(`sds.${name}.update_failure`), 0);
            assert.equal(await it.stat(`sds.${name}.version_text`), isDelta ? "" : "1", "X9");
          }
          // Both halves are counted: the first of a pair, which was loaded nowhere, too.
          assert.equal(await it.contextUpdates("one"), 2, "E12");
          if (isAds) assert.equal(await it.stat("control_plane.connected_state"), 1);
        });

        await t.test("after OK it is back with what it accepted last, on the same connection", async () => {
          const refusal = await it.xds.tell("bad", bundleSecret("one-roots", UNLOADABLE));
          assert.notEqual(refusal, undefined);
          const before = await it.xds.streamOf("one-roots");
          before.end();
          const after = await next(it, "one-roots", before);
          assert.equal(after.connection, before.connection, "C4: ending streams does not change the credential");
          const first = after.requests.find((asked) => asked.names.includes("one-roots"));
          assert.equal(first?.nonce, "", "R18: no nonce comes over from another stream");
          assert.equal(first?.error, undefined, "R25");
          if (isDelta) {
            // One list for all; what was refused is not in it under the refused version.
            assert.equal(first?.initial["one-roots"], "1", "R57, E3: the last accepted version");
          } else if (!isAds) assert.equal(first?.version, "1", "R40, E3: the last accepted version");
          assert.equal(await it.xds.tell("2", bundleSecret("one-roots", root.certPem, "good again")), undefined);
        });

        await t.test("after another status it comes back, too", async () => {
          const before = await it.xds.streamOf("two-roots");
          before.end({ code: 8, details: "too many new streams" });
          await next(it, "two-roots", before);
          assert.equal(await it.xds.tell("3", bundleSecret("two-roots", root.certPem, "once more")), undefined);
        });

        await t.test("a refusal's texts: what an operator reads tells the cause", async () => {
          const refusalOf = async (comment: string, secret: { certPem: string; keyPem: string }) =>
            (await it.xds.tell(comment, leafSecret("two-leaf", secret, comment)))?.message ?? "ACK";
          const { certPem, keyPem } = leaf;
          assert.match(
            await refusalOf("no certificate", { certPem: UNLOADABLE, keyPem }),
            /Failed to load certificate chain from <inline>/,
          );
          assert.match(await refusalOf("no key", { certPem, keyPem: "" }), /Failed to load incomplete private key/);
          assert.match(await refusalOf("other key", { certPem, keyPem: other.keyPem }), /KEY_VALUES_MISMATCH/);
          assert.equal(await refusalOf("good", leaf), "ACK");
          // On ADS a refused response is counted for every name, so for this one also that of one-roots above.
          assert.equal(await it.stat("sds.two-leaf.update_rejected"), isAds ? 4 : 3, "E12: a counter names nobody");
        });

        if (variant === "sotw") {
          await t.test("a secret that was not asked for is passed over, with an ACK", async () => {
            const stream = await it.xds.streamOf("two-leaf");
            const updates = await it.contextUpdates("two");
            assert.equal((await stream.answer(stream.send("odd", [leafSecret("somebody", leaf)]))).error, undefined);
            assert.equal(await it.contextUpdates("two"), updates);
          });
        }
      });

      test(`connections that stand, Envoy ${version}, ${variant}`, async (t) => {
        const found = await envoyOrSkip(t, version);
        if (found === undefined) return;
        const it = await startFindings(t, { binary: found.path, variant, pairs: ["echo"] });
        const [old, fresh] = [await makeTestRoot("old"), await makeTestRoot("fresh")];
        const [oldLeaf, freshLeaf] = [
          await makeTestLeaf(old, { dns: ["edge"] }),
          await makeTestLeaf(fresh, { dns: ["edge"] }),
        ];
        await it.xds.tell("1", bundleSecret("echo-roots", old.certPem + fresh.certPem));
        await it.xds.tell("1", leafSecret("echo-leaf", oldLeaf));
        const port = await it.port("echo");
        const standing = await dial(t, port, old, oldLeaf);
        assert.equal(await echo(standing, "one"), "one");

        await t.test("a root that is dropped fails new connections only; those that stand live on", async () => {
          assert.equal(await it.xds.tell("2", bundleSecret("echo-roots", fresh.certPem)), undefined);
          await assert.rejects(dialAndEcho(t, port, old, oldLeaf), "E9: who still presents the old root is cut off");
          await eventually("it is counted", async () => (await it.stat("listener.echo.ssl.fail_verify_error")) === 1);
          assert.equal(await echo(standing, "two"), "two", "so tests of a rotation must open new connections");
          assert.equal(await dialAndEcho(t, port, old, freshLeaf), "hello");
        });

        await t.test(
          "a new leaf is presented on new connections; a peer without its root is a connection_error",
          async () => {
            assert.equal(await it.xds.tell("3", leafSecret("echo-leaf", freshLeaf)), undefined);
            const before = Number(await it.stat("listener.echo.ssl.connection_error"));
            await assert.rejects(dialAndEcho(t, port, old, freshLeaf), "E8: trust before sign");
            // Node's client refuses a certificate after the handshake and without an alert; openssl's as Envoy's does.
            const args = ["s_client", "-connect", `127.0.0.1:${port}`, "-CAfile", "old.pem", "-verify_return_error"];
            assert.throws(() => openssl(args, { "old.pem": old.certPem }), /verify error/);
            await eventually(
              "it is counted",
              async () => Number(await it.stat("listener.echo.ssl.connection_error")) > before,
            );
            assert.equal(await dialAndEcho(t, port, fresh, freshLeaf), "hello");
            assert.equal(await echo(standing, "three"), "three");
          },
        );
      });

      test(`no answer within initial_fetch_timeout, Envoy ${version}, ${variant}`, async (t) => {
        const found = await envoyOrSkip(t, version);
        if (found === undefined) return;
        const it = await startFindings(t, { binary: found.path, variant, pairs: ["late"], initFetchTimeout: 0.25 });
        await eventually("ready without secrets", () => it.admin.ready());
        assert.equal(await it.stat("sds.late-leaf.init_fetch_timeout"), 1);
        const root = await makeTestRoot("root");
        const leaf = await makeTestLeaf(root, { dns: ["edge"] });
        const port = await it.port("late");
        await assert.rejects(dialAndEcho(t, port, root, leaf), "why our bootstraps wait for ever: open, and useless");
        const notReady = "listener.late.server_ssl_socket_factory.downstream_context_secrets_not_ready";
        assert.equal(await it.stat(notReady), 1);
        await it.xds.tell("1", bundleSecret("late-roots", root.certPem));
        await it.xds.tell("1", leafSecret("late-leaf", leaf));
        assert.equal(await dialAndEcho(t, port, root, leaf), "hello");
      });
    }
  }
});

type Dumped = { readonly name: string; readonly version_info?: string };

async function secretsDump(it: Findings): Promise<{ active: Dumped[]; warming: Dumped[] }> {
  const dump = JSON.parse(await it.admin.configDump()) as {
    configs: { "@type": string; dynamic_active_secrets?: Dumped[]; dynamic_warming_secrets?: Dumped[] }[];
  };
  const secrets = dump.configs.find(
    (config) => config["@type"] === "type.googleapis.com/envoy.admin.v3.SecretsConfigDump",
  );
  return { active: secrets?.dynamic_active_secrets ?? [], warming: secrets?.dynamic_warming_secrets ?? [] };
}

/** The stream that asks for this name after `before` has ended. */
async function next(it: Findings, name: string, before: SecretStream): Promise<SecretStream> {
  await eventually(`a new stream asks for ${name}`, () =>
    it.xds.streams.some((stream) => stream !== before && !stream.ended() && stream.names().has(name)),
  );
  return await it.xds.streamOf(name);
}

/** Resolves once the server's side has been heard: in TLS 1.3 a client's certificate is refused only after the handshake. */
async function dial(t: TestContext, port: number, root: TestRoot, leaf: TestLeaf): Promise<TLSSocket> {
  const socket = connect({
    port,
    host: "127.0.0.1",
    servername: "edge",
    ca: root.certPem,
    cert: leaf.certPem,
    key: leaf.keyPem,
  });
  t.after(() => socket.destroy());
  await once(socket, "secureConnect");
  return socket;
}

async function echo(socket: TLSSocket, text: string): Promise<string> {
  socket.write(text);
  const [data] = (await Promise.race([
    once(socket, "data"),
    once(socket, "close").then(() => Promise.reject(new Error("closed"))),
  ])) as [Buffer];
  return data.toString();
}

async function dialAndEcho(t: TestContext, port: number, root: TestRoot, leaf: TestLeaf): Promise<string> {
  return await echo(await dial(t, port, root, leaf), "hello");
}
