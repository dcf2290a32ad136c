/** What a server and the commands that need none both build on a store. */

import type { Config } from "../config.ts";
import { AuthorityKeeper } from "../controller/authority-keeper.ts";
import type { RootProofs, ServiceNames } from "../controller/root-proofs.ts";
import type { MeshRoot } from "../core/roots/mesh-root.ts";
import type { TrustInForce } from "../core/roots/trust.ts";
import type { Clock } from "../ports/clock.ts";
import type { Log } from "../ports/log.ts";
import type { StateStore, Store } from "../ports/store.ts";
import { createTresor } from "../providers/tresor.ts";
import { checkedTrust } from "./checked-trust.ts";
import { rootProofs } from "./make-root-proofs.ts";

/** `rootKeyAlgorithm`, `rootValidityMs`: for CAs that are made here. Where none is made, nobody need know them. */
export type MeshSettings = Pick<Config, "leafValidityMs" | "xdsCertValidityMs"> &
  Partial<Pick<Config, "rootKeyAlgorithm" | "rootValidityMs">>;

export type Mesh = {
  /** What is written down, checked as it is read. */
  readonly state: StateStore;
  /** None is loaded yet. */
  readonly authorities: AuthorityKeeper;
  /** Throws why this root would be refused. One whose CA is not there yet is a good one: it will be made. */
  examine(root: MeshRoot, trust: TrustInForce | undefined, names: ServiceNames): Promise<void>;
};

export type MeshDeps = {
  readonly clock: Clock;
  readonly log: Log;
  /** For tests with roots that the proof would refuse. */
  readonly proofs?: RootProofs | undefined;
};

export function assemble(store: Store, config: MeshSettings, deps: MeshDeps): Mesh {
  const { clock, log, proofs = rootProofs(config) } = deps;
  const { secrets } = store;
  const { rootKeyAlgorithm: keyAlgorithm, rootValidityMs } = config;
  const tresor = createTresor({
    secrets,
    clock,
    ...(keyAlgorithm === undefined ? {} : { keyAlgorithm }),
    ...(rootValidityMs === undefined ? {} : { rootValidityMs }),
  });
  const authorities = new AuthorityKeeper({ providers: [tresor], proofs, clock, log });
  return {
    state: { trust: checkedTrust(store.trust), evidence: store.evidence },
    authorities,
    async examine(root, trust, names) {
      const { provider } = root;
      const isThere = provider.kind === "tresor" && (await secrets.read(provider.secretRef)) !== undefined;
      if (isThere) await authorities.examine(root, trust, names);
    },
  };
}
