/**
 * `meshroot/xds` without a mesh behind it: resources from memory under the type of secrets, so that they go over SDS and ADS
 * alike, with everything that the layer asks of a source written down.
 */

import type { TestContext } from "node:test";
import { encodeValidationContext, SECRET_TYPE_URL } from "../../src/secrets/secret-codec.ts";
import { type Packing, type ResourceSource, resourceMap, type StreamEvent, XdsServer } from "../../src/xds/index.ts";
import type { XdsServerDeps } from "../../src/xds/server.ts";
import { decodeAny } from "../../src/xds/wire.ts";
import { makeTestLeaf, makeTestRoot } from "./test-certificates.ts";
import { type ClientTls, type Response, type XdsTestClient, xdsClient } from "./xds-client.ts";

export const SERVER_NAME = "xds.example";
export const CLUSTER_TYPE_URL = "type.googleapis.com/envoy.config.cluster.v3.Cluster";

/** What a source was asked, by stream. */
export type Recorded = {
  opened: number;
  closed: number;
  /** Responses that were made: name and version of each resource, in order. */
  readonly sent: string[];
  readonly verdicts: string[];
  /** Tells every open session that an offer may have changed. */
  readonly changed: Set<() => void>;
};

export type GenericXds = {
  readonly server: XdsServer<string>;
  readonly port: number;
  readonly tls: ClientTls;
  readonly client: XdsTestClient;
  /** A client with a connection of its own, through `port` if given; closed by the test. */
  connect(port?: number): XdsTestClient;
  /** Names and versions; replaces what there was. `bytes` makes each resource this long. */
  set(versions: Readonly<Record<string, string>>): void;
  setClusters(versions: Readonly<Record<string, string>>): void;
  readonly recorded: Recorded;
  readonly events: StreamEvent[];
  /** Puts the server's clock forward (ms); its timer runs as it does. */
  shiftClock(ms: number): void;
};

export type GenericOptions = Partial<Omit<XdsServerDeps<string>, "sources" | "credentials">> & {
  readonly packing?: Packing;
  readonly wildcard?: boolean;
  /** About how many bytes each resource is long. */
  readonly resourceBytes?: number;
};

/** Stopped by the test. */
export async function startGenericXds(t: TestContext, options: GenericOptions = {}): Promise<GenericXds> {
  const { packing = "changed", wildcard = false, resourceBytes = 0, ...deps } = options;
  const root = await makeTestRoot("root");
  const leaf = await makeTestLeaf(root, { dns: [SERVER_NAME] });
  const own = await makeTestLeaf(root, { uris: ["spiffe://example/someone"] });
  const secrets = resourceMap({ typeUrl: SECRET_TYPE_URL, packing, wildcard });
  const clusters = resourceMap({ typeUrl: CLUSTER_TYPE_URL, packing: "full", wildcard: true });
  const recorded: Recorded = { opened: 0, closed: 0, sent: [], verdicts: [], changed: new Set() };
  const events: StreamEvent[] = [];
  let shiftMs = 0;
  const server = new XdsServer<string>({
    credentials: { certificatePem: leaf.certPem, privateKeyPem: leaf.keyPem, clientCaPem: root.certPem },
    identify: () => "someone",
    onEvent: (event) => void events.push(event),
    now: () => Date.now() + shiftMs,
    ...deps,
    sources: [recording(secrets, recorded), clusters],
  });
  const port = await server.listen("127.0.0.1", 0);
  const tls = { ca: root.certPem, certificate: own.certPem, key: own.keyPem, serverName: SERVER_NAME };
  const clients: XdsTestClient[] = [];
  const connect = (to = port) => {
    const client = xdsClient(to, tls);
    clients.push(client);
    return client;
  };
  t.after(async () => {
    for (const client of clients) client.close();
    await server.close();
  });
  const padding = "x".repeat(resourceBytes);
  return {
    server,
    port,
    tls,
    client: connect(),
    connect,
    recorded,
    events,
    set: (versions) =>
      secrets.set(
        resources(versions, (name, version) => {
          const secret = encodeValidationContext({ name, trustedCaPem: `${version}${padding}` });
          return Buffer.from(decodeAny(secret).value);
        }),
      ),
    setClusters: (versions) => clusters.set(resources(versions, (name, version) => Buffer.from(`${name} ${version}`))),
    shiftClock: (ms) => {
      shiftMs += ms;
    },
  };
}

function resources(versions: Readonly<Record<string, string>>, value: (name: string, version: string) => Buffer) {
  return new Map(
    Object.entries(versions).map(([name, version]) => [name, { version, value: value(name, version) }] as const),
  );
}

function recording(source: ResourceSource<unknown>, recorded: Recorded): ResourceSource<string> {
  return {
    ...source,
    open: (client, changed) => {
      const session = source.open(client, changed);
      recorded.opened += 1;
      recorded.changed.add(changed);
      return {
        ...session,
        sending: (nonce, items, version) => {
          recorded.sent.push(items.map(({ name, version }) => `${name} ${version}`).join(", "));
          return session.sending(nonce, items, version);
        },
        verdict: (nonce, name, version, verdict, message) => {
          recorded.verdicts.push(`${verdict} ${name} ${version}${message === undefined ? "" : `: ${message}`}`);
          session.verdict(nonce, name, version, verdict, message);
        },
        close: () => {
          recorded.closed += 1;
          recorded.changed.delete(changed);
          session.close();
        },
      };
    },
  };
}

/** `A 2, B 1, -C`: resources with their versions, and removals, in alphabetical order. */
export function contents({ resources: some, removed }: Response): string {
  return [...some.map(({ name, version }) => `${name} ${version}`), ...removed.map((name) => `-${name}`)]
    .sort()
    .join(", ");
}
