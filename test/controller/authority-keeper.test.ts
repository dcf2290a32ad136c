/** The keeper of authorities, over CAs that are slow, hang, fail and change underneath. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { AuthorityKeeper } from "../../src/controller/authority-keeper.ts";
import { trustableRoots, unusableRoot } from "../../src/controller/availability.ts";
import type { Known } from "../../src/controller/kept-authority.ts";
import { KnownRoots } from "../../src/controller/known-roots.ts";
import { RootProofs, type ServiceNames } from "../../src/controller/root-proofs.ts";
import { identityName } from "../../src/core/identity.ts";
import type { MeshRoot, Role } from "../../src/core/roots/mesh-root.ts";
import { desiredTrust, initialTrust } from "../../src/core/roots/trust.ts";
import { generateKeyPair } from "../../src/pki/keys.ts";
import { serviceLeaf } from "../../src/pki/profiles.ts";
import { createTresor } from "../../src/providers/tresor.ts";
import { manualClock } from "../support/manual-clock.ts";
import { memorySecretStore } from "../support/memory-secret-store.ts";
import { BOOKBUYER, FORM, HOUR_MS, NOW } from "../support/pki.ts";
import { root as meshRoot } from "../support/roots.ts";
import { ScriptedCa, scriptedProvider, scriptedSpec } from "../support/scripted-provider.ts";
import { trustingProofs } from "../support/trusting-proofs.ts";

function root(name: string, role: Role): MeshRoot {
  return meshRoot(name, role, { provider: scriptedSpec(name), spiffeEnabled: true });
}

async function start(...names: string[]) {
  return startWith(trustingProofs(), ...names);
}

async function startWith(proofs: RootProofs, ...names: string[]) {
  const clock = manualClock(NOW);
  const cas = new Map<string, ScriptedCa>();
  for (const name of names) cas.set(name, await ScriptedCa.create(clock));
  const said: string[] = [];
  const quiet = () => undefined;
  const log = {
    debug: quiet,
    info: quiet,
    warn: quiet,
    error: (_: object, message: string) => void said.push(message),
  };
  const secrets = memorySecretStore();
  const providers = [scriptedProvider(cas), createTresor({ secrets, clock, keyAlgorithm: "ec-p256" })];
  const keeper = new AuthorityKeeper({ providers, proofs, clock, log, random: () => 0.999 });
  const ca = (name: string) => cas.get(name) as ScriptedCa;
  /** What a mesh knows that has run on these roots. */
  const known = (roots: readonly MeshRoot[]): Known => {
    const trust = initialTrust(desiredTrust(roots, keeper.snapshot.trusted));
    assert.ok(trust);
    return { trust, specs: new Map(roots.map(({ name, provider }) => [name, provider])) };
  };
  /** Has the CAs looked at, for as long as their looks take. */
  const settle = async (roots: readonly MeshRoot[], before?: Known, inUse?: ServiceNames) => {
    keeper.follow(roots, before, inUse);
    await keeper.settled(Number.MAX_SAFE_INTEGER);
    await clock.rest();
  };
  /** The same, where one of them does not answer. */
  const begin = async (roots: readonly MeshRoot[], before?: Known) => {
    keeper.follow(roots, before);
    await clock.rest();
  };
  const issue = async (name: string) => {
    const { publicKey } = await generateKeyPair("ec-p256");
    const record = keeper.snapshot.trusted.get(name);
    assert.ok(record);
    const period = { now: clock.now(), validityMs: HOUR_MS };
    return keeper.issue(record.id, serviceLeaf(BOOKBUYER, FORM, period, publicKey));
  };
  return { clock, ca, keeper, known, settle, begin, issue, said, secrets };
}

test("D12: a CA that never answers keeps nobody else waiting, and is said to", async () => {
  const { clock, ca, keeper, known, begin, said } = await start("a", "b");
  ca("b").mood = "hangs";
  const roots = [root("a", "active"), root("b", "passive")];
  await begin([root("a", "active")]);
  const before = known([root("a", "active")]);
  await begin(roots, before);
  assert.deepEqual([...keeper.snapshot.trusted.keys()], ["a"]);
  assert.deepEqual(keeper.snapshot.refusal("b"), undefined, "it may come in a moment");
  await clock.advance(1_000);
  assert.match(keeper.snapshot.refusal("b")?.message ?? "", /root b: its certificate authority has not answered yet/);
  await clock.advance(9_000);
  assert.equal(keeper.snapshot.refusal("b")?.code, "MR3011");
  assert.equal(said.length, 1);
  for (let minute = 0; minute < 60; minute += 1) {
    await clock.advance(60_000);
    await begin(roots, before);
  }
  assert.ok(ca("b").pending <= 16, `${ca("b").pending} calls hang`);
  assert.equal(said.length, 1, "once");
  assert.equal(keeper.snapshot.refusal("a"), undefined);
});

test("a CA that answers late is found then, without a plan having waited", async () => {
  const { ca, keeper, begin, clock } = await start("a", "b");
  ca("b").mood = "slow";
  let told = 0;
  keeper.subscribe(() => {
    told += 1;
  });
  await begin([root("a", "active"), root("b", "passive")]);
  const before = told;
  await clock.advance(5_000);
  ca("b").recover();
  await clock.rest();
  assert.deepEqual([...keeper.snapshot.trusted.keys()], ["a", "b"]);
  assert.equal(told, before + 1);
});

test("a root that has changed underneath signs no more; the mesh keeps the one that it runs on", async () => {
  const { ca, keeper, known, settle, issue, clock, said } = await start("a");
  const roots = [root("a", "active")];
  await settle(roots);
  const before = known(roots);
  const { fingerprint } = ca("a").root;
  await issue("a");
  await ca("a").changeRoot();
  await clock.advance(30_000);
  await settle(roots, before);
  assert.equal(keeper.snapshot.trusted.get("a")?.fingerprint, fingerprint);
  const record = keeper.snapshot.trusted.get("a");
  assert.ok(record);
  assert.equal(keeper.snapshot.signingProblem(record, clock.now())?.code, "MR3010");
  const calls = ca("a").calls.length;
  await assert.rejects(issue("a"), { code: "MR3010" });
  assert.equal(ca("a").calls.length, calls, "it is not even asked");
  assert.match(said.join("\n"), /MR3010 root a has changed underneath/);
});

test("a root that changed while no server ran is not taken for the one that the mesh runs on", async () => {
  const first = await start("a");
  const roots = [root("a", "active")];
  await first.settle(roots);
  const before = first.known(roots);
  const { keeper, settle } = await start("a");
  await settle(roots, before);
  assert.equal(keeper.snapshot.refusal("a")?.code, "MR3010");
  assert.deepEqual([...keeper.snapshot.trusted], []);
});

test("a deleted root that came back under its name is no change, while the old one is on the xDS port", async () => {
  const { ca, keeper, known, settle, clock } = await start("a");
  const roots = [root("a", "active")];
  await settle(roots);
  const old = known(roots);
  await ca("a").changeRoot();
  keeper.destroy("a", scriptedSpec("a"), true);
  await settle(roots, { ...old, specs: new Map() });
  const { trust } = known(roots);
  const both = { ...trust, roots: { ...old.trust.roots, ...trust.roots } };
  await clock.advance(30_000);
  await settle(roots, { trust: both, specs: old.specs });
  assert.equal(keeper.snapshot.trusted.get("a")?.fingerprint, ca("a").root.fingerprint);
  assert.equal(keeper.snapshot.problem("a"), undefined);
});

test("a root that nobody has used yet may change", async () => {
  const { ca, keeper, settle, clock } = await start("a");
  await settle([root("a", "active")]);
  await ca("a").changeRoot();
  await clock.advance(30_000);
  await settle([root("a", "active")]);
  assert.equal(keeper.snapshot.trusted.get("a")?.fingerprint, ca("a").root.fingerprint);
});

test("one miss is no ailment: a file is written anew, a connection breaks", async () => {
  const { ca, keeper, known, settle, clock, issue } = await start("a");
  const roots = [root("a", "active")];
  await settle(roots);
  const before = known(roots);
  const { id = "" } = keeper.snapshot.trusted.get("a") ?? {};
  ca("a").mood = "fails";
  await clock.advance(30_000);
  await settle(roots, before);
  assert.equal(keeper.snapshot.ailment(id), undefined);
  await clock.advance(5_000);
  await settle(roots, before);
  assert.equal(keeper.snapshot.ailment(id)?.code, "MR1011");
  assert.equal(keeper.snapshot.trusted.has("a"), true, "it validates on");
  ca("a").recover();
  await issue("a");
  await clock.advance(5_000);
  await settle(roots, before);
  assert.equal(keeper.snapshot.ailment(id), undefined);
});

const NAMES: ServiceNames = new Map([[identityName(BOOKBUYER), BOOKBUYER]]);
const NO_BOOKBUYER = { code: "MR3007", message: "it can't carry the bookbuyer", hint: "" } as const;

/** Of roots that can't carry the bookbuyer, but for those that are named here, and ask their CA about it. */
function proofsOf(passing: ReadonlySet<string>, pemOf: (name: string) => string) {
  return new RootProofs({
    neededLifeMs: 0,
    prover: {
      apart: async () => undefined,
      async prove(pem, issue, { form, identities }) {
        const { publicKey } = await generateKeyPair("ec-p256");
        await issue(serviceLeaf(BOOKBUYER, form, { now: NOW, validityMs: HOUR_MS }, publicKey));
        const carries = identities.length === 0 || [...passing].some((name) => pemOf(name) === pem);
        if (!carries) return { carried: [], any: false, complete: true, problem: NO_BOOKBUYER };
        return { carried: identities, any: false, complete: true };
      },
    },
  });
}

async function startProving(...passing: string[]) {
  const pems = new Map<string, string>();
  const mesh = await startWith(
    proofsOf(new Set(passing), (name) => pems.get(name) ?? ""),
    "a",
    "b",
  );
  for (const name of ["a", "b"]) pems.set(name, mesh.ca(name).root.certificatePem);
  return mesh;
}

test("a plan that waits for the proof of a root that was seen before is told when it is there", async () => {
  const { keeper, known, settle } = await start("a", "b");
  const inactive = [root("a", "active"), root("b", "inactive")];
  await settle(inactive);
  const before = known([root("a", "active")]);
  let told = 0;
  keeper.subscribe(() => {
    told += 1;
  });
  const passive = [root("a", "active"), root("b", "passive")];
  keeper.follow(passive, before);
  assert.equal(keeper.snapshot.isAboutToKnow(before.trust), true);
  assert.equal(told, 0);
  await keeper.settled(Number.MAX_SAFE_INTEGER);
  assert.equal(keeper.snapshot.isAboutToKnow(before.trust), false);
  assert.ok(told > 0);
});

test("a root that was seen while it was inactive is put to the proof before it enters a bundle, and is refused by it", async () => {
  const { keeper, known, settle } = await startProving("a");
  const [a, b] = [root("a", "active"), root("b", "inactive")];
  await settle([a, b], undefined, NAMES);
  const before = known([a]);
  assert.equal(keeper.snapshot.trusted.has("b"), true, "its CA is known");
  const next = [a, root("b", "passive")];
  keeper.follow(next, before, NAMES);
  assert.equal(trustableRoots(keeper.snapshot, before.trust).has("b"), false);
  assert.equal(keeper.snapshot.isAboutToKnow(before.trust), true);
  await settle(next, before, NAMES);
  assert.equal(trustableRoots(keeper.snapshot, before.trust).has("b"), false);
  assert.match(
    unusableRoot(keeper.snapshot, before.trust, next)?.message ?? "",
    /root b: it can't carry the bookbuyer/,
  );
});

test("a root that has left the bundle is put to the proof when it comes back, though the xDS port knows it still", async () => {
  const { keeper, known, settle } = await startProving("a");
  const both = [root("a", "active"), root("b", "passive")];
  await settle(both);
  const { trust, specs } = known(both);
  const [first = ""] = trust.mesh;
  const left = { specs, trust: { ...trust, mesh: [first] } };
  await settle([root("a", "active"), root("b", "inactive")], left, NAMES);
  await settle(both, left, NAMES);
  assert.equal(trustableRoots(keeper.snapshot, left.trust).has("b"), false);
});

test("a root in the bundle whose CA could not be asked about a new name is not one to move to, and is asked again soon", async () => {
  const { ca, keeper, known, settle, clock } = await startProving("a", "b");
  const both = [root("a", "active"), root("b", "passive")];
  await settle(both);
  const before = known(both);
  assert.equal(keeper.snapshot.carries("b"), true);
  const swapped = [root("a", "passive"), root("b", "active")];
  const listing = { roots: swapped, outdated: [], problems: [] };
  const roots = new KnownRoots({ authorities: keeper, namespace: "osm-system", listing, specs: before.specs });
  const desired = () => {
    const { signers, validators } = roots.desired(before.trust, clock.now());
    return { signers: signers.map(({ name }) => name), validators: validators.map(({ name }) => name) };
  };
  ca("b").signs = false;
  await settle(swapped, before, NAMES);
  assert.deepEqual(desired(), { signers: [], validators: ["a", "b"] }, "it validates on");
  ca("b").signs = true;
  await clock.advance(5_000);
  await settle(swapped, before, NAMES);
  assert.deepEqual(desired(), { signers: ["b"], validators: ["a", "b"] });
});

test("a root that has changed underneath, and is put back, is found so soon", async () => {
  const { ca, keeper, known, settle, clock } = await start("a");
  const roots = [root("a", "active")];
  await settle(roots);
  const before = known(roots);
  const old = ca("a").root;
  await ca("a").changeRoot();
  await clock.advance(30_000);
  await settle(roots, before);
  assert.equal(keeper.snapshot.problem("a")?.code, "MR3010");
  ca("a").putBack(old);
  await clock.advance(5_000);
  await settle(roots, before);
  assert.equal(keeper.snapshot.problem("a"), undefined);
});

test("a CA that says that it can't sign now is no signer to move to", async () => {
  const { ca, keeper, settle } = await start("a");
  const problem = { code: "MR1011", message: "sealed", hint: "Unseal it." } as const;
  ca("a").health = { kind: "ails", problem };
  await settle([root("a", "passive")]);
  const { id = "" } = keeper.snapshot.trusted.get("a") ?? {};
  assert.deepEqual(keeper.snapshot.ailment(id), problem);
});

test("a CA that fails to sign counts as ailing, and is asked rarely", async () => {
  const { ca, keeper, settle, issue, clock } = await start("a");
  await settle([root("a", "active")]);
  const { id = "" } = keeper.snapshot.trusted.get("a") ?? {};
  ca("a").mood = "fails";
  for (let count = 0; count < 1_000; count += 1) {
    if (keeper.isReady(id)) await assert.rejects(issue("a"));
    await clock.advance(60);
  }
  const asked = ca("a").calls.filter((call) => call === "issue").length;
  assert.ok(asked >= 8 && asked <= 15, `${asked} calls in a minute`);
  assert.equal(keeper.snapshot.ailment(id)?.code, "MR1011");
});

test("Tresor: a key that takes a minute to be made is no CA that does not answer", async () => {
  const { keeper, begin, secrets, clock, said } = await start();
  const { promise, resolve } = Promise.withResolvers<void>();
  const store = secrets.createOrLoad.bind(secrets);
  secrets.createOrLoad = async (secret) => {
    await promise;
    return store(secret);
  };
  await begin([meshRoot("a", "active")]);
  await clock.advance(60_000);
  resolve();
  await keeper.settled(1_000);
  assert.deepEqual([...keeper.snapshot.trusted.keys()], ["a"]);
  assert.deepEqual(said, []);
});

test("Tresor: what the mesh has run on is never made anew, whatever is left of it", async () => {
  const { keeper, known, settle, secrets, clock } = await start();
  const roots = [meshRoot("a", "active")];
  await settle(roots);
  const before = known(roots);
  const [stored] = [...secrets.secrets.values()];
  assert.ok(stored);
  const { "ca.crt": certificate = Buffer.alloc(0) } = stored.data;
  for (const left of [undefined, { ...stored, data: {} }, { ...stored, data: { "ca.crt": certificate } }]) {
    secrets.secrets.clear();
    if (left !== undefined) secrets.secrets.set("osm-system/a-ca", left);
    for (let look = 0; look < 3; look += 1) {
      await clock.advance(30_000);
      await settle(roots, before);
    }
    assert.equal(keeper.snapshot.problem("a")?.code, left === undefined ? "MR2005" : "MR3001");
    const restarted = new AuthorityKeeper({
      providers: [createTresor({ secrets, clock })],
      proofs: trustingProofs(),
      clock,
      log: { debug() {}, info() {}, warn() {}, error() {} },
    });
    restarted.follow(roots, before);
    await restarted.settled(Number.MAX_SAFE_INTEGER);
    assert.equal(restarted.snapshot.refusal("a")?.code, left === undefined ? "MR2005" : "MR3001");
    assert.deepEqual(secrets.writes.slice(1), []);
  }
});

test("a provider that this version lacks is said, once, by the name of its root", async () => {
  const { keeper, settle, said } = await start();
  const provider = {
    kind: "certManager",
    issuerName: "x",
    issuerKind: "Issuer",
    issuerGroup: "cert-manager.io",
  } as const;
  for (let count = 0; count < 3; count += 1) await settle([meshRoot("a", "passive", { provider })]);
  assert.equal(keeper.snapshot.refusal("a")?.code, "MR1011");
  assert.deepEqual(said, ["MR1011 root a: provider certManager is not available in this version"]);
  await settle([]);
  assert.equal(keeper.snapshot.refusal("a"), undefined);
});

test("of two new roots that can't be told apart the first in the list counts, whichever answers first", async () => {
  const { ca, keeper, settle, clock } = await start("a", "b");
  const told = new AuthorityKeeper({
    ...{ clock, log: { debug() {}, info() {}, warn() {}, error() {} } },
    providers: [
      scriptedProvider(
        new Map([
          ["a", ca("a")],
          ["b", ca("b")],
        ]),
      ),
    ],
    proofs: trustingProofs((root, other) => ({
      code: "MR1013",
      message: `${root.name} is like ${other.name}`,
      hint: "",
    })),
  });
  ca("a").mood = "slow";
  told.follow([root("a", "active"), root("b", "passive")], undefined);
  await clock.rest();
  ca("a").recover();
  await clock.rest();
  assert.deepEqual([...told.snapshot.trusted.keys()], ["a"]);
  assert.equal(told.snapshot.refusal("b")?.message, "root b: b is like a");
  await settle([]);
  assert.deepEqual([...keeper.snapshot.trusted], []);
});

test("deleted keys are destroyed in the background, and again where that failed", async () => {
  const { keeper, settle, secrets, clock } = await start();
  await settle([meshRoot("a", "active")]);
  const spec = meshRoot("a", "active").provider;
  const remove = secrets.remove.bind(secrets);
  secrets.remove = () => Promise.reject(new Error("EIO"));
  assert.equal(keeper.destroy("a", spec, false), false);
  await clock.rest();
  assert.equal(keeper.destroy("a", spec, false), false, "not tried again at once");
  secrets.remove = remove;
  await clock.advance(5_000);
  assert.equal(keeper.destroy("a", spec, false), false);
  await clock.rest();
  assert.equal(keeper.destroy("a", spec, false), true);
  assert.equal(secrets.secrets.size, 0);
  assert.equal(keeper.snapshot.trusted.size, 0);
});
