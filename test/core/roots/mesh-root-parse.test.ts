import assert from "node:assert/strict";
import { test } from "node:test";
import { type MeshRoot, ROLES } from "../../../src/core/roots/mesh-root.ts";
import { meshRootManifest } from "../../../src/core/roots/mesh-root-manifest.ts";
import { parseMeshRoot } from "../../../src/core/roots/mesh-root-parse.ts";
import fc from "../../support/property.ts";

const OPTIONS = { createdAt: 7000, defaultNamespace: "osm-system" };
const PROVIDERS = {
  tresor: { ca: { secretRef: { name: "osm-ca-bundle", namespace: "osm-system" } } },
  vault: {
    host: "vault.osm-system.svc.cluster.local",
    port: 8200,
    protocol: "http",
    role: "openservicemesh",
    token: { secretKeyRef: { key: "osm-key", name: "osm-vault-token", namespace: "osm-system" } },
  },
  certManager: { issuerName: "osm-ca", issuerKind: "Issuer", issuerGroup: "cert-manager.io" },
};

function object(spec: object, metadata: object = {}) {
  return {
    apiVersion: "config.openservicemesh.io/v1alpha2",
    kind: "MeshRootCertificate",
    metadata: { name: "osm-mesh-root-certificate", namespace: "osm-system", ...metadata },
    spec: { role: "active", provider: { tresor: PROVIDERS.tresor }, ...spec },
  };
}

function parsed(value: unknown): MeshRoot {
  const result = parseMeshRoot(value, OPTIONS);
  assert.ok("root" in result, JSON.stringify(result));
  return result.root;
}

function problems(value: unknown): string[] {
  const result = parseMeshRoot(value, OPTIONS);
  assert.ok("problems" in result, "expected problems");
  for (const problem of result.problems) assert.notEqual(problem.hint, "");
  return result.problems.map((problem) => `${problem.code} ${problem.message}`);
}

test("reads the seed's manifest", () => {
  assert.deepEqual(parsed(object({ spiffeEnabled: false, trustDomain: "cluster.local" })), {
    name: "osm-mesh-root-certificate",
    namespace: "osm-system",
    role: "active",
    trustDomain: "cluster.local",
    spiffeEnabled: false,
    provider: { kind: "tresor", secretRef: { name: "osm-ca-bundle", namespace: "osm-system" } },
    createdAt: 7000,
  });
});

test("reads Vault and cert-manager", () => {
  const { token, ...vault } = PROVIDERS.vault;
  assert.deepEqual(parsed(object({ provider: { vault: PROVIDERS.vault } })).provider, {
    kind: "vault",
    ...vault,
    tokenSecretKeyRef: token.secretKeyRef,
  });
  assert.deepEqual(parsed(object({ provider: { certManager: PROVIDERS.certManager } })).provider, {
    kind: "certManager",
    ...PROVIDERS.certManager,
  });
});

test("fills in OSM's defaults and leaves what belongs to Kubernetes alone", () => {
  const { metadata, ...rest } = object({});
  const root = parsed({
    ...rest,
    metadata: { name: metadata.name, uid: "x", labels: { a: "b" } },
    status: { state: "ready" },
  });
  assert.equal(root.namespace, "osm-system");
  assert.equal(root.trustDomain, "cluster.local");
  assert.equal(root.spiffeEnabled, false);
});

test("takes the creation time from the object if it has one", () => {
  assert.equal(parsed(object({}, { creationTimestamp: "2026-01-01T00:00:00Z" })).createdAt, 1_767_225_600_000);
  assert.equal(parsed(object({}, { creationTimestamp: null })).createdAt, 7000);
  assert.match(problems(object({}, { creationTimestamp: "yesterday" }))[0] ?? "", /^MR1003 metadata.creationTimestamp/);
});

test("reads the reason of a force-unsafe, and refuses one without", () => {
  const force = (reason: unknown) => object({}, { annotations: { "meshroot.dev/force-unsafe": reason } });
  assert.equal(parsed(force("key stolen")).forceUnsafe, "key stolen");
  assert.equal("forceUnsafe" in parsed(object({})), false);
  assert.match(problems(force(" "))[0] ?? "", /^MR1003 metadata.annotations/);
  assert.match(problems(force(true))[0] ?? "", /^MR1003/);
});

test("answers the seed's cert-manager example with the right spelling, once per field", () => {
  const certManager = { IssuerName: "<name>,", IssuerKind: "Issuer", IssuerGroup: "cert-manager.io" };
  const result = parseMeshRoot(object({ provider: { certManager } }), OPTIONS);
  assert.ok("problems" in result);
  assert.deepEqual(
    result.problems.map((problem) => problem.message),
    ["Name", "Kind", "Group"].map(
      (word) => `spec.provider.certManager: unknown field Issuer${word}, did you mean issuer${word}?`,
    ),
  );
  assert.match(result.problems[0]?.hint ?? "", /no comma/);
});

test("names a comma that was pasted behind a value", () => {
  const result = parseMeshRoot(
    object({ provider: { certManager: { ...PROVIDERS.certManager, issuerName: "osm-ca," } } }),
    OPTIONS,
  );
  assert.ok("problems" in result);
  assert.equal(result.problems[0]?.code, "MR1003");
  assert.match(result.problems[0]?.hint ?? "", /no comma at the end of a line/);
});

test("says what is wrong with each field", () => {
  const vault = (change: object) => object({ provider: { vault: { ...PROVIDERS.vault, ...change } } });
  const rows: [unknown, RegExp][] = [
    [undefined, /^MR1001 not a MeshRootCertificate/],
    [[], /^MR1001/],
    [null, /^MR1001.*empty/],
    [{ ...object({}), kind: "Secret" }, /^MR1001.*kind Secret/],
    [{ ...object({}), apiVersion: "config.openservicemesh.io/v1alpha1" }, /^MR1001.*v1alpha1/],
    [{ ...object({}), data: {} }, /^MR1002 unknown field data$/],
    [{ ...object({}), metadata: undefined }, /^MR1003 metadata: is missing/],
    [{ ...object({}), spec: undefined }, /^MR1003 spec: is missing/],
    [{ ...object({}), spec: "active" }, /^MR1003 spec: "active" is not an object/],
    [object({}, { name: undefined }), /^MR1003 metadata.name: is missing/],
    [object({}, { name: "../etc" }), /^MR1003 metadata.name: "..\/etc" is not a DNS name/],
    [object({}, { namespace: "a.b" }), /^MR1003 metadata.namespace/],
    [object({ role: undefined }), /^MR1003 spec.role: is missing/],
    [object({ role: "Active" }), /^MR1003 spec.role: "Active" is not one of active, passive, inactive/],
    [object({ trustDomain: "" }), /^MR1003 spec.trustDomain/],
    [object({ trustDomain: "Cluster.Local" }), /^MR1003 spec.trustDomain/],
    [object({ spiffeEnabled: "false" }), /^MR1003 spec.spiffeEnabled: "false" is not true or false/],
    [object({ provider: undefined }), /^MR1003 spec.provider: is missing/],
    [object({ provider: {} }), /^MR1004 spec.provider: no provider/],
    [object({ provider: PROVIDERS }), /^MR1004 spec.provider: 3 providers \(tresor, vault, certManager\)/],
    [
      object({ provider: { Tresor: PROVIDERS.tresor } }),
      /^MR1002 spec.provider: unknown field Tresor, did you mean tresor\?/,
    ],
    [object({ provider: { tresor: {} } }), /^MR1003 spec.provider.tresor.ca: is missing/],
    [object({ provider: { tresor: { ca: { secretRef: { name: "a" } } } } }), /secretRef.namespace: is missing/],
    [vault({ port: 0 }), /^MR1003 spec.provider.vault.port: 0 is not a whole number from 1 to 65535/],
    [vault({ port: 65_536 }), /vault.port/],
    [vault({ port: "8200" }), /vault.port: "8200"/],
    [vault({ port: 8200.5 }), /vault.port/],
    [vault({ protocol: "tcp" }), /vault.protocol: "tcp" is not one of http, https/],
    [vault({ role: "" }), /vault.role/],
    [vault({ token: undefined }), /vault.token: is missing/],
    [object({ provider: { certManager: { ...PROVIDERS.certManager, issuerKind: "issuer" } } }), /issuerKind/],
  ];
  for (const [value, expected] of rows) {
    const found = problems(value);
    assert.equal(found.length, 1, found.join("\n"));
    assert.match(found[0] ?? "", expected);
  }
});

test("reports every problem of an object at once", () => {
  assert.equal(problems(object({ role: "x", trustDomain: "y z", spiffe: true }, { name: "Z" })).length, 4);
});

const label = fc.stringMatching(/^[a-z0-9]([-a-z0-9]{0,10}[a-z0-9])?$/);
const dnsName = fc.array(label, { minLength: 1, maxLength: 3 }).map((labels) => labels.join("."));
const secretRef = fc.record({ name: dnsName, namespace: label });
const anyRoot: fc.Arbitrary<MeshRoot> = fc.record(
  {
    name: dnsName,
    namespace: label,
    role: fc.constantFrom(...ROLES),
    trustDomain: dnsName,
    spiffeEnabled: fc.boolean(),
    createdAt: fc.integer({ min: 0, max: 4_000_000_000_000 }),
    forceUnsafe: fc.string({ minLength: 1 }).filter((text) => text.trim() !== ""),
    provider: fc.oneof(
      secretRef.map((ref) => ({ kind: "tresor" as const, secretRef: ref })),
      fc.record({
        kind: fc.constant("vault" as const),
        host: dnsName,
        port: fc.integer({ min: 1, max: 65_535 }),
        protocol: fc.constantFrom("http" as const, "https" as const),
        role: label,
        tokenSecretKeyRef: fc.record({ name: dnsName, namespace: label, key: label }),
      }),
      fc.record({
        kind: fc.constant("certManager" as const),
        issuerName: dnsName,
        issuerKind: fc.constantFrom("Issuer" as const, "ClusterIssuer" as const),
        issuerGroup: dnsName,
      }),
    ),
  },
  {
    requiredKeys: ["name", "namespace", "role", "trustDomain", "spiffeEnabled", "createdAt", "provider"],
    noNullPrototype: true,
  },
);

test("reads back every manifest that it writes", () => {
  fc.assert(fc.property(anyRoot, (root) => assert.deepEqual(parsed(meshRootManifest(root)), structuredClone(root))));
});

test("never throws, whatever the object", () => {
  const spec = fc.dictionary(fc.constantFrom("role", "provider", "trustDomain", "spiffeEnabled", "x"), fc.anything());
  fc.assert(
    fc.property(fc.oneof(fc.anything(), spec.map(object)), (value) => {
      const result = parseMeshRoot(value, OPTIONS);
      assert.ok("root" in result || result.problems.length > 0);
    }),
  );
});

/** Each problem with its hint. */
function answers(value: unknown): string[] {
  const result = parseMeshRoot(value, OPTIONS);
  assert.ok("problems" in result, "expected problems");
  return result.problems.map(({ code, message, hint }) => `${code} ${message} | ${hint}`);
}

test("B5: intent, as OSM called the role for a while, is answered with what to write, once", () => {
  const noRole = { role: undefined };
  const osm = "OSM called it intent for a while.";
  for (const [word, role] of [
    ["passive", "passive"],
    ["Passive", "passive"],
    ["ActiveIntent", "active"],
    ["deactive", "inactive"],
    ["deactivate", "inactive"],
    ["pasive", "passive"],
    ["something", "active | passive | inactive"],
  ]) {
    assert.deepEqual(answers(object({ ...noRole, intent: word })), [
      `MR1002 spec: unknown field intent | Write \`role: ${role}\` under spec. ${osm}`,
    ]);
    assert.deepEqual(answers({ ...object(noRole), intent: word }), [
      `MR1002 unknown field intent | Write \`role: ${role}\` under spec. ${osm}`,
    ]);
  }
  for (const field of ["Intent", "rotationStage", "stage", "state"])
    assert.match(
      answers(object({ ...noRole, [field]: "issuing" })).join(),
      /^MR1002 [^|]*\| Write `role: active` under/,
    );
  assert.deepEqual(answers(object({ role: "active", intent: "passive" })), [
    `MR1002 spec: unknown field intent | Remove \`intent\`: \`role\` under spec says it. ${osm}`,
  ]);
});

test("B5: fields one level too high, and words for a role, are answered with what to write", () => {
  assert.match(
    answers({ ...object({ role: undefined }), role: "passive" }).join(),
    /Write `role: passive` under spec\.$/,
  );
  assert.match(answers({ ...object({}), trustDomain: "a.b" }).join(), /\| Move `trustDomain` under spec\.$/);
  assert.match(answers({ ...object({}), name: "a" }).join(), /\| Move `name` under metadata\.$/);
  const flat = answers(object({ provider: undefined, tresor: PROVIDERS.tresor }));
  assert.deepEqual(flat, ["MR1002 spec: unknown field tresor | Move `tresor` into provider: `provider: {tresor: …}`."]);
  for (const [word, role] of [
    ["Active", "active"],
    ["PASSIVE", "passive"],
    ["validating", "passive"],
    ["issuing", "active"],
    ["unused", "inactive"],
    ["deactive", "inactive"],
    ["in-active", "inactive"],
    ["passive,", "passive"],
  ])
    assert.match(
      answers(object({ role: word })).join(),
      new RegExp(`^MR1003 [^|]*did you mean ${role}\\? \\| Write \`role: ${role}\``),
    );
  assert.match(answers(object({ role: true })).join(), /true is not one of/);
  assert.match(answers(object({}, { name: 123 })).join(), /If it is meant as a text: "123"\.$/);
});
