/** What every provider of certificates has to keep (ports/provider.ts). */

import assert from "node:assert/strict";
import { KeyObject } from "node:crypto";
import { type TestContext, test } from "node:test";
import { MeshrootError } from "../../src/core/errors.ts";
import type { MeshRoot, ProviderSpec } from "../../src/core/roots/mesh-root.ts";
import { checkBundle, checkLeaf } from "../../src/pki/check.ts";
import { inspect } from "../../src/pki/inspect.ts";
import { generateKeyPair, type KeyAlgorithm, privateKeyPem } from "../../src/pki/keys.ts";
import type { LocalAuthority } from "../../src/pki/local-authority.ts";
import { parseBundle } from "../../src/pki/pem.ts";
import { serviceLeaf, xdsClient, xdsServer } from "../../src/pki/profiles.ts";
import type { CertificateProvider } from "../../src/ports/provider.ts";
import { loadAuthority } from "../support/load-authority.ts";
import { opensslVerify } from "../support/openssl.ts";
import { BOOKBUYER, FORM, HOUR_MS, type SettableClock } from "../support/pki.ts";

export type ProviderUnderTest = {
  readonly provider: CertificateProvider;
  /** The same provider in another process, over the same backing. */
  readonly replica: CertificateProvider;
  /** What both providers, and the backing if it can, take for the time. */
  readonly clock: SettableClock;
  /** Two MRCs of this kind that were never loaded, each with a CA of its own. */
  readonly root: MeshRoot;
  readonly otherRoot: MeshRoot;
};

/** Registers the contract's tests; each gets a provider of its own. */
export function providerContract(name: string, make: (t: TestContext) => Promise<ProviderUnderTest>): void {
  const contract = (what: string, body: (under: ProviderUnderTest) => Promise<void>): void => {
    test(`${name}: ${what}`, async (t) => body(await make(t)));
  };

  contract(
    "loads the same CA again, and another one for another MRC",
    async ({ provider, replica, root, otherRoot }) => {
      const first = await loadAuthority(provider, root);
      assert.equal(provider.kind, root.provider.kind);
      assert.deepEqual(identity(await loadAuthority(provider, root)), identity(first));
      assert.deepEqual(identity(await loadAuthority(replica, root)), identity(first));
      assert.notEqual((await loadAuthority(provider, otherRoot)).fingerprint, first.fingerprint);
    },
  );

  contract("racing replicas agree on one CA, and each can sign with it", async ({ provider, replica, root, clock }) => {
    const loaded = await Promise.all([provider, replica, provider, replica].map((one) => loadAuthority(one, root)));
    const [first] = loaded;
    assert.equal(new Set(loaded.map((authority) => authority.fingerprint)).size, 1);
    for (const authority of loaded) assertGood(await issue(authority, clock), first as LocalAuthority, clock);
  });

  contract("describes its root as the certificate does", async ({ provider, root }) => {
    const authority = await loadAuthority(provider, root);
    const { fingerprint, serial, notBefore, notAfter, isCa, subjectKeyId } = inspect(authority.certificatePem);
    assert.deepEqual(identity(authority), { fingerprint, serial, notBefore, notAfter });
    assert.ok(isCa && subjectKeyId !== undefined);
    assert.equal(checkBundle(authority.certificatePem), undefined);
    assert.equal(parseBundle(authority.certificatePem).certificates.length, 1);
    assert.ok(authority.certificatePem.endsWith("-----END CERTIFICATE-----\n"));
  });

  for (const algorithm of ["ec-p256", "ec-p384", "rsa-2048"] as const) {
    contract(`signs a leaf with a key of ${algorithm}, as asked`, async ({ provider, root, clock }) => {
      const authority = await loadAuthority(provider, root);
      const issued = await issue(authority, clock, algorithm);
      assertGood(issued, authority, clock);
      const info = inspect(issued.chainPem);
      assert.deepEqual(info.dnsNames, ["bookbuyer.bookstore.cluster.local"]);
      assert.deepEqual(info.uris, ["spiffe://cluster.local/bookbuyer/bookstore"]);
      assert.match(info.subject, /CN=bookbuyer\.bookstore\.cluster\.local$/);
      assert.ok(info.keyUsage.includes("digitalSignature") && !info.isCa);
      opensslVerify(issued.chainPem, authority.certificatePem, clock.now(), "sslserver");
      opensslVerify(issued.chainPem, authority.certificatePem, clock.now(), "sslclient");
    });
  }

  contract("signs both ends of the xDS connection, with no name that was not asked for", async (under) => {
    const { provider, root, clock } = under;
    const authority = await loadAuthority(provider, root);
    const keyPair = await generateKeyPair("ec-p256");
    const period = { now: clock.now(), validityMs: HOUR_MS };
    const uuid = "0f8f9e1c-3b0a-4d57-9a53-0a1b2c3d4e5f";
    const proxy = { ...BOOKBUYER, kind: "sidecar", uuid, trustDomain: FORM.trustDomain } as const;
    const client = inspect((await authority.issue(xdsClient(proxy, period, keyPair.publicKey))).chainPem);
    assert.deepEqual(
      [client.dnsNames, client.uris],
      [[], [`meshroot://cluster.local/proxy/bookstore/bookbuyer/sidecar/${uuid}`]],
    );
    const server = await authority.issue(xdsServer(["xds.meshroot.internal"], period, keyPair.publicKey));
    assert.deepEqual(inspect(server.chainPem).dnsNames, ["xds.meshroot.internal"]);
    opensslVerify(server.chainPem, authority.certificatePem, clock.now(), "sslserver");
  });

  contract("chains to exactly its own root", async ({ provider, root, otherRoot, clock }) => {
    const [one, other] = [await loadAuthority(provider, root), await loadAuthority(provider, otherRoot)];
    const issued = await issue(one, clock);
    const leaf = inspect(issued.chainPem);
    assert.ok(leaf.authorityKeyId !== undefined);
    assert.notEqual(issued.serial, (await issue(one, clock)).serial);
    const withOther = { chainPem: issued.chainPem, privateKeyPem: issued.keyPem, rootPem: other.certificatePem };
    assert.equal(checkLeaf({ ...withOther, now: clock.now() })?.code, "MR4003");
    opensslVerify(issued.chainPem, other.certificatePem + one.certificatePem, clock.now());
  });

  contract("never signs beyond its root's end", async ({ provider, root, clock }) => {
    const authority = await loadAuthority(provider, root);
    const keyPair = await generateKeyPair("ec-p256");
    const validityMs = authority.notAfter - clock.now() + 1000 * HOUR_MS;
    const request = serviceLeaf(BOOKBUYER, FORM, { now: clock.now(), validityMs }, keyPair.publicKey);
    const issued = await authority.issue(request);
    assert.ok(issued.notAfter <= authority.notAfter);
    assert.equal(inspect(issued.chainPem).notAfter, issued.notAfter);
  });

  contract("refuses to sign outside of its root's life, and loads it all the same", async (under) => {
    const { provider, replica, root, clock } = under;
    const authority = await loadAuthority(provider, root);
    clock.set(authority.notAfter);
    for (const expired of [authority, await loadAuthority(replica, root)])
      await rejects(issue(expired, clock), "MR3002");
    clock.set(authority.notBefore - 1000);
    for (const early of [authority, await loadAuthority(replica, root)]) await rejects(issue(early, clock), "MR3003");
  });

  contract(
    "is asked by inspect and issue alone, and holds no private key of ours",
    async ({ provider, root, clock }) => {
      await loadAuthority(provider, root);
      const authority = provider.open(root.provider);
      const { signal } = new AbortController();
      const { health, root: shown } = await authority.inspect(signal);
      assert.deepEqual(health, { kind: "signs" });
      const { publicKey } = await generateKeyPair("ec-p256");
      const request = serviceLeaf(BOOKBUYER, FORM, { now: clock.now(), validityMs: HOUR_MS }, publicKey);
      assert.ok(!Object.values(request).some((value) => value instanceof KeyObject && value.type === "private"));
      // A process that signs before it has looked: the first certificate of a restarted server.
      const unseen = await provider.open(root.provider).issue(request, signal);
      assert.equal(inspect(unseen.chainPem).authorityKeyId, inspect(shown.certificatePem).subjectKeyId);
    },
  );

  contract(
    "custody: knows what is there; destroying twice is no error, nor is destroying what never was",
    async ({ provider, replica, root, otherRoot }) => {
      const [custody, theirs] = [provider.custody, replica.custody];
      if (custody === undefined || theirs === undefined) return;
      assert.equal(await custody.has(root.provider), false);
      await Promise.all([custody.create(root.provider), theirs.create(root.provider)]);
      const first = await loadAuthority(provider, root);
      await custody.create(root.provider);
      assert.deepEqual(
        identity(await loadAuthority(replica, root)),
        identity(first),
        "what is there is never made anew",
      );
      assert.equal(await theirs.has(root.provider), true);
      await Promise.all([custody.destroy(root.provider), theirs.destroy(root.provider)]);
      await custody.destroy(root.provider);
      await custody.destroy(otherRoot.provider);
    },
  );

  contract("refuses an MRC of another provider", async ({ provider, root }) => {
    const kind = root.provider.kind === "tresor" ? "certManager" : "tresor";
    const specs: Record<typeof kind, ProviderSpec> = {
      tresor: { kind: "tresor", secretRef: { name: "x", namespace: "y" } },
      certManager: { kind: "certManager", issuerName: "x", issuerKind: "Issuer", issuerGroup: "cert-manager.io" },
    };
    await rejects(loadAuthority(provider, { ...root, provider: specs[kind] }), "MR1011");
  });
}

function identity({ fingerprint, serial, notBefore, notAfter }: LocalAuthority) {
  return { fingerprint, serial, notBefore, notAfter };
}

async function issue(authority: LocalAuthority, clock: SettableClock, algorithm: KeyAlgorithm = "ec-p256") {
  const keyPair = await generateKeyPair(algorithm);
  const period = { now: clock.now(), validityMs: HOUR_MS };
  const issued = await authority.issue(serviceLeaf(BOOKBUYER, FORM, period, keyPair.publicKey));
  return { ...issued, keyPem: privateKeyPem(keyPair) };
}

function assertGood(issued: Awaited<ReturnType<typeof issue>>, authority: LocalAuthority, clock: SettableClock): void {
  const { chainPem, keyPem } = issued;
  const rootPem = authority.certificatePem;
  assert.equal(checkLeaf({ chainPem, privateKeyPem: keyPem, rootPem, now: clock.now() }), undefined);
  const { certificates } = parseBundle(chainPem);
  const [leaf] = certificates;
  assert.ok(chainPem.endsWith("-----END CERTIFICATE-----\n"));
  assert.ok(!certificates.some(({ fingerprint }) => fingerprint === authority.fingerprint), "holds the root");
  assert.deepEqual(
    [issued.fingerprint, issued.serial, issued.notBefore, issued.notAfter],
    [leaf?.fingerprint, leaf?.serial, leaf?.notBefore, leaf?.notAfter],
  );
}

async function rejects(promise: Promise<unknown>, code: string): Promise<void> {
  await assert.rejects(promise, (error) => {
    assert.ok(error instanceof MeshrootError, String(error));
    assert.equal(error.code, code);
    assert.ok(error.hint.length > 0);
    return true;
  });
}
