/** Complete bootstraps (Envoy v3) for one proxy of the mesh. Pure: text in, text out. */

import { stringify } from "yaml";
import { identityName, isUuid, type ServiceIdentity } from "../core/identity.ts";
import {
  apiConfigSource,
  clustersFile,
  fileSource,
  isAggregated,
  type Json,
  tlsCertificateFile,
  tlsSocket,
  validationContextFile,
  XDS_CLUSTER,
  type XdsVariant,
  xdsSource,
} from "./secret-sources.ts";

export type Endpoint = { readonly host: string; readonly port: number };

export type Inbound = {
  /** Listens here for mTLS from other proxies. */
  readonly port: number;
  /** Default 0.0.0.0. */
  readonly host?: string;
  /** The application behind this proxy. */
  readonly app: Endpoint;
  /** Secret name of the bundle; default `root-cert-for-mtls-inbound`. */
  readonly bundleName?: string;
};

export type Outbound = {
  /** Names the listener and the cluster, and their statistics. */
  readonly name: string;
  /** The application connects to 127.0.0.1 here. */
  readonly listenPort: number;
  /** The other proxy's inbound listener. */
  readonly peer: Endpoint;
  /** `namespace/service`, whose identities the peer may have. */
  readonly service: string;
  /** Secret name of the bundle; default `root-cert-for-mtls-outbound:<service>`. */
  readonly bundleName?: string;
};

export type BootstrapOptions = {
  readonly nodeId: string;
  readonly cluster: string;
  readonly identity: ServiceIdentity;
  /** `serverName` is the DNS SAN that the server's certificate has to carry. */
  readonly xds: Endpoint & { readonly serverName: string };
  readonly variant: XdsVariant;
  /** Directory of `tls_sds.yaml` and `validation_context_sds.yaml`. */
  readonly configDir: string;
  /** Directory that `writeCredentials` keeps; the two files point at it. */
  readonly certDir: string;
  /** Default 127.0.0.1:0, where Envoy takes any free port. */
  readonly admin?: Endpoint;
  readonly inbound?: Inbound;
  readonly outbound?: readonly Outbound[];
  /** Of every cluster; default 1000. The mesh's `settle` (E11) must not be less. */
  readonly connectTimeoutMs?: number;
  /** Secret name of the leaf; default `service-cert:<ns>/<sa>`. */
  readonly leafName?: string;
};

/** Envoy reads YAML 1.1: a plain `y`, `on` or `0777` is no text there. */
const YAML = { aliasDuplicateObjects: false, schema: "yaml-1.1", lineWidth: 0 } as const;
const DEFAULT_CONNECT_TIMEOUT_MS = 1_000;
const TLS_SDS_FILE = "tls_sds.yaml";
const VALIDATION_CONTEXT_SDS_FILE = "validation_context_sds.yaml";
const BOOTSTRAP_FILE = "bootstrap.yaml";
const CLUSTERS_FILE = "clusters.yaml";

/** The files of a proxy, by name; all belong in `configDir`. */
export function renderProxyFiles(options: BootstrapOptions): Readonly<Record<string, string>> {
  return {
    [BOOTSTRAP_FILE]: renderBootstrap(options),
    ...(hasClustersFile(options) ? { [CLUSTERS_FILE]: renderClusters(options) } : {}),
    [TLS_SDS_FILE]: renderTlsSds(options.certDir),
    [VALIDATION_CONTEXT_SDS_FILE]: renderValidationContextSds(options.certDir),
  };
}

export function renderBootstrap(options: BootstrapOptions): string {
  return stringify(buildBootstrap(options), YAML);
}

/** What `clusters.yaml` holds in the aggregated variants: the clusters of `outbound` (see `hasClustersFile`). */
function renderClusters(options: BootstrapOptions): string {
  const clusters = outboundClusters(options);
  return stringify(clustersFile(clusters), YAML);
}

/** OSM's file-based SDS resource `tls_sds`: the certificate and key that open the xDS port. */
function renderTlsSds(certDir: string): string {
  return stringify(tlsCertificateFile("tls_sds", certDir), YAML);
}

/** OSM's file-based SDS resource `validation_context_sds`: the roots that the xDS server may chain to. */
function renderValidationContextSds(certDir: string): string {
  return stringify(validationContextFile("validation_context_sds", certDir), YAML);
}

/** `renderBootstrap` before it becomes text. */
export function buildBootstrap(options: BootstrapOptions): Record<string, Json> {
  const { inbound, outbound = [] } = options;
  const apps = inbound === undefined ? [] : [plainCluster("app", inbound.app, options)];
  const listeners = outbound.map(outboundListener);
  if (inbound !== undefined) listeners.unshift(inboundListener(inbound, options));
  return {
    node: { id: options.nodeId, cluster: options.cluster },
    admin: { address: socketAddress(options.admin ?? { host: "127.0.0.1", port: 0 }) },
    ...(isAggregated(options.variant) ? { dynamic_resources: dynamicResources(options) } : {}),
    static_resources: {
      // Envoy looks up the xDS cluster while it reads the clusters whose secrets come from there: it stands first.
      clusters: [xdsCluster(options), ...apps, ...(hasClustersFile(options) ? [] : outboundClusters(options))],
      listeners,
    },
  };
}

function dynamicResources(options: BootstrapOptions): Json {
  const cds = hasClustersFile(options) ? { cds_config: fileSource(`${options.configDir}/${CLUSTERS_FILE}`) } : {};
  return { ads_config: apiConfigSource(options.variant), ...cds };
}

/**
 * V (1.36.4, 1.40.0): Envoy dies with SIGSEGV where a static cluster takes a secret over ADS, because it makes the ADS
 * stream only after it has made the static clusters. Clusters of a CDS file come later; static listeners do too.
 */
function hasClustersFile(options: BootstrapOptions): boolean {
  return isAggregated(options.variant) && (options.outbound ?? []).length > 0;
}

function xdsCluster(options: BootstrapOptions): Json {
  const { xds, configDir } = options;
  const http = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";
  const keepalive = { interval: "30s", timeout: "5s" };
  return {
    ...plainCluster(XDS_CLUSTER, xds, options),
    typed_extension_protocol_options: {
      [http]: {
        "@type": `type.googleapis.com/${http}`,
        explicit_http_config: { http2_protocol_options: { connection_keepalive: keepalive } },
      },
    },
    transport_socket: tlsSocket("UpstreamTlsContext", {
      sni: sniOf(options),
      // A resumed session would speak for the credential that it was made with, not for the renewed one.
      max_session_keys: 0,
      common_tls_context: {
        alpn_protocols: ["h2"],
        tls_certificate_sds_secret_configs: [
          { name: "tls_sds", sds_config: fileSource(`${configDir}/${TLS_SDS_FILE}`) },
        ],
        combined_validation_context: {
          default_validation_context: {
            match_typed_subject_alt_names: [{ san_type: "DNS", matcher: { exact: xds.serverName } }],
          },
          validation_context_sds_secret_config: {
            name: "validation_context_sds",
            sds_config: fileSource(`${configDir}/${VALIDATION_CONTEXT_SDS_FILE}`),
          },
        },
      },
    }),
  };
}

/**
 * With the proxy's own name in front, so that a server whose certificate it does not trust can still name it: the handshake
 * ends before it has shown its own. What the server's certificate has to carry is the plain name, in the matcher.
 */
function sniOf({ nodeId, identity, xds }: BootstrapOptions): string {
  return isUuid(nodeId) ? `${nodeId}.${identityName(identity)}.${xds.serverName}` : xds.serverName;
}

function inboundListener(inbound: Inbound, options: BootstrapOptions): Json {
  return {
    name: "inbound",
    address: socketAddress({ host: inbound.host ?? "0.0.0.0", port: inbound.port }),
    filter_chains: [
      {
        filters: [tcpProxy("inbound", "app")],
        transport_socket: tlsSocket("DownstreamTlsContext", {
          require_client_certificate: true,
          // A resumed session skips the check of the client's certificate: its root could be long gone.
          disable_stateless_session_resumption: true,
          disable_stateful_session_resumption: true,
          common_tls_context: {
            tls_certificate_sds_secret_configs: [leafConfig(options)],
            validation_context_sds_secret_config: {
              name: inboundBundleName(inbound),
              sds_config: xdsSource(options.variant, true),
            },
          },
        }),
      },
    ],
  };
}

function outboundListener(outbound: Outbound): Json {
  return {
    name: `outbound_${outbound.name}`,
    address: socketAddress({ host: "127.0.0.1", port: outbound.listenPort }),
    filter_chains: [{ filters: [tcpProxy(`outbound_${outbound.name}`, outbound.name)] }],
  };
}

function outboundClusters(options: BootstrapOptions): Record<string, Json>[] {
  return (options.outbound ?? []).map((entry) => outboundCluster(entry, options));
}

/** Behind a tcp_proxy each client connection gets an mTLS connection of its own: nothing is pooled. */
function outboundCluster(outbound: Outbound, options: BootstrapOptions): Record<string, Json> {
  const bundleName = outbound.bundleName ?? `root-cert-for-mtls-outbound:${outbound.service}`;
  const isInboundToo = options.inbound !== undefined && bundleName === inboundBundleName(options.inbound);
  return {
    ...plainCluster(outbound.name, outbound.peer, options),
    transport_socket: tlsSocket("UpstreamTlsContext", {
      max_session_keys: 0,
      common_tls_context: {
        tls_certificate_sds_secret_configs: [leafConfig(options)],
        // No default context beside it: Envoy would OR its SAN matchers with those of the bundle. A service that does not
        // exist yet must not keep Envoy from starting, so this one does not wait for ever.
        validation_context_sds_secret_config: {
          name: bundleName,
          sds_config: xdsSource(options.variant, isInboundToo),
        },
      },
    }),
  };
}

function inboundBundleName(inbound: Inbound): string {
  return inbound.bundleName ?? "root-cert-for-mtls-inbound";
}

/**
 * The same source for listener and clusters: a name from two sources is two streams for one secret (a hold after a minute),
 * and over ADS the second subscriber gets nothing, because Envoy already has what it asks for (V: a listener that never opens).
 */
function leafConfig(options: BootstrapOptions): Json {
  const { namespace, serviceAccount } = options.identity;
  const name = options.leafName ?? `service-cert:${namespace}/${serviceAccount}`;
  return { name, sds_config: xdsSource(options.variant, true) };
}

/** STRICT_DNS takes addresses too. Not STATIC, which makes the crash that `hasClustersFile` avoids certain (Envoy issue 15517). */
function plainCluster(name: string, endpoint: Endpoint, options: BootstrapOptions): Record<string, Json> {
  return {
    name,
    type: "STRICT_DNS",
    // Else "localhost" is ::1 first, where our server does not listen by default.
    dns_lookup_family: "V4_PREFERRED",
    connect_timeout: `${(options.connectTimeoutMs ?? DEFAULT_CONNECT_TIMEOUT_MS) / 1000}s`,
    load_assignment: {
      cluster_name: name,
      endpoints: [{ lb_endpoints: [{ endpoint: { address: socketAddress(endpoint) } }] }],
    },
  };
}

function tcpProxy(statPrefix: string, cluster: string): Json {
  const type = "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy";
  return {
    name: "envoy.filters.network.tcp_proxy",
    typed_config: { "@type": type, stat_prefix: statPrefix, cluster },
  };
}

function socketAddress({ host, port }: Endpoint): Json {
  return { socket_address: { address: host, port_value: port } };
}
