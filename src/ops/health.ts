/** grpc.health.v1 (Check, Watch, List): one state for each service, to be served on any of our gRPC ports (R82). */

import type { Server } from "@grpc/grpc-js";
import { HealthImplementation } from "grpc-health-check";

export const HEALTH = "grpc.health.v1.Health";

export class ServiceHealth {
  readonly #services: readonly string[];
  readonly #health: HealthImplementation;
  #serving = false;

  /** `services` are NOT_SERVING at first, and so is "", the server as a whole. */
  constructor(services: readonly string[]) {
    this.#services = ["", ...services];
    this.#health = new HealthImplementation(
      Object.fromEntries(this.#services.map((name) => [name, "NOT_SERVING" as const])),
    );
  }

  addTo(server: Server): void {
    this.#health.addToServer(server);
  }

  setServing(serving: boolean): void {
    // Who watches is told of each state that is set, also of the same one.
    if (serving === this.#serving) return;
    this.#serving = serving;
    for (const name of this.#services) this.#health.setStatus(name, serving ? "SERVING" : "NOT_SERVING");
  }
}
