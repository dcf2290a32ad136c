/**
 * X3 of xds-protocol.md: Envoy's source lets one request answer two responses on ADS, with the newest nonce and the older one's
 * error. On these versions no burst of secrets did that, at start or later. Our server does not rest on it: it has one response on
 * its way at a time (R22). Should an Envoy answer otherwise here, that rule has become a need.
 */

import assert from "node:assert/strict";
import { test } from "node:test";
import { ENVOY_VERSIONS } from "../../src/envoy/binary.ts";
import { envoyOrSkip } from "../support/envoy.ts";
import { startFindings } from "../support/findings.ts";
import { bundleSecret, leafSecret } from "../support/scripted-secrets.ts";
import { makeTestLeaf, makeTestRoot } from "../support/test-certificates.ts";

const UNLOADABLE = "-----BEGIN CERTIFICATE-----\nbm90IGEgY2VydGlmaWNhdGU=\n-----END CERTIFICATE-----\n";

for (const version of ENVOY_VERSIONS) {
  for (const variant of ["ads", "deltaAds"] as const) {
    test(`X3 a burst on ADS: every response has an answer of its own, with its own verdict, Envoy ${version}, ${variant}`, async (t) => {
      const found = await envoyOrSkip(t, version);
      if (found === undefined) return;
      const it = await startFindings(t, { binary: found.path, variant, pairs: ["one", "two"] });
      const root = await makeTestRoot("root");
      const leaf = await makeTestLeaf(root, { dns: ["edge"] });
      const stream = await it.xds.streamOf("two-roots");
      const burst = async (...secrets: ReturnType<typeof leafSecret>[]) => {
        const nonces = secrets.map((secret, index) => stream.send(`${secret.name} ${index}`, [secret]));
        const verdicts: string[] = [];
        for (const nonce of nonces) verdicts.push((await stream.answer(nonce)).error === undefined ? "ACK" : "NACK");
        return verdicts.join(" ");
      };
      const start = [bundleSecret("one-roots", root.certPem), leafSecret("one-leaf", leaf)];
      const rest = [bundleSecret("two-roots", root.certPem), leafSecret("two-leaf", leaf)];
      assert.equal(await burst(...start, ...rest), "ACK ACK ACK ACK", "R22");
      const bad = bundleSecret("one-roots", UNLOADABLE);
      assert.equal(await burst(bad, bundleSecret("two-roots", root.certPem, "new bytes")), "NACK ACK", "R22, R23");
    });
  }
}
