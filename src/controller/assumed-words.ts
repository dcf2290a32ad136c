/** The end of what operators answer for: with the rotation that it was said in. */

import { answersFor, isOver } from "../core/assumptions.ts";
import { identityName } from "../core/identity.ts";
import type { Log } from "./ports.ts";
import type { RotationController } from "./rotation-controller.ts";

/** Before each plan. A word that an earlier version stored counts as given now. */
export function endWords(controller: Pick<RotationController, "ledger" | "trust" | "observe">, log: Log): void {
  const { ledger, trust } = controller;
  for (const [proxy, { assumed, identity }] of ledger.proxies) {
    if (assumed === undefined) continue;
    if (assumed.roots === undefined) {
      controller.observe({ ...assumed, type: "assume", proxy, roots: trust.xds, for: answersFor(assumed) });
    } else if (isOver(assumed, trust)) {
      controller.observe({ type: "withdraw", proxy, word: "assume" });
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
