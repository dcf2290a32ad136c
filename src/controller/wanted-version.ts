/** The version that each name of a proxy should be at (evidence.md E12), whether or not it may be sent yet. */

import type { Consumer, ProxyRow } from "../core/evidence/ledger-state.ts";
import { resolveSecretName } from "../core/evidence/secret-names.ts";
import { knownTrustDomains, type TrustInForce } from "../core/roots/trust.ts";
import type { LeafCache } from "./leaf-cache.ts";
import type { TrustBundles } from "./trust-bundles.ts";

/** Undefined: the name can't be delivered. A version that no content has: there is none yet. */
export type WantedVersion = (
  trust: TrustInForce,
  row: ProxyRow,
  name: string,
  consumer: Consumer,
) => string | undefined;

const NONE_YET = "none yet";

export function wantedVersion(bundles: TrustBundles, leaves: Pick<LeafCache, "peek">): WantedVersion {
  return (trust, row, name, consumer) => {
    // What its agent has taken is a matter of the gates of C5: a proxy in sync is one whose Envoy is.
    if (consumer !== "envoy") return undefined;
    const resolved = resolveSecretName(name, row.identity, knownTrustDomains(trust));
    if (resolved.kind === "none") return undefined;
    if (resolved.kind === "leaf" || resolved.kind === "xdsLeaf")
      return leaves.peek(resolved.kind, row.identity, trust.signer)?.fingerprint ?? NONE_YET;
    const bundle = bundles.of(trust, resolved.kind, resolved.service);
    if (bundle === "absent") return undefined;
    return bundle === "later" ? NONE_YET : bundle.content.version;
  };
}
