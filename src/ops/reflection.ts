/** gRPC server reflection, v1 and v1alpha: what a port serves, for grpcurl and its kin (R82). */

import type { Server, ServiceDefinition, UntypedServiceImplementation } from "@grpc/grpc-js";
import type { PackageDefinition } from "@grpc/proto-loader";
import { ReflectionService } from "@grpc/reflection";
import { linkable } from "./descriptors.ts";
import { loadProtos } from "./protos.ts";

const OWN = ["grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection"];

/** `services`: what else the server has. Every message that their .proto files name is described. */
export function addReflection(server: Server, services: readonly string[]): void {
  for (const { definition, implementation } of reflectionOf(services)) server.addService(definition, implementation);
}

type Version = { readonly definition: ServiceDefinition; readonly implementation: UntypedServiceImplementation };

const made = new Map<string, readonly Version[]>();

/** It depends on nothing but these names, and takes tens of milliseconds: one serves every server of the process. */
function reflectionOf(services: readonly string[]): readonly Version[] {
  const key = services.join();
  const known = made.get(key);
  if (known !== undefined) return known;
  const versions: Version[] = [];
  const addService = (definition: ServiceDefinition, implementation: UntypedServiceImplementation) =>
    void versions.push({ definition, implementation });
  new ReflectionService(descriptions(), { services: [...services, ...OWN] }).addToServer({ addService });
  made.set(key, versions);
  return versions;
}

let described: PackageDefinition | undefined;

function descriptions(): PackageDefinition {
  described ??= linkable(loadProtos());
  return described;
}
