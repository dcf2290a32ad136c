/** Each secret of a proxy by itself, as CSDS tells of it (E12). `syncState` is the verdict on the whole proxy. */

import { isInSync, mayRun, syncState } from "./ledger-queries.ts";
import { type ProxyRow, type Slot, slotKey } from "./ledger-state.ts";

/** envoy.service.status.v3.ConfigStatus, seen from the server. */
export type ConfigStatus = "UNKNOWN" | "SYNCED" | "NOT_SENT" | "STALE" | "ERROR";
/** envoy.admin.v3.ClientResourceStatus: the last that the client said. */
export type ClientResourceStatus = "REQUESTED" | "DOES_NOT_EXIST" | "ACKED" | "NACKED";

export type SecretState = {
  readonly name: string;
  /** The last one that was ACKed. */
  readonly version: string | undefined;
  /** When the client last answered, in milliseconds since the epoch; undefined: not in this process's time. */
  readonly answeredAt: number | undefined;
  readonly config: ConfigStatus;
  readonly client: ClientResourceStatus;
  /** `version`: what was refused, as far as one version was. `at`: milliseconds since the epoch. */
  readonly error: { readonly message: string; readonly at: number; readonly version: string | undefined } | undefined;
};

/**
 * The secrets that this proxy's Envoy asks for, or that it may still run; in the order of their names. `wanted` gives the
 * version that a name should be at, or undefined where it can't be delivered. All deliverable names are SYNCED exactly
 * when the proxy is; a NACK makes ERROR of every name of the set that it judged (E12).
 */
export function secretStates(row: ProxyRow, wanted: (name: string) => string | undefined): SecretState[] {
  const asked = new Set<string>();
  for (const { consumer, names } of row.session.streams.values()) {
    if (consumer === "envoy") for (const name of names) asked.add(name);
  }
  const slots = [...row.slots.values()].filter(({ consumer }) => consumer === "envoy");
  const sync = syncState(row, (name, consumer) => (consumer === "envoy" ? wanted(name) : undefined));
  const judged = new Set(sync === "ERROR" ? row.error?.names : []);
  return [...new Set([...asked, ...slots.map(({ name }) => name)])].sort().map((name) => {
    const slot = row.slots.get(slotKey("envoy", name));
    const version = wanted(name);
    const isJudged = judged.has(name);
    return {
      name,
      version: slot?.acked?.version,
      answeredAt: Math.max(slot?.session.ackedAt ?? 0, slot?.refusal?.at ?? 0) || undefined,
      config: isJudged ? "ERROR" : asked.has(name) ? subscribed(slot, version) : "UNKNOWN",
      client: clientStatus(slot, isJudged, version),
      error: isJudged && row.error ? errorOf(row.error, slot) : undefined,
    };
  });
}

function subscribed(slot: Slot | undefined, wanted: string | undefined): ConfigStatus {
  if (slot === undefined || (mayRun(slot).length === 0 && slot.acked === undefined)) return "NOT_SENT";
  if (wanted === undefined) return "UNKNOWN";
  return isInSync(slot, wanted) ? "SYNCED" : "STALE";
}

function clientStatus(slot: Slot | undefined, isJudged: boolean, wanted: string | undefined): ClientResourceStatus {
  if (isJudged || slot?.refusal !== undefined) return "NACKED";
  if (slot?.acked !== undefined) return "ACKED";
  return wanted === undefined ? "DOES_NOT_EXIST" : "REQUESTED";
}

function errorOf(error: NonNullable<ProxyRow["error"]>, slot: Slot | undefined): NonNullable<SecretState["error"]> {
  return {
    message: `answering ${error.answering}: ${error.message}`,
    at: error.at,
    version: slot?.refusal?.version,
  };
}
