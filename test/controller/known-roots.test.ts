import assert from "node:assert/strict";
import { test } from "node:test";
import { AuthorityKeeper } from "../../src/controller/authority-keeper.ts";
import { KnownRoots } from "../../src/controller/known-roots.ts";
import type { MeshRoot, ProviderSpec, Role } from "../../src/core/roots/mesh-root.ts";
import { desiredTrust, initialTrust } from "../../src/core/roots/trust.ts";
import type { CertificateProvider } from "../../src/ports/provider.ts";
import { trustingProofs } from "../support/trusting-proofs.ts";

const QUIET = { debug() {}, info() {}, warn() {}, error() {} };
const HOUR_MS = 3_600_000;

function root(name: string, role: Role): MeshRoot {
  const provider = { kind: "tresor", secretRef: { name, namespace: "osm-system" } } as const;
  return {
    name,
    namespace: "osm-system",
    role,
    trustDomain: "cluster.local",
    spiffeEnabled: false,
    provider,
    createdAt: 0,
  };
}

function nameIn(spec: ProviderSpec): string {
  return spec.kind === "tresor" ? spec.secretRef.name : "";
}

/** `issuerId`, and hours until it ends, where they matter. */
type Ca = { readonly issuerId?: string; readonly hours?: number };

async function start(...roots: MeshRoot[]) {
  return startWith({}, ...roots);
}

async function startWith(cas: Readonly<Record<string, Ca>>, ...roots: MeshRoot[]) {
  const destroyed: string[] = [];
  let held = Promise.resolve();
  const holdDestruction = () => {
    const { promise, resolve } = Promise.withResolvers<void>();
    held = promise;
    return resolve;
  };
  const provider: CertificateProvider = {
    kind: "tresor",
    open: (spec) => {
      const name = nameIn(spec);
      const root = {
        fingerprint: `ca-of-${name}`,
        certificatePem: `${name}\n`,
        serial: "1",
        notBefore: 0,
        notAfter: (cas[name]?.hours ?? 1_000) * HOUR_MS,
        issuerId: cas[name]?.issuerId,
      };
      return {
        inspect: async () => ({ root, health: { kind: "signs" } }),
        issue: () => Promise.reject(new Error("not asked for here")),
      };
    },
    custody: {
      has: async () => true,
      create: async () => undefined,
      async destroy(spec) {
        destroyed.push(nameIn(spec));
        await held;
      },
    },
  };
  const clock = { now: () => HOUR_MS, after: () => () => undefined };
  const authorities = new AuthorityKeeper({ providers: [provider], proofs: trustingProofs(), clock, log: QUIET });
  authorities.follow(roots, undefined);
  await authorities.settled(1_000);
  const trust = initialTrust(desiredTrust(roots, authorities.snapshot.trusted));
  assert.ok(trust);
  const listing = { roots, outdated: [], problems: [] };
  const known = new KnownRoots({ authorities, namespace: "osm-system", listing, specs: new Map() });
  known.remember();
  known.destroyDeleted(trust);
  const lose = async (name: string) => {
    known.listing = { ...known.listing, roots: known.listing.roots.filter((each) => each.name !== name) };
    known.destroyDeleted(trust);
    await new Promise(setImmediate);
    known.destroyDeleted(trust);
  };
  return { authorities, known, destroyed, lose, trust, holdDestruction };
}

test("the key of an inactive root is destroyed with its manifest", async () => {
  const { destroyed, lose } = await start(root("a", "active"), root("b", "inactive"));
  await lose("b");
  assert.deepEqual(destroyed, ["b"]);
});

test("a root that comes back while its key is being destroyed is a new one, with a CA of its own", async () => {
  const { authorities, known, destroyed, trust, holdDestruction } = await start(
    root("new", "active"),
    root("old", "inactive"),
  );
  const end = holdDestruction();
  const { listing } = known;
  const without = { ...listing, roots: listing.roots.filter(({ name }) => name !== "old") };
  known.listing = without;
  assert.deepEqual(known.destroyDeleted(trust), []);
  known.listing = listing;
  assert.deepEqual(known.destroyDeleted(trust), [], "not gone yet");
  end();
  await new Promise(setImmediate);
  assert.deepEqual(known.destroyDeleted(trust), ["old"]);
  assert.equal(known.specs.has("old"), false);
  assert.equal(authorities.snapshot.trusted.has("old"), false);
  known.follow(trust);
  await authorities.settled(1_000);
  assert.equal(known.remember(), true);
  known.listing = without;
  known.destroyDeleted(trust);
  assert.deepEqual(destroyed, ["old", "old"], "deleted again, its key goes again");
});

test("what an editor has taken away for a moment costs no key", async () => {
  const { known, destroyed, lose } = await start(root("a", "active"), root("b", "inactive"));
  known.listing = { ...known.listing, provisional: true };
  await lose("b");
  assert.deepEqual(destroyed, []);
  known.listing = { roots: known.listing.roots, outdated: [], problems: [] };
  await lose("b");
  assert.deepEqual(destroyed, ["b"]);
});

test("a manifest in use that is taken away costs no key: the commands would have refused it", async () => {
  for (const role of ["passive", "active"] as const) {
    const { known, destroyed, lose } = await start(root("a", "active"), root("b", role));
    await lose("b");
    assert.deepEqual(destroyed, [], role);
    assert.ok(known.specs.has("b"), "it is still known, so that putting the manifest back finds its CA");
  }
});

test("A4: of a reissued CA the certificate that is about to end leaves, whatever its role; of different CAs none does", async () => {
  const roots = [root("a", "passive"), root("b", "active")];
  const names = async (a: Ca, b: Ca) => {
    const { known, trust } = await startWith({ a, b }, ...roots);
    return known.desired(trust, HOUR_MS).validators.map(({ name }) => name);
  };
  assert.deepEqual(await names({ issuerId: "ca", hours: 20 }, { issuerId: "ca" }), ["b"]);
  assert.deepEqual(await names({ issuerId: "ca", hours: 30 }, { issuerId: "ca" }), ["a", "b"], "not yet");
  assert.deepEqual(await names({ issuerId: "ca", hours: 20 }, { issuerId: "other" }), ["a", "b"]);
  assert.deepEqual(await names({ hours: 20 }, {}), ["a", "b"], "what an earlier version stored");
  assert.deepEqual(await names({ issuerId: "ca", hours: 20 }, { issuerId: "ca", hours: 20 }), ["a", "b"], "both end");
});

test("E: an edit of the SAN form is seen by the form alone, whatever the provider says of it", async () => {
  const { authorities, known } = await start(root("a", "active"), root("b", "inactive"));
  const { specs } = known;
  assert.equal(authorities.changedUnderneath([root("a", "active"), root("b", "passive")], specs), undefined);
  for (const edit of [{ trustDomain: "other.local" }, { spiffeEnabled: true }])
    assert.equal(authorities.changedUnderneath([{ ...root("a", "active"), ...edit }], specs)?.code, "MR1005");
});
