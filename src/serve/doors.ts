/** The doors of a server: how many connections each takes, and what is said of those that were turned away. */

import type { Door } from "../ops/keep-door.ts";
import type { Metrics } from "../ops/metrics.ts";
import type { Log } from "../ports/log.ts";
import type { TurnedAway } from "../runtime/doorkeeper.ts";
import { connectionBudget, openFilesLimit } from "../runtime/open-files.ts";

export type Doors = {
  /** Limits of a door where nobody can prove who he is. */
  to(name: string): Door;
  /** Those of the port for proxies. */
  toXds(): { maxConnections: number; maxHandshakes: number; turnedAway: (why: TurnedAway, address: string) => void };
};

/** Shares what this process may have open between all its doors. */
export function doorsOf({ metrics, log }: { readonly metrics: Metrics; readonly log: Log }): Doors {
  const budget = connectionBudget(openFilesLimit());
  const turnedAway = (name: string) => turnedAwayAt(name, metrics, log, () => performance.now());
  return {
    to: (name) => ({ maxConnections: budget.each, turnedAway: turnedAway(name) }),
    toXds: () => ({ maxConnections: budget.xds, maxHandshakes: budget.xdsStrangers, turnedAway: turnedAway("xds") }),
  };
}

const SAY_EVERY_MS = 60_000;

/** The first one, then a count once a minute. `now`: milliseconds of a clock that nobody sets. */
function turnedAwayAt(door: string, metrics: Metrics, log: Log, now: () => number) {
  let count = 0;
  let saidAt = Number.NEGATIVE_INFINITY;
  return (why: TurnedAway, address: string): void => {
    metrics.turnedAway.inc({ door, why });
    count += 1;
    if (now() < saidAt + SAY_EVERY_MS) return;
    log.warn(
      { component: door, address, why, count, hint: HINTS[why] },
      `${count === 1 ? "a connection was" : `${count} connections were`} turned away at the ${door} port, the last from ${address}: ${WORDS[why]}`,
    );
    saidAt = now();
    count = 0;
  };
}

const WORDS: Readonly<Record<TurnedAway, string>> = {
  late: "it had not proved in time who it is",
  crowded: "there is no room for all",
};

const HINTS: Readonly<Record<TurnedAway, string>> = {
  late: "Look at who that is: a proxy of this mesh needs no second for its handshake.",
  crowded: "If these are your own, raise `ulimit -n`; else keep that address away from this port.",
};
