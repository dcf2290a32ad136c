/** Proxies that are gone leave the ledger by themselves (evidence.md E13), and the log says which. */

import type { LedgerEvent } from "../core/evidence/ledger-events.ts";
import type { AbsentPolicy } from "../core/evidence/ledger-queries.ts";
import type { Ledger, ProxyRow } from "../core/evidence/ledger-state.ts";
import { retiring } from "../core/evidence/retirement.ts";
import { identityName } from "../core/identity.ts";
import type { Clock } from "../ports/clock.ts";
import type { Log } from "../ports/log.ts";
import { clockSpan } from "./checked-clock.ts";

/** It is a look at every row, for what waits for hours. */
const LOOK_MS = 60_000;
/** More at once are counted, not listed. */
const SHOWN = 10;

type Deps = {
  readonly clock: Clock;
  readonly log: Log;
  readonly settings: { readonly absentPolicy: AbsentPolicy; readonly xdsCertValidityMs: number };
};

export class Retirement {
  readonly #deps: Deps;
  readonly #ledger: Ledger;
  #since: number;
  #lookedAt = Number.NEGATIVE_INFINITY;

  constructor(deps: Deps, ledger: Ledger) {
    this.#deps = deps;
    this.#ledger = ledger;
    this.#since = deps.clock.now();
  }

  /** Before each plan. */
  look(observe: (event: LedgerEvent) => void): void {
    const { clock, log, settings } = this.#deps;
    const now = clock.now();
    // A clock that was set back begins anew.
    this.#since = Math.min(this.#since, now);
    if (Math.abs(now - this.#lookedAt) < LOOK_MS) return;
    this.#lookedAt = now;
    const { earliest } = clockSpan(clock);
    const { absentPolicy: policy, xdsCertValidityMs: credentialMs } = settings;
    const rows = retiring(this.#ledger, { earliest, since: this.#since, policy, credentialMs });
    for (const row of rows) observe({ type: "retire", proxy: row.identity.uuid, at: now });
    report(log, rows);
  }
}

const WHY = "its leaf and its xDS credentials have expired";

function report(log: Log, rows: readonly ProxyRow[]): void {
  if (rows.length > SHOWN) {
    const message = `${rows.length} proxies that were away have left the ledger: their leaves and xDS credentials have expired`;
    log.info({ component: "audit", action: "retire", count: rows.length }, message);
    return;
  }
  for (const row of rows) {
    const { identity, lastContactAt, forgotten, assumed } = row;
    const name = identityName(identity);
    const reasons = { forgotten: forgotten?.reason, assumed: assumed?.reason };
    log.info(
      { component: "audit", proxy: identity.uuid, identity: name, action: "retire", ...reasons },
      `${name} has left the ledger: ${WHY}, and it was last heard of at ${new Date(lastContactAt).toISOString()}`,
    );
  }
}
