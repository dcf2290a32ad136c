/** gRPC server reflection, v1 and v1alpha: what a port serves, for grpcurl and its kin (R82). */

import type { Server } from "@grpc/grpc-js";
import type { PackageDefinition } from "@grpc/proto-loader";
import { ReflectionService } from "@grpc/reflection";
import { linkable } from "./descriptors.ts";
import { loadProtos } from "./protos.ts";

const OWN = ["grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection"];

/** `services`: what else the server has. Every message that their .proto files name is described. */
export function addReflection(server: Server, services: readonly string[]): void {
  new ReflectionService(descriptions(), { services: [...services, ...OWN] }).addToServer(server);
}

let described: PackageDefinition | undefined;

function descriptions(): PackageDefinition {
  described ??= linkable(loadProtos());
  return described;
}
