/** The proof of a root: what has to pass, what has to be refused, and in which words. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { ERROR_CODES } from "../../src/core/errors.ts";
import { distinctRoots } from "../../src/pki/distinct-roots.ts";
import { createRootProver } from "../../src/pki/prove-root.ts";
import { authorityOf, CA, type OddRoot, oddRoot, SKI } from "../support/odd-roots.ts";
import { GOOD_ROOTS, REFUSED_BY_ENVOY, REFUSED_BY_OPENSSL } from "../support/root-table.ts";

const prover = createRootProver({ serverNames: ["xds.meshroot.internal", "localhost"], now: Date.now });
const CART = { serviceAccount: "cart", namespace: "shop" };

function prove(root: OddRoot, identities = [CART], spiffe = false) {
  const form = { trustDomain: "cluster.local", spiffe };
  const { certificatePem, issue } = authorityOf(root);
  return prover.prove(certificatePem, issue, { form, identities });
}

for (const [name, make] of Object.entries(GOOD_ROOTS))
  test(`A good: ${name}`, async () => {
    const root = make();
    for (const identities of [[CART], []])
      for (const spiffe of [false, true]) {
        const { problem, complete, carried } = await prove(root, identities, spiffe);
        assert.deepEqual([problem, complete, carried], [undefined, true, identities]);
      }
  });

for (const [name, { make, code, message }] of Object.entries({ ...REFUSED_BY_OPENSSL, ...REFUSED_BY_ENVOY }))
  test(`A refused: ${name}`, async () => {
    const { problem, carried } = await prove(make());
    assert.equal(problem?.code, code);
    assert.ok(problem.code in ERROR_CODES);
    assert.match(problem.message, message);
    assert.match(problem.hint, /^[`A-Z].*docs\/roots\.md has the command lines that make a good root\.$/);
    assert.deepEqual(carried, []);
  });

const names = (count: number, namespace: string) =>
  Array.from({ length: count }, (_, index) => ({ serviceAccount: `s${index}`, namespace }));

test("A2: of many identities the one outside the constraints is named, and the others before it are carried", async () => {
  const root = oddRoot({ extensions: [...CA, SKI, "nameConstraints=critical,excluded;DNS:odd.cluster.local"] });
  const { problem, carried, any } = await prove(root, [...names(70, "shop"), { ...CART, namespace: "odd" }]);
  assert.deepEqual([problem?.code, any], ["MR3007", false]);
  assert.match(problem?.message ?? "", /certificate of cart\.odd \(cart\.odd\.cluster\.local\) .*excluded DNS odd/);
  assert.equal(carried.length, 70);
});

test("a root that constrains no names is proven with some of them, for all", async () => {
  const { carried, any, problem } = await prove(oddRoot(), names(60, "shop"));
  assert.deepEqual([carried.length, any, problem], [50, true, undefined]);
});

test("constraints on part of the trust domain are no trouble while no identity is known", async () => {
  const permitted = ["shop.cluster.local", "xds.meshroot.internal", "localhost"].map((name) => `permitted;DNS:${name}`);
  const root = oddRoot({ extensions: [...CA, SKI, `nameConstraints=critical,${permitted.join(",")}`] });
  assert.equal((await prove(root, [])).problem, undefined);
  assert.equal((await prove(root)).problem, undefined);
  const { problem } = await prove(root, [{ ...CART, namespace: "bank" }]);
  assert.match(problem?.message ?? "", /cart\.bank/);
});

test("a root that is not valid now can't be tried: neither proven nor refused", async () => {
  const later = createRootProver({ serverNames: ["localhost"], now: () => Date.now() + 4_000 * 86_400_000 });
  const form = { trustDomain: "cluster.local", spiffe: false };
  const { certificatePem, issue } = authorityOf(oddRoot());
  const verdict = await later.prove(certificatePem, issue, { form, identities: [CART] });
  assert.deepEqual(verdict, { carried: [], any: false, complete: false });
});

const apart = (a: OddRoot, b: OddRoot) => distinctRoots({ ...a, name: "a" }, { ...b, name: "b" }, Date.now());

test("A3: two keys under one subject without key ids: a verifier can't tell the roots apart", async () => {
  const twin = (extension: string, subject = "/O=Mesh/CN=ca") => oddRoot({ subject, extensions: [...CA, extension] });
  const bare = twin("subjectKeyIdentifier=none");
  for (const other of [
    twin("subjectKeyIdentifier=none"),
    twin(SKI),
    // Verifiers compare names without regard to case and spaces.
    twin("subjectKeyIdentifier=none", "/O=MESH/CN=ca"),
    twin("subjectKeyIdentifier=none", "/O=Mesh /CN= ca"),
  ])
    for (const pair of [apart(bare, other), apart(other, bare)]) {
      const problem = await pair;
      assert.equal(problem?.code, "MR1013");
      assert.match(problem.message, /^root a has the subject of root b \(O=.*can't tell it from b/);
    }
  const equal = twin("subjectKeyIdentifier=0102");
  assert.match((await apart(equal, twin("subjectKeyIdentifier=0102")))?.message ?? "", /same subject key id/);
  assert.equal(await apart(twin(SKI), twin(SKI)), undefined, "as two Tresor roots: their key ids differ");
  assert.equal(await apart(bare, twin("subjectKeyIdentifier=none", "/CN=other")), undefined);
  assert.equal(await apart(bare, bare), undefined, "one CA of two MRCs");
});

test("A4: one key under one subject twice is no trouble: either verifies", async () => {
  const first = oddRoot({ serial: "15" });
  const later = Date.now() + 4_000 * 86_400_000;
  const again = { ...oddRoot({ serial: "17", keyPem: first.keyPem, more: ["-days", "4500"] }), name: "again" };
  const expired = await distinctRoots({ ...first, name: "first" }, again, later);
  assert.match(expired?.message ?? "", /^root first has the key of root again and has expired/);
  assert.equal(await apart(first, oddRoot({ serial: "16", keyPem: first.keyPem })), undefined);
  const [a, b] = [first, oddRoot({ serial: "16", keyPem: first.keyPem })].map(authorityOf);
  assert.equal(a?.issuerId, b?.issuerId);
  assert.notEqual(a?.issuerId, authorityOf(oddRoot()).issuerId);
});

test("A5: one serial number and one validity: /certs can't tell the roots apart", async () => {
  const make = (subject: string) => oddRoot({ subject, serial: "1" });
  const [a, b] = await sameSecond(() => [make("/CN=one"), make("/CN=two")]);
  const problem = await apart(a, b);
  assert.equal(problem?.code, "MR1013");
  assert.match(problem.message, /^root a has the serial number \(1\) and the validity of root b/);
  assert.equal(await apart(a, oddRoot({ subject: "/CN=two", serial: "2" })), undefined);
});

test("A5: one serial number and another end: /certs tells the roots apart", async () => {
  const make = (subject: string, days: string) => oddRoot({ subject, serial: "1", more: ["-days", days] });
  const [a, b] = await sameSecond(() => [make("/CN=one", "3000"), make("/CN=two", "3001")]);
  assert.equal(await apart(a, b), undefined);
});

/** Certificates that begin in the same second, as a script makes them. */
async function sameSecond(make: () => [OddRoot, OddRoot]): Promise<[OddRoot, OddRoot]> {
  for (;;) {
    const pair = make();
    const [a, b] = pair.map(authorityOf);
    if (a?.notBefore === b?.notBefore) return pair;
  }
}
