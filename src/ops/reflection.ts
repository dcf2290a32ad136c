/** gRPC server reflection, v1 and v1alpha: what a port serves, for grpcurl and its kin (R82). */

import type { Server, ServiceDefinition, UntypedServiceImplementation } from "@grpc/grpc-js";
import type { PackageDefinition } from "@grpc/proto-loader";
import { ReflectionService } from "@grpc/reflection";
import { linkable } from "./descriptors.ts";
import { addLazily, type Service } from "./lazy-service.ts";
import { loadProtos } from "./protos.ts";

const OWN = ["grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection"];

/** `services`: what else the server has. Every message that their .proto files name is described. */
export function addReflection(server: Server, services: readonly string[]): void {
  for (const [index, name] of OWN.entries())
    addLazily(server, name, { ServerReflectionInfo: "bidi" }, () => reflectionOf(services)[index] as Service);
}

/** Each of `OWN`, in this order, as the library would add it to a server. */
function reflectionOf(services: readonly string[]): readonly Service[] {
  const made: Service[] = [];
  const addService = (definition: ServiceDefinition, implementation: UntypedServiceImplementation) =>
    void made.push({ definition, implementation });
  new ReflectionService(descriptions(), { services: [...services, ...OWN] }).addToServer({ addService });
  return made;
}

let described: PackageDefinition | undefined;

function descriptions(): PackageDefinition {
  described ??= linkable(loadProtos());
  return described;
}
