/** The identities that the mesh knows: of its proxies, and of those behind services. */

import { type AbsentPolicy, counts } from "../core/evidence/ledger-queries.ts";
import type { Ledger } from "../core/evidence/ledger-state.ts";
import { identityName, type ServiceIdentity } from "../core/identity.ts";
import type { Services } from "../ports/store.ts";
import type { ServiceNames } from "./root-proofs.ts";

export class NamesInUse {
  #names: ServiceNames = new Map();
  #from: { readonly services: Services | undefined; readonly proxies: readonly ServiceIdentity[] } | undefined;

  /** The same map again while nothing has changed: it is asked for before every plan. */
  of(ledger: Ledger, services: Services | undefined, now: number, policy: AbsentPolicy): ServiceNames {
    const proxies = [...ledger.proxies.values()]
      .filter((row) => counts(row, now, policy))
      .map((row) => row.identity as ServiceIdentity);
    const before = this.#from;
    const same = (identity: ServiceIdentity, index: number) => before?.proxies[index] === identity;
    if (before?.services === services && before?.proxies.length === proxies.length && proxies.every(same))
      return this.#names;
    this.#from = { services, proxies };
    const found = new Map(
      [...proxies, ...[...(services?.values() ?? [])].flat()].map((one) => [identityName(one), one]),
    );
    // Another proxy of a service that was known already is no new name.
    const isSame = found.size === this.#names.size && [...found.keys()].every((name) => this.#names.has(name));
    if (!isSame) this.#names = found;
    return this.#names;
  }
}
