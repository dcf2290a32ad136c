/** The door of a port in plain text, where nobody can prove who he is: the oldest connection gives way, fairly between addresses. */

import type { Server } from "node:net";
import { Doorkeeper, type TurnedAway } from "../runtime/doorkeeper.ts";

export type Door = {
  /** Default: 64. */
  readonly maxConnections?: number;
  readonly turnedAway?: (why: TurnedAway, address: string) => void;
};

const MAX_CONNECTIONS = 64;

export function keepDoor(
  server: Server,
  { maxConnections = MAX_CONNECTIONS, turnedAway = () => undefined }: Door,
): Doorkeeper {
  const limits = { maxConnections, maxStrangers: maxConnections, chanceMs: 0 };
  const door = new Doorkeeper({ limits, turnedAway, now: () => performance.now(), after: () => () => undefined });
  server.prependListener("connection", (socket) => door.enter(socket));
  return door;
}
