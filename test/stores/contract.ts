/** What every store has to keep (src/ports/store.ts), clause by clause. Suites for a part alone, and for a whole store. */

import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import type { RootListing } from "../../src/core/roots/mesh-root.ts";
import type { SecretStore, Services, StateStore, Store } from "../../src/ports/store.ts";
import { root } from "../support/roots.ts";

export type StateUnderTest = {
  readonly state: StateStore;
  /** The same as another process sees it. */
  readonly replica: StateStore;
  /** Has the next write of the trust end with an error, although it was stored, or without that. */
  failTrust(how: "late" | "early"): void;
};

export type SecretsUnderTest = { readonly secrets: SecretStore; readonly replica: SecretStore };

export type StoreUnderTest = StateUnderTest & {
  /** Nothing is there yet. */
  readonly store: Store;
  readonly other: Store;
  /** What people write down of services, by a way of their own. */
  setServices(services: Services): Promise<void>;
  /** What waits for time to pass happens. */
  pass(): void;
  /** So far. */
  readonly audited: readonly string[];
};

type Contract<Under> = (what: string, body: (under: Under, t: TestContext) => Promise<void>) => void;

/** Registers a contract's tests; each gets a store of its own. */
function contractOf<Under>(name: string, make: (t: TestContext) => Promise<Under>): Contract<Under> {
  return (what, body) => {
    test(`${name}: ${what}`, async (t) => body(await make(t), t));
  };
}

const A = { generation: 1, names: ["a"], nothing: null, umlaut: "ä\n" };
const B = { generation: 2 };
const C = { generation: 3 };
const OVERTAKEN = { code: "MR2021" };

export function stateContract(name: string, make: (t: TestContext) => Promise<StateUnderTest>): void {
  const contract = contractOf(name, make);
  trustClauses(contract);
  evidenceClauses(contract);
}

function trustClauses(contract: Contract<StateUnderTest>): void {
  contract("there is no trust before the first, which comes back as it was written", async ({ state, replica }) => {
    assert.equal(await state.trust.read(), undefined);
    const revision = await state.trust.write(A, undefined);
    assert.ok(Number.isSafeInteger(revision));
    for (const { trust } of [state, replica]) assert.deepEqual(await trust.read(), { revision, value: A });
  });

  contract("K1 a write goes by what it was computed from: else it conflicts, and nothing is written", async (under) => {
    const { state, replica } = under;
    const first = await state.trust.write(A, undefined);
    await assert.rejects(state.trust.write(B, undefined), OVERTAKEN, "there is one already");
    const second = await replica.trust.write(B, first);
    for (const old of [first, undefined]) await assert.rejects(state.trust.write(C, old), OVERTAKEN);
    await assert.rejects(state.trust.write(C, second + 1), OVERTAKEN, "what is still to come");
    for (const { trust } of [state, replica]) assert.deepEqual(await trust.read(), { revision: second, value: B });
  });

  contract("K1 nothing can be replaced where there is nothing", async ({ state }) => {
    await assert.rejects(state.trust.write(A, 1));
    assert.equal(await state.trust.read(), undefined);
  });

  contract("K1 of many writes at once from one revision, one is carried out", async ({ state, replica }) => {
    const first = await state.trust.write(A, undefined);
    const tries = [...Array(5).keys()].map((count) => state.trust.write({ count }, first));
    const outcomes = await Promise.allSettled(tries);
    const [won, ...others] = outcomes.flatMap((one) => (one.status === "fulfilled" ? [one.value] : []));
    assert.deepEqual(others, []);
    for (const one of outcomes) if (one.status === "rejected") assert.equal(one.reason.code, "MR2021");
    const count = outcomes.findIndex(({ status }) => status === "fulfilled");
    assert.deepEqual(await replica.trust.read(), { revision: won, value: { count } });
  });

  contract("revisions rise with every write, whoever makes it, also where the value stays", async (under) => {
    const { state, replica } = under;
    let revision = await state.trust.write(A, undefined);
    for (const { trust } of [state, replica, state, state, replica]) {
      const next = await trust.write(A, revision);
      assert.ok(next > revision);
      revision = next;
    }
  });

  for (const how of ["late", "early"] as const)
    contract(
      `a write that failed (${how}): a read says whether it was stored, and its revision is used up`,
      async (under) => {
        const { state, replica } = under;
        const first = await state.trust.write(A, undefined);
        under.failTrust(how);
        const { code } = await state.trust.write(B, first).then(
          () => assert.fail(),
          (error) => error,
        );
        assert.notEqual(code, "MR2021", "nobody came first");
        const found = (await state.trust.read()) ?? assert.fail();
        assert.deepEqual(found.value, how === "late" ? B : A);
        assert.equal(found.revision > first, how === "late");
        assert.deepEqual(await replica.trust.read(), found);
        if (how === "late") await assert.rejects(state.trust.write(C, first), OVERTAKEN);
        const next = await state.trust.write(C, found.revision);
        assert.ok(next > found.revision && next > first + 1);
        assert.deepEqual(await replica.trust.read(), { revision: next, value: C });
      },
    );
}

function evidenceClauses(contract: Contract<StateUnderTest>): void {
  contract("rows come back by their key, the last of each; null removes one", async ({ state, replica }) => {
    assert.deepEqual(await state.evidence.read(), new Map());
    await state.evidence.write([
      { key: "p1", value: { mayRun: ["a"] } },
      { key: "p2", value: [1, null, "x"] },
      { key: "p1", value: { mayRun: ["b"] } },
      { key: "p3", value: "gone soon" },
    ]);
    await state.evidence.write([
      { key: "p3", value: null },
      { key: "never", value: null },
    ]);
    await state.evidence.write([]);
    const rows = new Map<string, unknown>([
      ["p1", { mayRun: ["b"] }],
      ["p2", [1, null, "x"]],
    ]);
    for (const { evidence } of [state, replica]) assert.deepEqual(await evidence.read(), rows);
  });

  contract("calls made at the same time keep their order, and all are durable", async ({ state, replica }) => {
    await state.trust.write(A, undefined);
    const calls = [...Array(20).keys()].map((value) =>
      state.evidence.write([
        { key: "same", value },
        { key: `p${value}`, value },
      ]),
    );
    await Promise.all(calls);
    const rows = await replica.evidence.read();
    assert.deepEqual([rows.get("same"), rows.size], [19, 21]);
  });

  contract("trust and rows are apart, and a probe leaves nothing of itself", async ({ state, replica }) => {
    const revision = await state.trust.write(A, undefined);
    await state.evidence.write([{ key: "p1", value: 1 }]);
    await state.evidence.probe?.();
    assert.deepEqual(await replica.trust.read(), { revision, value: A });
    assert.deepEqual(await replica.evidence.read(), new Map([["p1", 1]]));
  });
}

export function secretContract(name: string, make: (t: TestContext) => Promise<SecretsUnderTest>): void {
  const contract = contractOf(name, make);
  const ref = { name: "ca", namespace: "osm-system" };
  const secret = (text: string) => ({ ...ref, data: { "ca.crt": Buffer.from(text) } });

  contract("a secret comes back to the byte, with its labels, under its own name alone", async (under) => {
    const { secrets, replica } = under;
    assert.equal(await secrets.read(ref), undefined);
    const data = { "tls.key": Buffer.from([0, 255, 10, 13]), empty: Buffer.alloc(0) };
    await secrets.write({ ...ref, data, labels: { made: "here" } });
    await secrets.write({ ...ref, name: "other", data: { x: Buffer.from("y") } });
    for (const one of [secrets, replica]) {
      const found = (await one.read(ref)) ?? assert.fail();
      assert.deepEqual({ ...found.data }, data);
      assert.deepEqual({ ...found.labels }, { made: "here" });
    }
    assert.equal(await secrets.read({ ...ref, namespace: "another" }), undefined);
  });

  contract("who creates at the same time is given one and the same, which is stored", async ({ secrets, replica }) => {
    const racing = [secrets, replica, secrets, replica].map((one, index) => one.createOrLoad(secret(`of ${index}`)));
    const texts = (await Promise.all(racing)).map(({ data }) => String(data["ca.crt"]));
    assert.equal(new Set(texts).size, 1);
    assert.equal(String((await replica.read(ref))?.data["ca.crt"]), texts[0]);
    assert.equal(String((await replica.createOrLoad(secret("late"))).data["ca.crt"]), texts[0]);
  });

  contract("writing replaces, removing removes, also what is not there", async ({ secrets, replica }) => {
    await secrets.remove(ref);
    await secrets.write(secret("one"));
    await replica.write(secret("two"));
    assert.equal(String((await secrets.read(ref))?.data["ca.crt"]), "two");
    await secrets.remove(ref);
    await replica.remove(ref);
    assert.equal(await replica.read(ref), undefined);
  });
}

/** All parts. */
export function storeContract(name: string, make: (t: TestContext) => Promise<StoreUnderTest>): void {
  const led = async (t: TestContext) => {
    const under = await make(t);
    await under.store.leadership.take();
    return under;
  };
  stateContract(name, led);
  secretContract(name, async (t) => {
    const { store, other } = await led(t);
    return { secrets: store.secrets, replica: other.secrets };
  });
  const contract = contractOf(name, make);
  rootClauses(contract);
  watchClauses(contract);

  contract("one decides: another one is refused until it is over", async ({ store, other }) => {
    await store.leadership.take();
    await store.leadership.take();
    await assert.rejects(other.leadership.take(), { code: "MR2001" });
    await store.close();
    await other.leadership.take();
    await other.close();
  });

  contract("looking at a store makes none", async ({ store, other }) => {
    await assert.rejects(store.mustExist(), { code: "MR2002" });
    await store.trust.read();
    await assert.rejects(other.mustExist(), { code: "MR2002" });
    await store.rootEditing.edit(async () => undefined);
    await other.mustExist();
  });

  contract("the audit keeps what is said", async ({ store, audited }) => {
    store.audit.write({ action: "forget", reason: "drill" }, "an operator says so");
    assert.match(audited.join(), /forget.*drill.*an operator says so/);
  });
}

const roles = ({ roots }: RootListing) => roots.map(({ name, role }) => `${name} ${role}`).join(", ");
const [ACTIVE, PASSIVE] = [root("a", "active"), root("b", "passive")];

function rootClauses(contract: Contract<StoreUnderTest>): void {
  contract("roots are created, moved and removed by an editor, and every list holds all", async ({ store, other }) => {
    await store.rootEditing.edit(async (roots) => {
      assert.equal(roles(await roots.list()), "");
      await roots.create(PASSIVE);
      await roots.create(ACTIVE);
      await assert.rejects(roots.create(ACTIVE), { code: "MR1010" });
    });
    assert.deepEqual((await other.roots.list()).roots, [ACTIVE, PASSIVE]);
    await other.rootEditing.edit(async (roots) => {
      await roots.setRole(PASSIVE, "active", { forceUnsafe: "drill" });
      assert.equal((await roots.list()).roots[1]?.forceUnsafe, "drill");
      await roots.setRole(PASSIVE, "inactive");
      await roots.remove(ACTIVE);
      await assert.rejects(roots.remove(ACTIVE), { code: "MR1009" });
      await assert.rejects(roots.setRole(ACTIVE, "passive"), { code: "MR1009" });
    });
    const { roots, problems } = await store.roots.list();
    assert.deepEqual([roots, problems], [[{ ...PASSIVE, role: "inactive" }], []]);
  });

  contract("edits come one after the other, also after one that failed", async ({ store, other }) => {
    let inside = 0;
    const edit = (one: Store, fails: boolean) =>
      one.rootEditing.edit(async (roots) => {
        inside += 1;
        assert.equal(inside, 1);
        await roots.list();
        inside -= 1;
        if (fails) throw new Error("as it was asked to");
        return "done";
      });
    const edits = [edit(store, true), edit(other, false), edit(store, false), edit(other, true)];
    const outcomes = (await Promise.allSettled(edits)).map(({ status }) => status);
    assert.deepEqual(outcomes, ["rejected", "fulfilled", "fulfilled", "rejected"]);
  });
}

function watchClauses(contract: Contract<StoreUnderTest>): void {
  contract("a watch hands over the complete list, at once and after every change", async (under, t) => {
    const { store, other } = under;
    await other.rootEditing.edit((roots) => roots.create(ACTIVE));
    const { seen, until } = await watched<RootListing>(t, store.roots.watch);
    assert.deepEqual(seen.map(roles), ["a active"], "before it resolves");
    await other.rootEditing.edit((roots) => roots.create(PASSIVE));
    await until((list) => roles(list) === "a active, b passive");
    await other.rootEditing.edit((roots) => roots.setRole(PASSIVE, "inactive"));
    await until((list) => roles(list) === "a active, b inactive");
    await other.rootEditing.edit((roots) => roots.remove(PASSIVE));
    await until((list) => roles(list) === "a active");
    under.pass();
    const last = await until((list) => list.provisional === undefined);
    assert.equal(roles(last), "a active", "in the end it is certain that one was deleted");
  });

  contract("services are read, and watched as roots are", async ({ store, setServices }, t) => {
    await store.rootEditing.edit(async () => undefined);
    assert.deepEqual(await store.services.read(), { services: new Map(), problems: [] });
    const identity = { serviceAccount: "cart", namespace: "shop" };
    const one: Services = new Map([["shop/cart", [identity]]]);
    await setServices(one);
    assert.deepEqual((await store.services.read()).services, one);
    const { seen, until } = await watched(t, store.services.watch);
    assert.deepEqual(
      seen.map(({ services }) => services),
      [one],
    );
    await setServices(new Map([...one, ["shop/till", [identity]]]));
    const { services } = await until((read) => read.services.size === 2);
    assert.deepEqual(services.get("shop/till"), [identity]);
  });
}

/** What is handed over, to be awaited: no test sleeps. */
async function watched<Value>(
  t: TestContext,
  watch: (onChange: (value: Value) => void) => Promise<{ close(): Promise<void> }>,
) {
  const seen: Value[] = [];
  const wake: (() => void)[] = [];
  const watching = await watch((value) => {
    seen.push(value);
    for (const resolve of wake.splice(0)) resolve();
  });
  t.after(() => watching.close());
  return {
    seen,
    async until(wanted: (value: Value) => boolean): Promise<Value> {
      for (;;) {
        const latest = seen.at(-1);
        if (latest !== undefined && wanted(latest)) return latest;
        await new Promise<void>((resolve) => wake.push(resolve));
      }
    },
  };
}
