/**
 * A leaf that fails our own check is withheld and said aloud, not sent (R80): all parts of the server, behind a certificate
 * provider that does its work badly.
 */

import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { AuthorityKeeper } from "../../src/controller/authority-keeper.ts";
import { LeafCache } from "../../src/controller/leaf-cache.ts";
import { MeshSecrets } from "../../src/controller/mesh-secrets.ts";
import { RotationController } from "../../src/controller/rotation-controller.ts";
import { TrustBundles } from "../../src/controller/trust-bundles.ts";
import { wantedVersion } from "../../src/controller/wanted-version.ts";
import { generateKeyPair } from "../../src/pki/keys.ts";
import { localAuthority } from "../../src/pki/local-authority.ts";
import { createRootCa } from "../../src/pki/root-ca.ts";
import type { CertificateAuthority, Issue } from "../../src/ports/provider.ts";
import type { StateStore } from "../../src/ports/store.ts";
import type { ClientIdentity } from "../../src/secrets/client-identity.ts";
import { SecretSource } from "../../src/secrets/secret-source.ts";
import { CertificateMaker } from "../../src/serve/certificate-maker.ts";
import { XdsServer } from "../../src/xds/index.ts";
import { DELTA_SERVICES, said } from "../support/delta-conformance.ts";
import { ownCredential } from "../support/desk.ts";
import { SERVER_NAME } from "../support/generic-xds.ts";
import { root } from "../support/roots.ts";
import { until } from "../support/server.ts";
import { makeTestLeaf, makeTestRoot } from "../support/test-certificates.ts";
import { trustingProofs } from "../support/trusting-proofs.ts";
import { xdsClient } from "../support/xds-client.ts";

const HOUR_MS = 3_600_000;
const PROXY = {
  trustDomain: "cluster.local",
  namespace: "shop",
  serviceAccount: "cart",
  kind: "sidecar",
  uuid: "00000000-0000-4000-8000-000000000001",
} as const;

/** A server whose only authority signs as `spoil` makes it sign, until `mend`. */
async function start(t: TestContext, spoil: (issue: Issue) => Issue) {
  let shiftMs = 0;
  const retries: (() => void)[] = [];
  const clock = {
    now: () => Date.now() + shiftMs,
    after: (ms: number, callback: () => void) => {
      if (ms === 5_000) retries.push(callback);
      return () => undefined;
    },
  };
  const errors: string[] = [];
  const quiet = () => undefined;
  const error = (fields: object, message: string) =>
    void errors.push(`${message}: ${"err" in fields ? String(fields.err) : ""}`);
  const log = { debug: quiet, info: quiet, warn: quiet, error };

  const ca = await createRootCa({
    ...{ commonName: "root", organization: "Test", algorithm: "ec-p256", validityMs: 1_000 * HOUR_MS, now: Date.now() },
  });
  const good = localAuthority({ certificatePem: ca.certificatePem, privateKey: ca.keyPair.privateKey, clock });
  let issue = spoil((request) => good.issue(request));
  const authority: CertificateAuthority = {
    inspect: async () => ({ root: good, health: { kind: "signs" } }),
    issue: (request) => issue(request),
  };
  const provider = { kind: "tresor", open: () => authority } as const;
  const authorities = new AuthorityKeeper({ providers: [provider], proofs: trustingProofs(), clock, log });
  const state: StateStore = {
    trust: { read: async () => undefined, write: async () => 1 },
    evidence: { read: async () => new Map(), write: async () => undefined },
  };
  const lives = { leafValidityMs: 24 * HOUR_MS, xdsCertValidityMs: 24 * HOUR_MS };
  const gates = { settleMs: 0, recoveryMs: 0, absentPolicy: "until-leaf-expiry" } as const;
  const settings = { ...gates, ...lives, namespace: "osm-system" };
  const options = { leafKeyAlgorithm: "ec-p256", ...lives } as const;
  const issuing = new CertificateMaker(authorities, clock, options);
  const issuer = new LeafCache({
    clock,
    log,
    random: () => 1,
    make: issuing.leaf,
    renewalTime: (_now, notAfter) => notAfter,
  });
  const bundles = new TrustBundles(log);
  const wanted = wantedVersion(bundles, issuer);
  const controller = await RotationController.start(
    { clock, state, authorities, settings, log, wanted },
    { roots: [root("first", "active")], problems: [], outdated: [] },
  );
  const secrets = new MeshSecrets({ controller, issuer, bundles, wanted, clock });
  const source = new SecretSource({ controller, secrets, clock, log, leafValidityMs: lives.leafValidityMs });

  const front = await makeTestRoot("front");
  const server = await makeTestLeaf(front, { dns: [SERVER_NAME] });
  const own = await makeTestLeaf(front, { uris: ["meshroot://any"] });
  const xds = new XdsServer<ClientIdentity>({
    credentials: { certificatePem: server.certPem, privateKeyPem: server.keyPem, clientCaPem: front.certPem },
    identify: () => ({ proxy: PROXY, credential: ownCredential(controller.trust.signer) }),
    sources: [source],
    now: clock.now,
  });
  const port = await xds.listen("127.0.0.1", 0);
  const client = xdsClient(port, {
    ca: front.certPem,
    certificate: own.certPem,
    key: own.keyPem,
    serverName: SERVER_NAME,
  });
  t.after(async () => {
    client.close();
    await xds.close();
    await controller.stop();
  });
  return {
    client,
    errors,
    mend: () => {
      issue = (request) => good.issue(request);
      shiftMs += 5_000;
      for (const retry of retries.splice(0)) retry();
    },
  };
}

const SPOILT: readonly { what: string; spoil: (issue: Issue) => Issue; message: RegExp }[] = [
  {
    what: "for another key",
    spoil: (issue) => async (request) => issue({ ...request, publicKey: (await generateKeyPair("ec-p256")).publicKey }),
    message: /MR4003 .*does not match its private key/,
  },
  {
    what: "that has expired",
    spoil: (issue) => (request) => issue({ ...request, notBefore: Date.now() - HOUR_MS, notAfter: Date.now() - 1_000 }),
    message: /MR4003 .*expired at/,
  },
  {
    what: "from another root",
    spoil: () => async (request) => {
      const clock = { now: () => Date.now(), after: () => () => undefined };
      const other = await createRootCa({
        ...{ commonName: "root", organization: "Test", algorithm: "ec-p256", validityMs: HOUR_MS, now: Date.now() },
      });
      const { certificatePem, keyPair } = other;
      return localAuthority({ certificatePem, privateKey: keyPair.privateKey, clock }).issue(request);
    },
    message: /MR4003 .*was not issued by/,
  },
  {
    what: "that can't be read",
    spoil: (issue) => async (request) => {
      const issued = await issue(request);
      return { ...issued, chainPem: issued.chainPem.replace(/\n.{20}/, "\n!") };
    },
    message: /MR3005/,
  },
];

for (const { service, open } of DELTA_SERVICES) {
  for (const { what, spoil, message } of SPOILT) {
    test(`${service}: a leaf ${what} is not sent, and said aloud; the bundle is served, and a good leaf follows (R80)`, async (t) => {
      const { client, errors, mend } = await start(t, spoil);
      const stream = open(client).request({ subscribe: ["default"] });
      await until("the error is logged", () => errors.length > 0);
      assert.match(errors[0] ?? "", message);
      assert.match(errors[0] ?? "", /could not be issued/);
      assert.doesNotMatch(errors.join(), /PRIVATE KEY/);
      stream.request({ subscribe: ["ROOTCA"] });
      assert.equal(said(await stream.next()), "ROOTCA", "nothing came for the leaf, its removal neither (R56)");
      stream.ack();
      mend();
      assert.equal(said(await stream.next()), "default");
    });
  }
}
