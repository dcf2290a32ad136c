/** The two durable documents of the controller: the trust in force, and the ledger's rows. */

import { MeshrootError } from "../core/errors.ts";
import { authoritiesProblem, rowProblem, trustProblem } from "../core/evidence/durable-check.ts";
import { type DurableRow, fromDurable, toDurable } from "../core/evidence/ledger-rows.ts";
import { emptyLedger, type Ledger, type ProxyId } from "../core/evidence/ledger-state.ts";
import type { ProviderSpec } from "../core/roots/mesh-root.ts";
import type { TrustInForce } from "../core/roots/trust.ts";
import type { StateStore } from "../ports/store.ts";

const FORMAT = 1;

export type TrustDocument = {
  readonly format: typeof FORMAT;
  readonly trust: TrustInForce;
  /** MRCs whose authority was loaded, by name: what to destroy once one of them is deleted. */
  readonly authorities: Readonly<Record<string, ProviderSpec>>;
};

/** The document, and the number of the write that stored it: what a decision is computed from, and what is written in its place. */
export type StoredTrust = TrustDocument & { readonly revision: number };

/** Throws MR2004 rather than to act on what this program can't have written. */
export async function loadTrust(store: StateStore): Promise<StoredTrust | undefined> {
  const stored = await store.trust.read();
  if (stored === undefined) return undefined;
  const value = stored.value as TrustDocument;
  if (value.format !== FORMAT) {
    throw new MeshrootError(
      "MR2004",
      `the stored trust has format ${String(value.format)}, this version reads ${FORMAT}`,
      "Run the meshroot version that wrote it, or restore the state folder from a backup; nothing was changed.",
    );
  }
  const problem = trustProblem(value.trust) ?? authoritiesProblem(value.authorities);
  if (problem === undefined) return { ...value, revision: stored.revision };
  throw new MeshrootError(
    "MR2004",
    `can't use the stored trust: ${problem}`,
    "Nothing was overwritten. Put trust.json.bak (the state before the last change) or a backup in the place of trust.json.",
  );
}

/** In the place of revision `expected`, as `TrustStore.write`. */
export function saveTrust(
  store: StateStore,
  trust: TrustInForce,
  authorities: ReadonlyMap<string, ProviderSpec>,
  expected: number | undefined,
): Promise<number> {
  const document: TrustDocument = { format: FORMAT, trust, authorities: Object.fromEntries(authorities) };
  return store.trust.write(document, expected);
}

/** Throws MR2004, as `loadTrust`. */
export async function loadLedger(store: StateStore, now: number): Promise<Ledger> {
  const rows = (await store.evidence.read()) as Map<ProxyId, DurableRow>;
  for (const [key, row] of rows) {
    const problem = rowProblem(key, row);
    if (problem === undefined) continue;
    throw new MeshrootError(
      "MR2004",
      `can't use the stored ledger: ${problem}`,
      "Nothing was overwritten. Restore ledger.jsonl from a backup; without it meshroot can't know what proxies may be running.",
    );
  }
  return rows.size === 0 ? emptyLedger() : fromDurable(rows, now);
}

/**
 * Writes changed rows in groups: what changes while a write is under way goes out with the next one. Each row is encoded
 * as it stands when its group is written, so a row that changes often costs no more than its group.
 */
export class RowWriter {
  readonly #store: StateStore;
  readonly #ledger: Ledger;
  #dirty = new Set<ProxyId>();
  #next: Promise<void> | undefined;
  #current: Promise<void> = Promise.resolve();

  constructor(store: StateStore, ledger: Ledger) {
    this.#store = store;
    this.#ledger = ledger;
  }

  /** Resolves when the row, as it is now or later, is durable. */
  write(proxy: ProxyId): Promise<void> {
    this.#dirty.add(proxy);
    this.#next ??= this.#current.catch(() => undefined).then(() => this.#flush());
    return this.#next;
  }

  /** Resolves when nothing is being written any more. */
  async settled(): Promise<void> {
    while (this.#next !== undefined) await this.#next.catch(() => undefined);
    await this.#current.catch(() => undefined);
  }

  /** Writes again what could not be written. Resolves also where it can't be. */
  async retry(): Promise<void> {
    if (this.#next !== undefined || this.#dirty.size === 0) return;
    this.#next = this.#current.catch(() => undefined).then(() => this.#flush());
    await this.#next.catch(() => undefined);
  }

  #flush(): Promise<void> {
    const proxies = this.#dirty;
    this.#dirty = new Set();
    this.#next = undefined;
    const rows = [...proxies].map((key) => {
      const row = this.#ledger.proxies.get(key);
      return { key, value: row === undefined ? null : toDurable(row) };
    });
    this.#current = this.#store.evidence.write(rows).catch((error: unknown) => {
      for (const proxy of proxies) this.#dirty.add(proxy);
      throw error;
    });
    return this.#current;
  }
}
