/** Where a secret of a bootstrap comes from: our xDS server in each of its four protocols, or files. */

/** sotw and delta: one stream per secret. ads and delta-ads: one stream for all. */
export type XdsVariant = "sotw" | "delta" | "ads" | "delta-ads";
export const XDS_VARIANTS = ["sotw", "delta", "ads", "delta-ads"] as const satisfies readonly XdsVariant[];

/** A piece of Envoy configuration, named as in its v3 protos. */
export type Json = string | number | boolean | readonly Json[] | { readonly [field: string]: Json };

export const XDS_CLUSTER = "meshroot_xds";

const TLS = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3";

export function tlsSocket(kind: "UpstreamTlsContext" | "DownstreamTlsContext", context: Record<string, Json>): Json {
  return { name: "envoy.transport_sockets.tls", typed_config: { "@type": `${TLS}.${kind}`, ...context } };
}

/**
 * ConfigSource for a secret served by the xDS cluster. `waitForEver` turns off Envoy's initial_fetch_timeout (15 s), after
 * which a listener would open without a certificate and reset every connection.
 */
export function xdsSource(variant: XdsVariant, waitForEver: boolean): Json {
  return {
    resource_api_version: "V3",
    ...(waitForEver ? { initial_fetch_timeout: "0s" } : {}),
    ...(isAggregated(variant) ? { ads: {} } : { api_config_source: apiConfigSource(variant) }),
  };
}

export function isAggregated(variant: XdsVariant): boolean {
  return variant === "ads" || variant === "delta-ads";
}

/** Envoy's own defaults for the back-off, written out: E6 and E14 rely on its 30 s. */
export function apiConfigSource(variant: XdsVariant): Json {
  return {
    api_type: variant === "sotw" || variant === "ads" ? "GRPC" : "DELTA_GRPC",
    transport_api_version: "V3",
    set_node_on_first_message_only: true,
    grpc_services: [
      {
        envoy_grpc: {
          cluster_name: XDS_CLUSTER,
          retry_policy: { retry_back_off: { base_interval: "0.5s", max_interval: "30s" } },
        },
      },
    ],
  };
}

export function fileSource(path: string): Json {
  return { resource_api_version: "V3", path_config_source: { path } };
}

/** Content of a file for `cds_config`, as data. */
export function clustersFile(clusters: readonly Record<string, Json>[]): Json {
  const type = "type.googleapis.com/envoy.config.cluster.v3.Cluster";
  return { resources: clusters.map((cluster) => ({ "@type": type, ...cluster })) };
}

/** Content of `tls_sds.yaml`, as data: a secret whose files Envoy reads again whenever something moves into `certDir`. */
export function tlsCertificateFile(secretName: string, certDir: string): Json {
  return {
    resources: [
      {
        "@type": `${TLS}.Secret`,
        name: secretName,
        tls_certificate: {
          certificate_chain: { filename: `${certDir}/tls.crt` },
          private_key: { filename: `${certDir}/tls.key` },
          watched_directory: { path: certDir },
        },
      },
    ],
  };
}

/** Content of `validation_context_sds.yaml`, as data. */
export function validationContextFile(secretName: string, certDir: string): Json {
  return {
    resources: [
      {
        "@type": `${TLS}.Secret`,
        name: secretName,
        validation_context: {
          trusted_ca: { filename: `${certDir}/ca.crt` },
          watched_directory: { path: certDir },
        },
      },
    ],
  };
}
