/** The start of a controller: what is durable is read back, or the first trust is put in force. */

import { MeshrootError, raise } from "../core/errors.ts";
import type { Ledger } from "../core/evidence/ledger-state.ts";
import { isInUse, type RootListing } from "../core/roots/mesh-root.ts";
import { checkSet } from "../core/roots/mesh-root-rules.ts";
import { desiredTrust, initialTrust, rootOf, type TrustInForce } from "../core/roots/trust.ts";
import type { GateSettings } from "../core/rotation/gates.ts";
import type { Clock } from "../ports/clock.ts";
import type { Log } from "../ports/log.ts";
import type { Services, StateStore } from "../ports/store.ts";
import type { AuthorityKeeper } from "./authority-keeper.ts";
import { loadLedger, loadTrust, saveTrust } from "./durable-state.ts";
import { firstUnreadable, KnownRoots } from "./known-roots.ts";
import { NamesInUse } from "./names-in-use.ts";
import type { ServiceNames } from "./root-proofs.ts";
import type { WantedVersion } from "./wanted-version.ts";

export type ControllerDeps = {
  readonly clock: Clock;
  readonly state: StateStore;
  readonly authorities: AuthorityKeeper;
  readonly settings: GateSettings & { readonly namespace: string; readonly xdsCertValidityMs: number };
  readonly log: Log;
  readonly wanted: WantedVersion;
  /** Who stands behind services, as far as that is known: names that a root has to carry. */
  readonly services?: () => Services | undefined;
};

/** A start waits so long for certificate authorities: a first one as long as it takes to fail, a later one goes on without. */
const FIRST_START_MS = 150_000;
const RESTART_MS = 2_000;

/** What a start has found, made or read back. */
export type Begun = {
  readonly ledger: Ledger;
  readonly trust: TrustInForce;
  readonly revision: number;
  readonly roots: KnownRoots;
  readonly names: NamesInUse;
  readonly isRestart: boolean;
};

/**
 * Reads back what is durable, or puts the first trust in force. A new mesh can't start without a root that can sign: throws
 * MR1007 when none is active, MR3002 or MR3003 when it is not valid now, MR3006 to MR3008 or MR1013 when it could not carry the
 * mesh, MR3011 when its CA does not answer, and what its provider throws. A mesh that has run before starts whatever became of
 * its roots, and says what is wrong.
 */
export async function begin(deps: ControllerDeps, listing: RootListing): Promise<Begun> {
  const { authorities, clock, settings, state } = deps;
  const stored = await loadTrust(state);
  const ledger = await loadLedger(state, clock.now());
  const specs = new Map(Object.entries(stored?.authorities ?? {}));
  const roots = new KnownRoots({ authorities, namespace: settings.namespace, listing, specs });
  const names = new NamesInUse();
  const inUse = names.of(ledger, deps.services?.(), clock.now(), settings.absentPolicy);
  const isRestart = stored !== undefined;
  if (isRestart) {
    roots.follow(stored.trust, inUse);
    await authorities.settled(RESTART_MS, isInUse);
  }
  const { trust, revision } = stored ?? (await firstTrust(deps, listing, roots, inUse));
  return { ledger, trust, revision, roots, names, isRestart };
}

async function firstTrust(
  { authorities, clock, settings, state }: ControllerDeps,
  listing: RootListing,
  roots: KnownRoots,
  names: ServiceNames,
): Promise<Pick<Begun, "trust" | "revision">> {
  authorities.follow(listing.roots, undefined, names);
  await authorities.settled(FIRST_START_MS, isInUse);
  for (const { name } of listing.roots.filter(isInUse)) raise(authorities.snapshot.refusal(name));
  raise(firstUnreadable(listing) ?? checkSet(listing.roots, settings.namespace));
  const trust = initialTrust(desiredTrust(listing.roots, authorities.snapshot.trusted));
  if (trust === undefined)
    throw new MeshrootError("MR1007", "no active root can sign", "Give one MeshRootCertificate the role active.");
  raise(authorities.snapshot.signingProblem(rootOf(trust, trust.signer), clock.now()));
  roots.remember();
  return { trust, revision: await saveTrust(state, trust, roots.specs, undefined) };
}
