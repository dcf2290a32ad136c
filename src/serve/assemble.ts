/** What a server and the commands that need none both build on a store. */

import type { Config } from "../config.ts";
import { AuthorityKeeper } from "../controller/authority-keeper.ts";
import { RootProofs } from "../controller/root-proofs.ts";
import { neededRootLife } from "../core/roots/root-life.ts";
import { createRootProver } from "../pki/prove-root.ts";
import type { Clock } from "../ports/clock.ts";
import type { Log } from "../ports/log.ts";
import type { CertificateProvider } from "../ports/provider.ts";
import type { StateStore, Store } from "../ports/store.ts";
import { createTresor } from "../providers/tresor.ts";
import { XDS_SERVER_NAMES } from "./certificate-maker.ts";
import { checkedState } from "./checked-state.ts";

/** `rootKeyAlgorithm`, `rootValidityMs`: for CAs that are made here. Where none is made, nobody need know them. */
export type MeshSettings = Pick<Config, "leafValidityMs" | "xdsCertValidityMs"> &
  Partial<Pick<Config, "rootKeyAlgorithm" | "rootValidityMs">>;

export type Mesh = {
  /** What is written down, checked as it is read. */
  readonly state: StateStore;
  /** None is loaded yet. */
  readonly authorities: AuthorityKeeper;
};

export type MeshDeps = {
  readonly clock: Clock;
  readonly log: Log;
  /** For tests with roots that the proof would refuse. */
  readonly proofs?: RootProofs | undefined;
  /** Beside those of this version. */
  readonly providers?: readonly CertificateProvider[] | undefined;
};

export function assemble(store: Store, config: MeshSettings, deps: MeshDeps): Mesh {
  const { clock, log, proofs = rootProofs(config) } = deps;
  const providers = [...providersOf(store, config, clock), ...(deps.providers ?? [])];
  const authorities = new AuthorityKeeper({ providers, proofs, clock, log });
  return { state: checkedState(store), authorities };
}

/** One of each kind that this version has. */
function providersOf({ secrets }: Store, config: MeshSettings, clock: Clock): readonly CertificateProvider[] {
  const { rootKeyAlgorithm: keyAlgorithm, rootValidityMs } = config;
  return [
    createTresor({
      secrets,
      clock,
      ...(keyAlgorithm === undefined ? {} : { keyAlgorithm }),
      ...(rootValidityMs === undefined ? {} : { rootValidityMs }),
    }),
  ];
}

/** As this server needs them: its own names, and the lives of what it issues. */
function rootProofs(config: MeshSettings): RootProofs {
  // TLS looks at this machine's clock, whatever ours says.
  const prover = createRootProver({ serverNames: XDS_SERVER_NAMES, now: Date.now });
  return new RootProofs({ prover, neededLifeMs: neededRootLife(config) });
}
