/** The log line about an xDS client that was turned away, or that turned us away: who, under which root, what to do. */

import type { RotationController } from "../controller/rotation-controller.ts";
import { isUuid } from "../core/identity.ts";
import { rootOf } from "../core/roots/trust.ts";
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
  const { remote, hint } = refusal;
  const [proxy, serviceAccount, namespace] = claims(refusal.serverName);
  let { reason } = refusal;
  if (refusal.distrustsUs) {
    const root = rootOf(trust, trust.xdsServer);
    reason = `${reason} (${root.name}, ${root.fingerprint.slice(0, 12)})`;
    if (proxy !== undefined) {
      const row = ledger.proxies.get(proxy);
      const known = row === undefined ? ", which has never connected" : "";
      reason = `${reason}; by its SNI it is ${serviceAccount}.${namespace} (${proxy})${known}`;
    }
  }
  return {
    fields: { remote, reason, hint, ...(proxy === undefined ? {} : { proxy }) },
    message: `xDS client refused: ${reason}`,
  };
}

/** Uuid, service account and namespace in the SNI of our bootstraps; nothing where it is another. */
function claims(serverName: string | undefined): string[] {
  const [uuid = "", serviceAccount, namespace, ...rest] = serverName?.split(".") ?? [];
  return isUuid(uuid) && serviceAccount && namespace && rest.length > 0 ? [uuid, serviceAccount, namespace] : [];
}
