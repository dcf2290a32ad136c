/** The gRPC services of xDS as our .proto files have them, with messages left as bytes: what src/xds/services.ts has to match. */

import { fileURLToPath } from "node:url";
import { loadSync } from "@grpc/proto-loader";
import { AS_BYTES, type RawMethod } from "../../src/xds/services.ts";

/** The folder that holds our .proto files; beside src/ in a clone and beside dist/ in the package. */
export const PROTO_DIRECTORY = fileURLToPath(new URL("../../proto/", import.meta.url));

/** The entry files; everything else is imported by them. */
export const PROTO_FILES = [
  "envoy/service/discovery/v3/ads.proto",
  "envoy/service/secret/v3/sds.proto",
  "envoy/service/status/v3/csds.proto",
  "envoy/extensions/transport_sockets/tls/v3/secret.proto",
] as const;

type RawService<Name extends string> = { readonly [Method in Name]: RawMethod };

const loaded = loadSync([...PROTO_FILES], { includeDirs: [PROTO_DIRECTORY] });

/** envoy.service.secret.v3.SecretDiscoveryService (R1). */
export const secretDiscoveryService = rawService("envoy.service.secret.v3.SecretDiscoveryService", [
  "StreamSecrets",
  "DeltaSecrets",
  "FetchSecrets",
]);

/** envoy.service.discovery.v3.AggregatedDiscoveryService (R1). */
export const aggregatedDiscoveryService = rawService("envoy.service.discovery.v3.AggregatedDiscoveryService", [
  "StreamAggregatedResources",
  "DeltaAggregatedResources",
]);

function rawService<const Name extends string>(service: string, methods: readonly Name[]): RawService<Name> {
  const definition = loaded[service] as Readonly<Record<string, RawMethod>> | undefined;
  const entries = methods.map((name): [Name, RawMethod] => {
    const method = definition?.[name];
    if (method === undefined) throw new Error(`${service}/${name} is not in ${PROTO_DIRECTORY}`);
    return [name, { ...method, ...AS_BYTES }];
  });
  return Object.fromEntries(entries) as RawService<Name>;
}
