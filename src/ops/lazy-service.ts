/** gRPC services that are made with their first call: to read their .proto files takes longer than all else at a start. */

import type { MethodDefinition, Server, ServiceDefinition, UntypedServiceImplementation } from "@grpc/grpc-js";

export type Service = { readonly definition: ServiceDefinition; readonly implementation: UntypedServiceImplementation };

/** By name of the method, whether requests and responses are streams. */
export type Methods = Readonly<Record<string, "unary" | "bidi">>;

/** `make` is called once, when somebody calls; its methods are these. */
export function addLazily(server: Server, name: string, methods: Methods, make: () => Service): void {
  let made: Service | undefined;
  const service = (): Service => {
    made ??= make();
    return made;
  };
  const definition: Record<string, MethodDefinition<unknown, unknown>> = {};
  const implementation: UntypedServiceImplementation = {};
  for (const [method, kind] of Object.entries(methods)) {
    const real = () => service().definition[method] as MethodDefinition<unknown, unknown>;
    definition[method] = {
      path: `/${name}/${method}`,
      requestStream: kind === "bidi",
      responseStream: kind === "bidi",
      requestSerialize: (request) => real().requestSerialize(request),
      requestDeserialize: (bytes) => real().requestDeserialize(bytes),
      responseSerialize: (response) => real().responseSerialize(response),
      responseDeserialize: (bytes) => real().responseDeserialize(bytes),
    };
    implementation[method] = (...call: unknown[]) =>
      (service().implementation[method] as (...call: unknown[]) => void)(...call);
  }
  server.addService(definition, implementation);
}
