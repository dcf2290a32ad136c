/** grpc.health.v1 (Check, Watch, List) on a plaintext port of its own: Kubernetes' gRPC probes speak no TLS. */

import { logVerbosity, Server, ServerCredentials, setLogVerbosity } from "@grpc/grpc-js";
import { HealthImplementation } from "grpc-health-check";
import { cannotListen } from "../core/errors.ts";

const HEALTH_SERVICES = [
  "",
  "envoy.service.secret.v3.SecretDiscoveryService",
  "envoy.service.discovery.v3.AggregatedDiscoveryService",
] as const;

// It would print lines of its own beside the errors that it hands over, which are reported in our form.
if (process.env.GRPC_VERBOSITY === undefined) setLogVerbosity(logVerbosity.NONE);

export class HealthServer {
  readonly #health = new HealthImplementation(
    Object.fromEntries(HEALTH_SERVICES.map((name) => [name, "NOT_SERVING" as const])),
  );
  // A probe that connects anew each time leaks memory in grpc-js unless idle connections are ended (grpc-node #2975).
  readonly #server = new Server({ "grpc.max_connection_idle_ms": 30_000 });

  /** Returns the port. Throws MR5003 when the address can't be had. */
  listen(host: string, port: number): Promise<number> {
    this.#health.addToServer(this.#server);
    return new Promise((resolve, reject) => {
      this.#server.bindAsync(`${host}:${port}`, ServerCredentials.createInsecure(), (error, bound) => {
        if (error === null) return resolve(bound);
        reject(
          // gRPC puts the system's error into a text of its own.
          cannotListen(
            "health",
            `${host}:${port}`,
            /\bE[A-Z]{3,}\b/.exec(error.message)?.[0] ?? error.message,
            "--health-port",
            error,
          ),
        );
      });
    });
  }

  setServing(serving: boolean): void {
    for (const name of HEALTH_SERVICES) this.#health.setStatus(name, serving ? "SERVING" : "NOT_SERVING");
  }

  close(): void {
    this.#server.forceShutdown();
  }
}
