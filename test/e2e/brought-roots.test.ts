/** A mesh of real Envoys, under traffic, whose operator brings twelve roots one after the other: each is rotated to, or refused. */

import assert from "node:assert/strict";
import { join } from "node:path";
import { test } from "node:test";
import { privateKeyPem } from "../../src/pki/keys.ts";
import { createRootCa } from "../../src/pki/root-ca.ts";
import { secretFiles } from "../../src/stores/files/secret-files.ts";
import { A, type E2eMesh, startMesh } from "../support/e2e-mesh.ts";
import { envoyOrSkip } from "../support/envoy.ts";
import { CA, intermediate, type OddRoot, oddRoot } from "../support/odd-roots.ts";
import { GOOD_ROOTS, REFUSED_BY_ENVOY, REFUSED_BY_OPENSSL } from "../support/root-table.ts";

type Row = { readonly root: string; readonly result: string; readonly requests: number; readonly failed: number };

test("A1 to A6: twelve roots on real Envoys, refused or rotated to, and no request fails", async (t) => {
  const envoy = await envoyOrSkip(t);
  if (envoy === undefined) return;
  const settings = { settleMs: "1s" };
  const it = await startMesh(t, { envoy, names: ["cart", "pay"], variants: ["sotw"], agents: true, settings });
  it.startLoad();
  const twin = () =>
    oddRoot({ subject: "/O=Open Service Mesh/CN=ca", extensions: [...CA, "subjectKeyIdentifier=none"] });
  const reissued = oddRoot({ subject: "/CN=same key", serial: "15" });
  const made = (table: Readonly<Record<string, { make: () => OddRoot }>>, name: string) =>
    table[name]?.make() as OddRoot;
  const cases: readonly (readonly [name: string, root: OddRoot, refused?: string])[] = [
    ["eku-server-only", made(REFUSED_BY_OPENSSL, "eku-server-only"), "MR3006"],
    ["name-constraints", made(REFUSED_BY_ENVOY, "name-constraints"), "MR3007"],
    ["twin-a", twin()],
    ["twin-b", twin(), "MR1013"],
    ["intermediate", intermediate(oddRoot()), "MR3006"],
    ["critical-unknown", made(REFUSED_BY_OPENSSL, "an unknown critical extension"), "MR3006"],
    ["same-key-1", reissued],
    ["same-key-2", oddRoot({ subject: "/CN=same key", serial: "16", keyPem: reissued.keyPem })],
    ["serial-1-a", oddRoot({ subject: "/CN=serial one a", serial: "1" })],
    ["serial-1-b", oddRoot({ subject: "/CN=serial one b", serial: "1", more: ["-days", "3000"] })],
    ["ends-in-110-s", await shortLived(), "MR3008"],
    ["constrained", GOOD_ROOTS["constraints that permit this mesh"]?.() as OddRoot],
  ];
  const rows: Row[] = [];
  let signer = A;
  for (const [name, root, refused] of cases) {
    const before = it.load();
    await bring(it, name, root);
    await it.roots.create(name);
    if (refused === undefined) {
      await rotate(it, signer, name);
      signer = name;
    } else await refuse(it, signer, name, refused);
    await it.until("three more requests of each pair", () => it.load().requests >= before.requests + 6);
    const after = it.load();
    const failed = after.failures - before.failures;
    rows.push({ root: name, result: refused ?? "rotated", requests: after.requests - before.requests, failed });
  }
  await it.until("every former root is gone from the xDS port, too (A4)", ({ roots, holds }) => {
    const used = roots.filter(({ componentStatuses: parts }) =>
      Object.values(parts).some((state) => state !== "unused"),
    );
    return holds.length === 0 && used.map(({ name }) => name).join() === signer;
  });
  t.diagnostic(tableOf(rows));
  const { requests } = await it.endLoad();
  t.diagnostic(`${requests} requests, 0 failed`);
  assert.deepEqual(
    rows.map(({ failed }) => failed),
    cases.map(() => 0),
  );
});

async function bring(it: E2eMesh, name: string, root: OddRoot): Promise<void> {
  const data = { "ca.crt": Buffer.from(root.certificatePem), "private.key": Buffer.from(root.keyPem) };
  await secretFiles(join(it.dataDir, "secrets")).write({ name: `ca-${name}`, namespace: "osm-system", data });
}

async function rotate(it: E2eMesh, from: string, to: string): Promise<void> {
  await it.until(`${to} is trusted`, ({ trusted }) => trusted.join() === [from, to].join());
  await it.roots.setRole(to, "active");
  await it.roots.setRole(from, "passive");
  await it.until(`${to} signs`, ({ signer }) => signer === to);
  await it.roots.setRole(from, "inactive");
  await it.until(`${to} is alone`, ({ trusted, proxies }) => {
    const synced = proxies.every(({ sync, signedBy }) => sync === "SYNCED" && signedBy.join() === to);
    return trusted.join() === to && synced;
  });
}

async function refuse(it: E2eMesh, signer: string, name: string, code: string): Promise<void> {
  await it.until(`${name} is refused with ${code}`, ({ holds, trusted }) => {
    const held = holds.some(({ gate, message }) => gate === "roles" && message.startsWith(`${code} root ${name}`));
    return held && trusted.join() === signer;
  });
  await it.roots.remove(name);
  await it.until(`${name} is taken back`, ({ holds }) => holds.every(({ gate }) => gate !== "roles"));
}

async function shortLived(): Promise<OddRoot> {
  const { certificatePem, keyPair } = await createRootCa({
    ...{ organization: "Test", commonName: "short", algorithm: "ec-p256", now: Date.now(), validityMs: 110_000 },
  });
  return { certificatePem, keyPem: privateKeyPem(keyPair) };
}

function tableOf(rows: readonly Row[]): string {
  const cells = [["ROOT", "RESULT", "REQUESTS", "FAILED"], ...rows.map((row) => Object.values(row).map(String))];
  return cells.map(([root = "", ...more]) => root.padEnd(20) + more.map((cell) => cell.padEnd(10)).join("")).join("\n");
}
