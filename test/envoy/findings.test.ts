/**
 * The findings of xds-protocol.md that our evidence rules rest on, asked of real Envoys. Every message names the rule that
 * has to be thought over when an Envoy behaves otherwise. What is loaded is read from `/certs`.
 */

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { ENVOY_VERSIONS } from "../../src/envoy/binary.ts";
import { envoyOrSkip } from "../support/envoy.ts";
import { type Findings, startFindings } from "../support/findings.ts";
import { bundleSecret, leafSecret, VARIANTS } from "../support/scripted-secrets.ts";
import { makeTestLeaf, makeTestRoot, type TestLeaf, type TestRoot } from "../support/test-certificates.ts";

const INTERNAL = 13;
/** Base64 that is no certificate: Envoy can't load it, whatever its version. */
const UNLOADABLE = "-----BEGIN CERTIFICATE-----\nbm90IGEgY2VydGlmaWNhdGU=\n-----END CERTIFICATE-----\n";
const CA_TEXT = /Failed to load trusted CA certificates from <inline>/;
const KEY_TEXT = /Failed to load private key from <inline>, Cause: .*KEY_VALUES_MISMATCH/;

type Material = {
  readonly root: TestRoot;
  readonly other: TestRoot;
  readonly leaf: TestLeaf;
  readonly badLeaf: TestLeaf;
};

async function material(): Promise<Material> {
  const [root, other] = [await makeTestRoot("one"), await makeTestRoot("two")];
  const leaf = await makeTestLeaf(root, { dns: ["edge"] });
  // Its certificate with somebody else's key.
  const badLeaf = { ...(await makeTestLeaf(root, { dns: ["edge"] })), keyPem: leaf.keyPem };
  return { root, other, leaf, badLeaf };
}

const PAIRS = ["x1", "x1chain", "x2", "x6", "x6roots", "x7", "x8", "x9", "removal"] as const;

describe("findings", { concurrency: 4 }, () => {
  for (const version of ENVOY_VERSIONS) {
    for (const variant of VARIANTS) {
      const isDelta = variant === "delta" || variant === "deltaAds";
      test(`findings on Envoy ${version}, ${variant}`, async (t) => {
        const found = await envoyOrSkip(t, version);
        if (found === undefined) return;
        const it = await startFindings(t, { binary: found.path, variant, pairs: PAIRS });
        const m = await material();
        const tell = it.xds.tell;

        await t.test("X1 identical bytes of a refused bundle are ACKed without being applied", async () => {
          await loadPair(it, "x1", m);
          const updates = await it.contextUpdates("x1");
          const bad = bundleSecret("x1-roots", UNLOADABLE);
          const refusal = await tell("bad", bad);
          assert.equal(refusal?.code, INTERNAL, "E4: a NACK has code 13");
          assert.match(refusal?.message ?? "", CA_TEXT, "E12: the text is shown to operators");
          const before = await it.stat("sds.x1-roots.update_success");
          assert.equal(await tell("again", bad), undefined, "E3: equal bytes are ACKed; unique bytes rest on that");
          assert.equal(await it.stat("sds.x1-roots.update_success"), Number(before) + 1, "E3: success is counted");
          assert.equal(await it.stat("sds.x1-roots.update_rejected"), 1);
          if (!isDelta) assert.equal(await it.stat("sds.x1-roots.version_text"), "again", "X9: the version moves");
          assert.equal(await it.contextUpdates("x1"), updates, "E3: and yet no context was built");
          assert.equal(await loadedRoot(it, m.leaf.serial), m.root.serial, "E3: the old root is still the one loaded");
        });

        await t.test("X1 the trap holds for a leaf, too", async () => {
          const leaf = await loadPair(it, "x1chain", m);
          const bad = leafSecret("x1chain-leaf", m.badLeaf);
          assert.match((await tell("bad", bad))?.message ?? "", KEY_TEXT, "E12");
          assert.equal(await tell("again", bad), undefined, "E3 holds for leaves because of this");
          assert.ok(!(await holds(it, m.badLeaf.serial)) && (await holds(it, leaf.serial)), "E3");
        });

        await t.test("X2 a response is no transaction: a part of a refused one is live", async (t) => {
          await loadPair(it, "x2", m);
          const stream = await it.xds.streamOf("x2-leaf");
          const send = async (leaf: TestLeaf, roots: string, comment: string) => {
            const secrets = [leafSecret("x2-leaf", leaf), bundleSecret("x2-roots", roots, comment)];
            return (await stream.answer(stream.send(comment, secrets))).error;
          };
          if (!stream.names().has("x2-roots")) {
            // Envoy's "Unexpected SDS secrets length" can't be had this way: what was not asked for is dropped before.
            const next = await makeTestLeaf(m.root, { dns: ["edge"] });
            assert.equal(await send(next, UNLOADABLE, "both"), undefined, "R10: a name not asked for is passed over");
            assert.equal(await loadedRoot(it, next.serial), m.root.serial, "R10: and the one asked for is live");
            return;
          }
          /** Whether the good half of a refused response is live: the leaf, or the bundle. */
          const goodLeaf = async () => {
            const next = await makeTestLeaf(m.root, { dns: ["edge"] });
            const refusal = await send(next, UNLOADABLE, "bad bundle");
            assert.equal(refusal?.code, INTERNAL);
            assert.match(refusal.message, CA_TEXT, "R23: one NACK for the whole response");
            const live = await holds(it, next.serial);
            assert.equal(await tell("good", bundleSecret("x2-roots", m.root.certPem, "good again")), undefined);
            return live;
          };
          const goodBundle = async () => {
            const leaf = await makeTestLeaf(m.root, { dns: ["edge"] });
            assert.equal(await tell("leaf", leafSecret("x2-leaf", leaf)), undefined);
            assert.equal(await tell("good", bundleSecret("x2-roots", m.root.certPem, "back again")), undefined);
            const refusal = await send(m.badLeaf, m.other.certPem, "bad leaf");
            assert.equal(refusal?.code, INTERNAL);
            assert.match(refusal.message, KEY_TEXT, "R23: one NACK for the whole response");
            const live = (await loadedRoot(it, leaf.serial)) === m.other.serial;
            assert.equal(await tell("leaf again", leafSecret("x2-leaf", leaf, "back again")), undefined);
            return live;
          };
          // Measured with the leaf first in every response. SotW: the bundle, whose subscription is the newer one, is always
          // applied first. Delta: which of the two comes first differs between processes and stays the same within one.
          const live = { leaf: await goodLeaf(), bundle: await goodBundle() };
          t.diagnostic(JSON.stringify(live));
          if (isDelta) assert.ok(live.leaf || live.bundle, "R22, R23: a part of a refused response is live");
          else
            assert.deepEqual(
              live,
              { leaf: false, bundle: true },
              "R22, R23: the newer subscription is live all the same",
            );
        });

        await t.test("X6 blame shift: a bad leaf is ACKed unseen, the good bundle takes the NACK", async () => {
          assert.equal(await tell("1", leafSecret("x6-leaf", m.badLeaf)), undefined, "E12: first of a pair is ACKed");
          const counted = await it.contextUpdates("x6");
          assert.equal(counted, 1, "E12: the first of a pair is counted, too, so the counter alone is no proof");
          const refusal = await tell("1", bundleSecret("x6-roots", m.root.certPem));
          assert.equal(refusal?.code, INTERNAL);
          assert.match(refusal?.message ?? "", KEY_TEXT, "E12: a NACK is a verdict on the set, not on the name");
        });

        await t.test("X6 blame shift: a bad bundle is ACKed unseen, the good leaf takes the NACK", async () => {
          assert.equal(await tell("1", bundleSecret("x6roots-roots", UNLOADABLE)), undefined, "E12");
          const refusal = await tell("1", leafSecret("x6roots-leaf", m.leaf));
          assert.equal(refusal?.code, INTERNAL);
          assert.match(refusal?.message ?? "", CA_TEXT, "E12: a NACK is a verdict on the set, not on the name");
        });

        await t.test("X7 a NACKed secret goes live without an ACK, once its companion is replaced", async () => {
          const good = await makeTestLeaf(m.root, { dns: ["edge"] });
          assert.equal(await tell("1", leafSecret("x7-leaf", m.badLeaf)), undefined);
          assert.match((await tell("1", bundleSecret("x7-roots", m.other.certPem)))?.message ?? "", KEY_TEXT);
          assert.equal(await tell("2", leafSecret("x7-leaf", good)), undefined);
          assert.equal(
            await loadedRoot(it, good.serial),
            m.other.serial,
            "E6: the refused bundle runs, so NACKed contents stay in mayRun (R84)",
          );
        });

        await t.test("X8 the same meaning with a comment in front is new to Envoy, and answered honestly", async () => {
          const leaf = await loadPair(it, "x8", m);
          const good = (comment?: string) => bundleSecret("x8-roots", m.root.certPem, comment);
          let updates = await it.contextUpdates("x8");
          assert.equal(await tell("2", good()), undefined);
          assert.equal(await it.contextUpdates("x8"), updates, "E3: equal bytes are skipped");
          assert.equal(await tell("3", good("meshroot 0001")), undefined, "E2: a comment is no reason to refuse");
          updates += 1;
          assert.equal(await it.contextUpdates("x8"), updates, "E2: the context is built again");
          assert.equal(await loadedRoot(it, leaf.serial), m.root.serial);
          assert.equal(await tell("4", leafSecret("x8-leaf", leaf, "meshroot 0002")), undefined);
          assert.equal(await it.contextUpdates("x8"), updates + 1, "E2 for chains");
          for (const comment of ["meshroot 0003", "meshroot 0004"]) {
            const refusal = await tell(comment, bundleSecret("x8-roots", UNLOADABLE, comment));
            assert.match(refusal?.message ?? "", CA_TEXT, "E2, E5: a bad one in new bytes is refused each time");
          }
        });

        await t.test("X9 config_dump shows a refused bundle as active, /certs does not", async () => {
          const leaf = await loadPair(it, "x9", m);
          const bad = bundleSecret("x9-roots", UNLOADABLE);
          const accepted = await dumped(it, "x9-roots");
          assert.equal(accepted?.version_info, "1", "config_dump has the version of the secret, in delta too");
          if (isDelta)
            assert.equal(await it.stat("sds.x9-roots.version_text"), "", "X9: delta leaves version_text empty");
          assert.notEqual(await tell("bad", bad), undefined);
          const refused = await dumped(it, "x9-roots");
          assert.equal(bundleOf(refused), UNLOADABLE, "X9: convergence is never read from config_dump");
          // The versions differ: on 1.40 the refusal moves the version, and the false ACK moves nothing; on 1.36.4 the false ACK
          // moves version and time.
          const newer = version === "1.40.0";
          assert.equal(refused?.version_info, newer ? "bad" : "1", "X9: a version in config_dump proves nothing");
          assert.equal(refused?.last_updated, accepted?.last_updated, "X9: a refusal leaves the time");
          assert.equal(refused?.error_state, undefined, "X9: nothing says that it was refused");
          assert.equal(await tell("again", bad), undefined);
          const lied = await dumped(it, "x9-roots");
          assert.equal(bundleOf(lied), UNLOADABLE, "X9");
          assert.equal(lied?.version_info, newer ? "bad" : "again", "X9: nor does it after a false ACK");
          assert.equal(lied?.last_updated === accepted?.last_updated, newer, "X9: nor does the time");
          assert.equal(await loadedRoot(it, leaf.serial), m.root.serial, "X9: /certs is the proof");
          const text = await it.admin.configDump("resource=dynamic_active_secrets");
          assert.ok(text.includes(Buffer.from("[redacted]").toString("base64")), "keys are redacted");
          assert.ok(!text.includes(Buffer.from(leaf.keyPem).toString("base64")), "no key in config_dump");
        });

        if (isDelta) {
          await t.test("R58 a removal is ACKed and the old value kept", async () => {
            const leaf = await loadPair(it, "removal", m);
            const stream = await it.xds.streamOf("removal-roots");
            const { error } = await stream.answer(stream.send("", [], ["removal-roots"]));
            assert.equal(error, undefined, "R58: Envoy ACKs it");
            assert.equal(await loadedRoot(it, leaf.serial), m.root.serial, "E6: removing takes nothing from mayRun");
          });
        }
      });
    }
  }
});

/** A leaf of its own and the first root, both accepted and loaded; returns the leaf. */
async function loadPair(it: Findings, pair: string, { root, leaf }: Material): Promise<TestLeaf> {
  const own = pair === "x1" ? leaf : await makeTestLeaf(root, { dns: ["edge"] });
  assert.equal(await it.xds.tell("1", leafSecret(`${pair}-leaf`, own)), undefined);
  assert.equal(await it.xds.tell("1", bundleSecret(`${pair}-roots`, root.certPem)), undefined);
  assert.equal(await loadedRoot(it, own.serial), root.serial, `${pair}: the ACK comes after loading (E11)`);
  return own;
}

/** The first root of the context that has this leaf. */
async function loadedRoot(it: Findings, leaf: string): Promise<string | undefined> {
  return (await it.loaded()).find((context) => context.leaf === leaf)?.root;
}

async function holds(it: Findings, leaf: string): Promise<boolean> {
  return (await it.loaded()).some((context) => context.leaf === leaf);
}

type Dumped = {
  readonly name: string;
  readonly version_info?: string;
  readonly last_updated?: string;
  readonly error_state?: unknown;
  readonly secret?: { readonly validation_context?: { readonly trusted_ca?: { readonly inline_bytes?: string } } };
};

async function dumped(it: Findings, name: string): Promise<Dumped | undefined> {
  const dump = JSON.parse(await it.admin.configDump("resource=dynamic_active_secrets")) as { configs?: Dumped[] };
  return dump.configs?.find((entry) => entry.name === name);
}

function bundleOf(entry: Dumped | undefined): string {
  return Buffer.from(entry?.secret?.validation_context?.trusted_ca?.inline_bytes ?? "", "base64").toString();
}
