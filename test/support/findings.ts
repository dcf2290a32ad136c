/** A real Envoy whose listeners and clusters take their secrets from a scripted server: what the findings are tested on. */

import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { TestContext } from "node:test";
import { stringify } from "yaml";
import { type EnvoyAdmin, envoyAdmin } from "../../src/envoy/admin.ts";
import type { EnvoyProcess } from "../../src/envoy/process.ts";
import { temporaryDirectory } from "./data-dir.ts";
import { eventually, runEnvoy } from "./envoy.ts";
import { type ScriptedSecrets, startScriptedSecrets, type Variant } from "./scripted-secrets.ts";

export type FindingsOptions = {
  readonly binary: string;
  readonly variant: Variant;
  /** A TLS listener that echoes for each: its secrets are `<pair>-leaf` and `<pair>-roots`, its statistics' prefix `<pair>`. */
  readonly pairs: readonly string[];
  /** A cluster `upstream` to this port, with `upstream-leaf` and `upstream-roots`, behind a listener `front` without TLS. */
  readonly upstreamPort?: number;
  /** Seconds; 0, the default, waits for ever. */
  readonly initFetchTimeout?: number;
};

export type Findings = {
  readonly xds: ScriptedSecrets;
  readonly envoy: EnvoyProcess;
  readonly admin: EnvoyAdmin;
  readonly logPath: string;
  port(listener: string): Promise<number>;
  /** One statistic by its whole name; undefined when Envoy does not have it. */
  stat(name: string): Promise<number | string | undefined>;
  /** `ssl_context_update_by_sds` of a pair's listener. */
  contextUpdates(pair: string): Promise<number>;
  /** Serials of leaf and first root of each context that `/certs` shows with both. */
  loaded(): Promise<readonly { readonly leaf: string; readonly root: string }[]>;
};

export async function startFindings(t: TestContext, options: FindingsOptions): Promise<Findings> {
  const dir = await temporaryDirectory(t);
  const xds = await startScriptedSecrets(t);
  const bootstrapPath = join(dir, "bootstrap.yaml");
  await writeFile(bootstrapPath, stringify(bootstrapOf(options, xds.port), { aliasDuplicateObjects: false }));
  const logPath = join(dir, "envoy.log");
  const envoy = await runEnvoy(t, { binary: options.binary, bootstrapPath, name: "findings", logPath });
  const admin = envoyAdmin(envoy.adminAddress);
  const stat = async (name: string) => (await admin.stats(`^${name.replaceAll(".", "\\.")}$`)).get(name);
  return {
    xds,
    envoy,
    admin,
    logPath,
    stat,
    async port(listener) {
      await eventually(`${listener} listens`, async () => (await admin.listeners()).has(listener));
      return Number((await admin.listeners()).get(listener)?.split(":").at(-1));
    },
    contextUpdates: async (pair) =>
      Number((await stat(`listener.${pair}.server_ssl_socket_factory.ssl_context_update_by_sds`)) ?? 0),
    loaded: async () =>
      (await admin.certs()).map(({ chain, trusted }) => ({
        leaf: chain[0]?.serial ?? "",
        root: trusted[0]?.serial ?? "",
      })),
  };
}

const TLS = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3";
const TCP_PROXY = "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy";
const ECHO = "type.googleapis.com/envoy.extensions.filters.network.echo.v3.Echo";
const HTTP_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";

function bootstrapOf({ variant, pairs, upstreamPort, initFetchTimeout = 0 }: FindingsOptions, xdsPort: number) {
  const isAds = variant === "ads" || variant === "deltaAds";
  const api = {
    api_type: variant === "delta" || variant === "deltaAds" ? "DELTA_GRPC" : "GRPC",
    transport_api_version: "V3",
    set_node_on_first_message_only: true,
    grpc_services: [{ envoy_grpc: { cluster_name: "xds" } }],
  };
  const sds_config = {
    resource_api_version: "V3",
    initial_fetch_timeout: `${initFetchTimeout}s`,
    ...(isAds ? { ads: {} } : { api_config_source: api }),
  };
  const context = (pair: string) => ({
    tls_certificate_sds_secret_configs: [{ name: `${pair}-leaf`, sds_config }],
    validation_context_sds_secret_config: { name: `${pair}-roots`, sds_config },
  });
  const tls = (type: string, rest: object) => ({
    name: "envoy.transport_sockets.tls",
    typed_config: { "@type": `${TLS}.${type}`, ...rest },
  });
  const listeners = pairs.map((pair) =>
    listener(pair, {
      filters: [{ name: "envoy.filters.network.echo", typed_config: { "@type": ECHO } }],
      transport_socket: tls("DownstreamTlsContext", {
        require_client_certificate: true,
        common_tls_context: context(pair),
      }),
    }),
  );
  const clusters: object[] = [
    {
      ...cluster("xds", xdsPort),
      typed_extension_protocol_options: {
        [HTTP_OPTIONS]: {
          "@type": `type.googleapis.com/${HTTP_OPTIONS}`,
          explicit_http_config: { http2_protocol_options: {} },
        },
      },
    },
  ];
  if (upstreamPort !== undefined) {
    const typed_config = { "@type": TCP_PROXY, stat_prefix: "front", cluster: "upstream" };
    listeners.push(listener("front", { filters: [{ name: "envoy.filters.network.tcp_proxy", typed_config }] }));
    const transport_socket = tls("UpstreamTlsContext", {
      sni: "upstream",
      common_tls_context: context("upstream"),
    });
    clusters.push({ ...cluster("upstream", upstreamPort), transport_socket });
  }
  return {
    node: { id: "findings", cluster: "findings" },
    admin: { address: socketAddress(0) },
    ...(isAds ? { dynamic_resources: { ads_config: api } } : {}),
    static_resources: { clusters, listeners },
  };
}

function listener(name: string, chain: object) {
  return { name, stat_prefix: name, address: socketAddress(0), filter_chains: [chain] };
}

function cluster(name: string, port: number) {
  return {
    name,
    type: "STATIC",
    connect_timeout: "5s",
    load_assignment: {
      cluster_name: name,
      endpoints: [{ lb_endpoints: [{ endpoint: { address: socketAddress(port) } }] }],
    },
  };
}

function socketAddress(port: number) {
  return { socket_address: { address: "127.0.0.1", port_value: port } };
}
