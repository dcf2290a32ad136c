/** Our .proto files and those of gRPC's own services, loaded for services that are no hot path and for reflection. */

import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { loadSync, type PackageDefinition } from "@grpc/proto-loader";
import { protoPath as HEALTH_PROTO } from "grpc-health-check";

/** Beside src/ in a clone and beside dist/ in the package. */
const PROTO_DIRECTORY = fileURLToPath(new URL("../../proto/", import.meta.url));
const REFLECTION_DIRECTORY = join(
  dirname(createRequire(import.meta.url).resolve("@grpc/reflection/package.json")),
  "build/proto",
);

let loaded: PackageDefinition | undefined;

/** Read on first use, which takes some tens of milliseconds. Field names as written, enums by name, defaults filled in. */
export function loadProtos(): PackageDefinition {
  loaded ??= loadSync(
    [
      "envoy/service/discovery/v3/ads.proto",
      "envoy/service/secret/v3/sds.proto",
      "envoy/service/status/v3/csds.proto",
      // No service names it: it comes in a google.protobuf.Any, which grpcurl can print only with its description.
      "envoy/extensions/transport_sockets/tls/v3/secret.proto",
      HEALTH_PROTO,
      "grpc/reflection/v1/reflection.proto",
      "grpc/reflection/v1alpha/reflection.proto",
    ],
    {
      includeDirs: [PROTO_DIRECTORY, REFLECTION_DIRECTORY],
      keepCase: true,
      enums: String,
      defaults: true,
      oneofs: true,
    },
  );
  return loaded;
}
