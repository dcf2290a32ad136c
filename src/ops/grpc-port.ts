/** A gRPC server in plain text: for Kubernetes' probes, which speak no TLS, and on the operator's socket. */

import { createServer, type Socket } from "node:net";
import { logVerbosity, Server, ServerCredentials, setLogVerbosity } from "@grpc/grpc-js";
import { formatHostPort } from "../core/address.ts";
import { cannotListen, listenHints } from "../core/errors.ts";
import { guarded } from "../runtime/grpc-guard.ts";
import { type Door, keepDoor } from "./keep-door.ts";

// It would print lines of its own beside the errors that it hands over, which are reported in our form.
if (process.env.GRPC_VERBOSITY === undefined) setLogVerbosity(logVerbosity.NONE);

export type GrpcPort = { readonly port: number; close(): void };

/** Throws MR5003, naming `flag`, when the address can't be had. */
export async function openGrpcPort(
  what: string,
  where: { readonly host: string; readonly port: number },
  flag: string,
  addServices: (server: Server) => void,
  door: Door = {},
): Promise<GrpcPort> {
  return await open(what, where, flag, addServices, door);
}

/** A socket file, in a folder of the caller's that nobody else may enter. */
export async function openGrpcSocket(
  what: string,
  path: string,
  flag: string,
  addServices: (server: Server) => void,
  door: Door = {},
): Promise<GrpcPort> {
  return await open(what, { path }, flag, addServices, door);
}

async function open(
  what: string,
  where: { readonly host: string; readonly port: number } | { readonly path: string },
  flag: string,
  addServices: (server: Server) => void,
  door: Door,
): Promise<GrpcPort> {
  // A probe that connects anew each time leaks memory in grpc-js unless idle connections are ended (grpc-node #2975).
  const grpc = guarded(new Server({ "grpc.max_connection_idle_ms": 30_000 }));
  addServices(grpc);
  const injector = grpc.createConnectionInjector(ServerCredentials.createInsecure());
  // A server of our own, because grpc-js lets nobody count what it accepts.
  const server = createServer({ noDelay: true });
  const sockets = new Set<Socket>();
  keepDoor(server, door);
  server.on("connection", (socket) => {
    if (socket.destroyed) return;
    sockets.add(socket.on("close", () => sockets.delete(socket)).on("error", () => socket.destroy()));
    injector.injectConnection(socket);
  });
  const port = await new Promise<number>((resolve, reject) => {
    server.once("error", (error: NodeJS.ErrnoException) => {
      const name = "path" in where ? where.path : formatHostPort(where.host, where.port);
      reject(cannotListen(what, name, error.code ?? error.message, listenHints(flag), error));
    });
    server.listen(where, () => {
      const address = server.address();
      resolve(typeof address === "object" && address !== null ? address.port : 0);
    });
  });
  return {
    port,
    close() {
      server.close();
      injector.destroy();
      grpc.forceShutdown();
      for (const socket of sockets) socket.destroy();
    },
  };
}
