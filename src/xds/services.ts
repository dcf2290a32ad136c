/** The gRPC services of xDS as paths, with messages left as bytes. One type, one service; and ADS for all of them (R1). */

import type { MethodDefinition } from "@grpc/grpc-js";

/** A method whose requests and responses are the bytes on the wire. */
export type RawMethod = MethodDefinition<Buffer, Buffer>;

/** A push to thousands of proxies must not run every message through a generic encoder. */
export const AS_BYTES = {
  requestSerialize: same,
  requestDeserialize: same,
  responseSerialize: same,
  responseDeserialize: same,
} as const;

/** ADS has no `fetch`. */
export type DiscoveryService = {
  readonly name: string;
  readonly sotw: RawMethod;
  readonly delta: RawMethod;
  readonly fetch?: RawMethod;
};

const PREFIX = "type.googleapis.com/";

/** Envoy docs: xDS protocol, "gRPC and REST". `plural`: what the names of its methods end with. */
function ofType(name: string, plural: string): DiscoveryService {
  return discoveryService(name, `Stream${plural}`, `Delta${plural}`, `Fetch${plural}`);
}

export const SECRETS = ofType("envoy.service.secret.v3.SecretDiscoveryService", "Secrets");

/** By name of the message. */
const SERVICES: Readonly<Record<string, DiscoveryService>> = {
  "envoy.config.cluster.v3.Cluster": ofType("envoy.service.cluster.v3.ClusterDiscoveryService", "Clusters"),
  "envoy.config.core.v3.TypedExtensionConfig": ofType(
    "envoy.service.extension.v3.ExtensionConfigDiscoveryService",
    "ExtensionConfigs",
  ),
  "envoy.config.endpoint.v3.ClusterLoadAssignment": ofType(
    "envoy.service.endpoint.v3.EndpointDiscoveryService",
    "Endpoints",
  ),
  "envoy.config.listener.v3.Listener": ofType("envoy.service.listener.v3.ListenerDiscoveryService", "Listeners"),
  "envoy.config.route.v3.RouteConfiguration": ofType("envoy.service.route.v3.RouteDiscoveryService", "Routes"),
  "envoy.config.route.v3.ScopedRouteConfiguration": ofType(
    "envoy.service.route.v3.ScopedRoutesDiscoveryService",
    "ScopedRoutes",
  ),
  "envoy.extensions.transport_sockets.tls.v3.Secret": SECRETS,
  "envoy.service.runtime.v3.Runtime": ofType("envoy.service.runtime.v3.RuntimeDiscoveryService", "Runtime"),
};

/** The service of its own that Envoy knows for this type; undefined: it goes over ADS alone. */
export function serviceOf(typeUrl: string): DiscoveryService | undefined {
  return typeUrl.startsWith(PREFIX) ? SERVICES[typeUrl.slice(PREFIX.length)] : undefined;
}

export const AGGREGATED: DiscoveryService = discoveryService(
  "envoy.service.discovery.v3.AggregatedDiscoveryService",
  "StreamAggregatedResources",
  "DeltaAggregatedResources",
);

function discoveryService(name: string, sotw: string, delta: string, fetch?: string): DiscoveryService {
  const raw = (method: string, isStream: boolean): RawMethod => ({
    path: `/${name}/${method}`,
    requestStream: isStream,
    responseStream: isStream,
    ...AS_BYTES,
  });
  return {
    name,
    sotw: raw(sotw, true),
    delta: raw(delta, true),
    ...(fetch === undefined ? {} : { fetch: raw(fetch, false) }),
  };
}

function same(bytes: Buffer): Buffer {
  return bytes;
}
