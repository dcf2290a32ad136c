/** What is said of connections that were turned away at a door: the first one, then a count once a minute. */

import type { Metrics } from "../ops/metrics.ts";
import type { Log } from "../ports/log.ts";
import type { TurnedAway } from "../runtime/doorkeeper.ts";

const SAY_EVERY_MS = 60_000;

/** `now`: milliseconds of a clock that nobody sets. */
export function turnedAwayAt(door: string, metrics: Metrics, log: Log, now: () => number) {
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
