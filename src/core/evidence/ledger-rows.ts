/** The durable part of the ledger: what a restart or fail-over has to know (E7). Never a key. */

import type { ProxyIdentity } from "../identity.ts";
import type { RootId } from "../roots/trust.ts";
import type { Content, SecretKind } from "./content.ts";
import { mayRun } from "./ledger-queries.ts";
import {
  type Consumer,
  type Evidence,
  emptyLedger,
  type HandedOut,
  type Ledger,
  newSession,
  newSlotSession,
  type ProxyError,
  type ProxyId,
  type ProxyRow,
  type Refusal,
  type SlotEvidence,
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
  readonly credentialsUntil?: number | undefined;
  /** Undefined in what an earlier version stored. */
  readonly showsLeaf?: boolean;
  readonly stranger?: Evidence["stranger"];
  readonly issued?: readonly HandedOut[];
  readonly assumed: Evidence["assumed"];
  readonly forgotten: Evidence["forgotten"];
};

export function toDurable(evidence: Evidence): DurableRow {
  return {
    identity: evidence.identity,
    slots: [...evidence.slots.values()].map((slot) => ({
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
    lastContactAt: evidence.lastContactAt,
    hadLeaf: evidence.hadLeaf,
    cutShort: evidence.cutShort,
    error: evidence.error,
    auth: evidence.auth,
    credentialsUntil: evidence.credentialsUntil,
    showsLeaf: evidence.showsLeaf,
    stranger: evidence.stranger,
    issued: evidence.issued,
    assumed: evidence.assumed,
    forgotten: evidence.forgotten,
  };
}

/**
 * Reads a ledger back at the start of a process. All its streams have ended with the last one: what they delivered is an
 * orphan set until something sent now is ACKed. Nobody has been heard yet (E14).
 */
export function fromDurable(rows: ReadonlyMap<ProxyId, DurableRow>, now: number): Ledger {
  const ledger = emptyLedger();
  for (const [id, durable] of rows) ledger.proxies.set(id, withSession(evidenceOf(durable, now), now));
  return ledger;
}

function evidenceOf(durable: DurableRow, now: number): Evidence {
  const slots = durable.slots.map((slot) => [slotKey(slot.consumer, slot.name), slotOf(slot, now)] as const);
  return {
    identity: durable.identity,
    slots: new Map(slots),
    lastContactAt: durable.lastContactAt,
    hadLeaf: durable.hadLeaf,
    cutShort: durable.cutShort === true,
    error: durable.error,
    auth: { ...durable.auth },
    credentialsUntil: durable.credentialsUntil,
    showsLeaf: durable.showsLeaf ?? durable.slots.some(({ kind, acked }) => kind === "leaf" && acked !== undefined),
    stranger: durable.stranger,
    issued: (durable.issued ?? []).map((one) => ({ ...one, seq: 0 })),
    assumed: durable.assumed,
    forgotten: durable.forgotten,
  };
}

function slotOf({ mayRun: contents, acked, overlapped, ...slot }: DurableSlot, now: number): SlotEvidence {
  const entries = contents.map((content) => ({ seq: 0, content }));
  return {
    ...slot,
    lines:
      entries.length === 0
        ? []
        : [{ stream: "before-restart", entries, overlapped, ended: { at: now, seq: 0 }, superseded: false }],
    acked: acked === undefined ? undefined : { version: acked, seq: 0 },
    // Put off by a clock that has been set back since.
    refusal: slot.refusal && { ...slot.refusal, retryAt: Math.min(slot.refusal.retryAt, now + RETRY_MAX_MS) },
    withdrawn: slot.withdrawn === true,
  };
}

/** As a process knows it that has seen nothing itself. */
function withSession(evidence: Evidence, now: number): ProxyRow {
  const { lastContactAt } = evidence;
  const session = newSession(lastContactAt, Number.NEGATIVE_INFINITY);
  const slots = [...evidence.slots].map(([key, slot]) => [key, { ...slot, session: newSlotSession(now) }] as const);
  if (slots.some(([, { kind, lines }]) => kind === "leaf" && lines.length > 0)) session.leafFirstSentAt = lastContactAt;
  return { ...evidence, slots: new Map(slots), session };
}
