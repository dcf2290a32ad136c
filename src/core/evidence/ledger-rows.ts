/** The durable part of the ledger: what a restart or fail-over has to know (E7). Never a key. */

import type { ProxyIdentity } from "../identity.ts";
import type { RootId } from "../roots/trust.ts";
import type { Content, SecretKind } from "./content.ts";
import { mayRun } from "./ledger-queries.ts";
import {
  type Consumer,
  emptyLedger,
  type HandedOut,
  type Ledger,
  newRow,
  type ProxyError,
  type ProxyId,
  type ProxyRow,
  type Refusal,
  slotKey,
} from "./ledger-state.ts";
import { RETRY_MAX_MS } from "./refusals.ts";

type DurableSlot = {
  readonly consumer: Consumer;
  readonly name: string;
  readonly kind: SecretKind;
  readonly matchers: boolean;
  readonly mayRun: readonly Content[];
  readonly overlapped: boolean;
  readonly acked: string | undefined;
  readonly refusal: Refusal | undefined;
  /** Undefined in what an earlier version stored. */
  readonly withdrawn?: boolean;
};

export type DurableRow = {
  readonly identity: ProxyIdentity;
  readonly slots: readonly DurableSlot[];
  readonly lastContactAt: number;
  readonly hadLeaf: boolean;
  readonly cutShort?: boolean;
  readonly error: ProxyError | undefined;
  readonly auth: { readonly envoy?: RootId; readonly agent?: RootId };
  readonly issued?: readonly HandedOut[];
  readonly assumed: ProxyRow["assumed"];
  readonly forgotten: ProxyRow["forgotten"];
};

export function toDurable(row: ProxyRow): DurableRow {
  return {
    identity: row.identity,
    slots: [...row.slots.values()].map((slot) => ({
      consumer: slot.consumer,
      name: slot.name,
      kind: slot.kind,
      matchers: slot.matchers,
      mayRun: mayRun(slot),
      overlapped: slot.lines.some((line) => line.overlapped),
      acked: slot.acked?.version,
      refusal: slot.refusal,
      withdrawn: slot.withdrawn,
    })),
    lastContactAt: row.lastContactAt,
    hadLeaf: row.hadLeaf,
    cutShort: row.cutShort,
    error: row.error,
    auth: row.auth,
    issued: row.issued,
    assumed: row.assumed,
    forgotten: row.forgotten,
  };
}

/**
 * Reads a ledger back at the start of a process. All its streams have ended with the last one: what they delivered is an
 * orphan set until something sent now is ACKed. Nobody has been heard yet (E14).
 */
export function fromDurable(rows: ReadonlyMap<ProxyId, DurableRow>, now: number): Ledger {
  const ledger = emptyLedger();
  for (const [id, durable] of rows) {
    const row = newRow(durable.identity, durable.lastContactAt);
    for (const { mayRun: contents, acked, overlapped, ...slot } of durable.slots) {
      const entries = contents.map((content) => ({ seq: 0, content }));
      row.slots.set(slotKey(slot.consumer, slot.name), {
        ...slot,
        lines:
          entries.length === 0
            ? []
            : [{ stream: "before-restart", entries, overlapped, ended: { at: now, seq: 0 }, superseded: false }],
        acked: acked === undefined ? undefined : { version: acked, seq: 0, at: 0 },
        // Put off by a clock that has been set back since.
        refusal: slot.refusal && { ...slot.refusal, retryAt: Math.min(slot.refusal.retryAt, now + RETRY_MAX_MS) },
        answered: undefined,
        withdrawn: slot.withdrawn === true,
        lastAskedAt: now,
      });
      if (slot.kind === "leaf" && entries.length > 0) row.leafFirstSentAt = durable.lastContactAt;
    }
    row.hadLeaf = durable.hadLeaf;
    row.cutShort = durable.cutShort === true;
    row.error = durable.error;
    row.auth = { ...durable.auth };
    row.issued = (durable.issued ?? []).map((one) => ({ ...one, seq: 0 }));
    row.assumed = durable.assumed;
    row.forgotten = durable.forgotten;
    ledger.proxies.set(id, row);
  }
  return ledger;
}
