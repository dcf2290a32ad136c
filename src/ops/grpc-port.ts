/** A gRPC server in plain text: for Kubernetes' probes, which speak no TLS, and on the operator's socket. */

import { logVerbosity, Server, ServerCredentials, setLogVerbosity } from "@grpc/grpc-js";
import { formatHostPort } from "../core/address.ts";
import { cannotListen } from "../core/errors.ts";
import { guarded } from "../core/grpc-guard.ts";

// It would print lines of its own beside the errors that it hands over, which are reported in our form.
if (process.env.GRPC_VERBOSITY === undefined) setLogVerbosity(logVerbosity.NONE);

export type GrpcPort = { readonly port: number; close(): void };

/** Throws MR5003, naming `flag`, when the address can't be had. */
export async function openGrpcPort(
  what: string,
  { host, port }: { readonly host: string; readonly port: number },
  flag: string,
  addServices: (server: Server) => void,
): Promise<GrpcPort> {
  return await open(what, formatHostPort(host, port), flag, addServices);
}

/** A socket file, in a folder of the caller's that nobody else may enter. */
export async function openGrpcSocket(
  what: string,
  path: string,
  flag: string,
  addServices: (server: Server) => void,
): Promise<GrpcPort> {
  return await open(what, `unix:${path}`, flag, addServices);
}

async function open(
  what: string,
  address: string,
  flag: string,
  addServices: (server: Server) => void,
): Promise<GrpcPort> {
  // A probe that connects anew each time leaks memory in grpc-js unless idle connections are ended (grpc-node #2975).
  const server = guarded(new Server({ "grpc.max_connection_idle_ms": 30_000 }));
  addServices(server);
  const port = await new Promise<number>((resolve, reject) => {
    server.bindAsync(address, ServerCredentials.createInsecure(), (error, bound) => {
      if (error === null) return resolve(bound);
      // gRPC puts the system's error into a text of its own.
      const reason = /\bE[A-Z]{3,}\b/.exec(error.message)?.[0] ?? error.message;
      reject(cannotListen(what, address.replace(/^unix:/, ""), reason, flag, error));
    });
  });
  return { port, close: () => server.forceShutdown() };
}
