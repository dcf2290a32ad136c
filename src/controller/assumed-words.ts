/** The end of what operators answer for: with the rotation that it was said in. */

import { answersFor, isOver } from "../core/evidence/assumptions.ts";
import type { LedgerEvent } from "../core/evidence/ledger-events.ts";
import type { Ledger } from "../core/evidence/ledger-state.ts";
import { identityName } from "../core/identity.ts";
import type { TrustInForce } from "../core/roots/trust.ts";
import type { Log } from "../ports/log.ts";

/** Before each plan. A word that an earlier version stored counts as given now. */
export function endWords(ledger: Ledger, trust: TrustInForce, observe: (event: LedgerEvent) => void, log: Log): void {
  for (const [proxy, { assumed, identity }] of ledger.proxies) {
    if (assumed === undefined) continue;
    if (assumed.roots === undefined) {
      observe({ ...assumed, type: "assume", proxy, roots: trust.xds, mesh: trust.mesh, for: answersFor(assumed) });
    } else if (isOver(assumed, trust)) {
      observe({ type: "withdraw", proxy, word: "assume" });
      const name = identityName(identity);
      log.info(
        {
          component: "audit",
          proxy,
          identity: name,
          action: "assume",
          reason: assumed.reason,
          for: answersFor(assumed),
        },
        `the rotation is over in which an operator answered for ${name} (${answersFor(assumed).join(", ")}): ${assumed.reason}`,
      );
    }
  }
}
