/** The folder of a proxy whose Envoy a test plays, and a server that does as it is told. */

import { readFile } from "node:fs/promises";
import { join } from "node:path";
import type { TestContext } from "node:test";
import { proxyUri } from "../../src/core/identity.ts";
import { agentFolder, runAgent, type TestAgent } from "./agent.ts";
import { startFakeAdmin } from "./fake-admin.ts";
import { SERVER_NAME, startScriptedXds } from "./scripted-xds.ts";
import { makeTestLeaf, makeTestRoot, type TestRoot } from "./test-certificates.ts";

export const IDENTITY = {
  serviceAccount: "cart",
  namespace: "shop",
  kind: "sidecar",
  trustDomain: "cluster.local",
  uuid: "5f0c2a3e-0b1d-4c6f-9a7e-0123456789ab",
} as const;

export const xdsLeaf = (root: TestRoot, more: { uuid?: string; serviceAccount?: string; namespace?: string } = {}) =>
  makeTestLeaf(root, { uris: [proxyUri({ ...IDENTITY, ...more })] });

/**
 * An agent that waits shortly for what it can only wait for: a played Envoy reads no set half and half, and does nothing late
 * that it was not told to.
 */
export function runImpatientAgent(t: TestContext, options: Parameters<typeof runAgent>[1]): Promise<TestAgent> {
  const waits = { standsAfterMs: 100, pollMs: 100, silentMs: 1_000, refusedAfterMs: 200 };
  return runAgent(t, { waits, ...options });
}

/** `credentials`: as the bootstrap wrote them, under `root`. */
export async function prepare(t: TestContext) {
  const root = await makeTestRoot("first");
  const first = await xdsLeaf(root);
  const xds = await startScriptedXds(t, root);
  let dir = "";
  const admin = await startFakeAdmin(t, () => join(dir, "certs"));
  const credentials = {
    proxy: IDENTITY,
    certPem: first.certPem,
    keyPem: first.keyPem,
    caPem: root.certPem,
    notAfter: "",
    xdsPort: xds.port,
    serverName: SERVER_NAME,
  };
  dir = await agentFolder(t, { credentials, admin: admin.address });
  const file = (name: string) => readFile(join(dir, "certs", name), "utf8");
  return { root, first, xds, admin, dir, file, credentials };
}
