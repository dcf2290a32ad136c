/** What the conformance tests of delta xDS share: both services, a mesh with services to ask for, and responses in words. */

import assert from "node:assert/strict";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { TestContext } from "node:test";
import { startServer, type TestServer, until } from "./server.ts";
import type { Response, StreamOptions, XdsTestClient } from "./xds-client.ts";

export const DELTA_SERVICES = [
  { service: "DeltaSecrets", open: (client: XdsTestClient, options?: StreamOptions) => client.deltaSecrets(options) },
  {
    service: "DeltaAggregatedResources",
    open: (client: XdsTestClient, options?: StreamOptions) => client.deltaAds(options),
  },
] as const;

/** Names of bundles that come and go, and change, with a line of the services file. */
export const PAY = "root-cert-for-mtls-outbound:shop/pay";
export const TILL = "root-cert-for-mtls-outbound:shop/till";
/** Services behind PAY and TILL. */
export const BOTH = { "shop/pay": ["pay.shop"], "shop/till": ["till.shop"] };

export type Conformance = {
  readonly server: TestServer;
  readonly client: XdsTestClient;
  /** The same proxy on a connection of its own, to the server as it runs now. */
  connect(): XdsTestClient;
  readonly uuid: string;
  /** By service, the service accounts behind it; what is left out is gone. Resolves when the file is written. */
  setServices(services: Readonly<Record<string, readonly string[]>>): Promise<void>;
  /** Resolves when the server has taken at least this many messages of this kind, counted since its start. */
  counted(type: "request" | "response" | "ack" | "nack" | "resumed" | "superseded", atLeast: number): Promise<void>;
  /** What the server knows of the one proxy. */
  row(): ReturnType<TestServer["running"]["status"]>["proxies"][number] | undefined;
};

/** The standalone server and one proxy of it, `cart.shop`. */
export async function startConformance(
  t: TestContext,
  services: Readonly<Record<string, readonly string[]>> = {},
): Promise<Conformance> {
  const server = await startServer(t);
  const credentials = await server.credential("cart.shop");
  const setServices = (lines: Readonly<Record<string, readonly string[]>>) =>
    writeFile(
      join(server.config.dataDir, "services.yaml"),
      Object.entries(lines)
        .map(([name, accounts]) => `${name}: [${accounts.join(", ")}]\n`)
        .join("") || "{}\n",
    );
  if (Object.keys(services).length > 0) {
    // Read at the start, so that no test has to wait for the file to be noticed.
    await server.running.stop();
    await setServices(services);
    await server.start();
  }
  return {
    server,
    client: server.client(credentials),
    connect: () => server.client(credentials),
    uuid: credentials.proxy.uuid,
    setServices,
    counted: (type, atLeast) =>
      until(`${atLeast} messages: ${type}`, async () => (await messages(server, type)) >= atLeast),
    row: () => server.running.status().proxies.find(({ proxy }) => proxy === credentials.proxy.uuid),
  };
}

export async function messages(server: TestServer, type: string): Promise<number> {
  const { text } = await server.http("/metrics");
  return Number(new RegExp(`^meshroot_xds_messages_total\\{type="${type}"\\} (\\d+)$`, "m").exec(text)?.[1] ?? 0);
}

/** `ROOTCA`, or `-nobody` for a removal. */
export function said(response: Response): string {
  return [...response.resources.map(({ name }) => name), ...response.removed.map((name) => `-${name}`)].join(" ");
}

export function versionOf(response: Response): string {
  return response.resources[0]?.version ?? "";
}

/** E2: the first line of a bundle in unique bytes. */
export function bytesOf(response: Response): "plain" | "unique" {
  const [secret] = response.secrets;
  assert.ok(secret !== undefined && secret.kind !== "other");
  const pem = secret.kind === "validationContext" ? secret.trustedCaPem : secret.chainPem;
  if (/^meshroot [0-9a-f]{16}\n-----BEGIN/.test(pem)) return "unique";
  assert.match(pem, /^-----BEGIN/);
  return "plain";
}

/** R9, R10, R11, R50, R59: what holds for every response of a stream. */
export function assertDeltaForm(received: readonly Response[]): void {
  const nonces = received.map(({ nonce }) => nonce);
  assert.equal(new Set(nonces).size, nonces.length, "no nonce twice");
  for (const response of received) {
    const { nonce, typeUrl, resources, removed, secrets } = response;
    assert.notEqual(nonce, "");
    assert.ok(resources.length + removed.length > 0, "no response without a word");
    const names = [...resources.map(({ name }) => name), ...removed];
    assert.equal(new Set(names).size, names.length, `no name twice: ${said(response)}`);
    for (const [index, resource] of resources.entries()) {
      assert.notEqual(resource.version, "");
      assert.equal(resource.typeUrl, typeUrl);
      assert.equal(secrets[index]?.name, resource.name, "the name outside is the name inside");
    }
  }
}
