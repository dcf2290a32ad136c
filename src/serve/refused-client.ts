/** The log line about an xDS client that was turned away, or that turned us away: who, under which root, what to do. */

import type { RotationController } from "../controller/rotation-controller.ts";
import { identityName } from "../core/identity.ts";
import { trustsOnXds } from "../core/ledger-queries.ts";
import { rootOf } from "../core/trust.ts";
import type { RefusedClient } from "../xds/tls-front.ts";

export type RefusedLine = {
  readonly fields: { readonly remote: string; readonly reason: string; readonly hint: string; readonly proxy?: string };
  readonly message: string;
};

/**
 * A client that does not trust our certificate ends the handshake before it has shown its own. Our bootstraps put the
 * proxy's uuid into the SNI: a claim, good enough for a log line and for nothing else.
 */
export function refusedLine(
  refusal: RefusedClient,
  { trust, ledger }: Pick<RotationController, "trust" | "ledger">,
): RefusedLine {
  const { remote, hint, serverName } = refusal;
  const claimed = ledger.proxies.get(serverName?.split(".")[0] ?? "");
  const proxy = claimed?.identity.uuid;
  let { reason } = refusal;
  if (refusal.distrustsUs) {
    const root = rootOf(trust, trust.xdsServer);
    reason = `${reason} (${root.name}, ${root.fingerprint.slice(0, 12)})`;
    if (claimed !== undefined) {
      const known = trustsOnXds(claimed, root.id) ? "" : ", which was never proven to trust it";
      reason = `${reason}; by its SNI it is ${identityName(claimed.identity)} (${proxy})${known}`;
    }
  }
  return {
    fields: { remote, reason, hint, ...(proxy === undefined ? {} : { proxy }) },
    message: `xDS client refused: ${reason}`,
  };
}
