/** What an operator may say about one proxy (evidence.md E5, E8, E13): the proxy found by name, and the event for the ledger. */

import { MeshrootError } from "../core/errors.ts";
import { answersFor } from "../core/evidence/assumptions.ts";
import type { LedgerEvent } from "../core/evidence/ledger-events.ts";
import { isConnected } from "../core/evidence/ledger-queries.ts";
import type { AssumedFor, Ledger, ProxyRow } from "../core/evidence/ledger-state.ts";
import { foreignText } from "../core/foreign-text.ts";
import { identityName } from "../core/identity.ts";
import type { TrustInForce } from "../core/roots/trust.ts";
import type { Hold } from "../core/rotation/holds.ts";
import { askedFor } from "../core/rotation/holds.ts";

/** The two that begin with `un` take the other back. Nothing takes back `gone`: what was known of the proxy is not there any more. */
export const OPERATOR_ACTIONS = ["assume", "unassume", "forget", "unforget", "gone", "retry"] as const;
export type OperatorAction = (typeof OPERATOR_ACTIONS)[number];

export type OperatorRequest = {
  readonly action: OperatorAction;
  /** A uuid, the beginning of one, or `sa.ns`. */
  readonly name: string;
  /** For whoever reads the audit later; may be empty for `retry` alone. */
  readonly reason: string;
  /** `assume` alone: what is answered for. Default: what the first hold that waits for the proxy asks for. */
  readonly for?: readonly AssumedFor[] | undefined;
};

export type OperatorAnswer = {
  readonly proxy: string;
  readonly identity: string;
  readonly connected: boolean;
  /** Names of the secrets that it refused last. */
  readonly refused: readonly string[];
  /** What an operator answers for now. */
  readonly for: readonly AssumedFor[];
};

/** What stands when the operator speaks. `trust` undefined: nobody knows, and the roots of the next look are meant. */
export type Standing = { readonly trust?: TrustInForce; readonly holds: readonly Hold[] };

const MIN_PREFIX = 4;
const MAX_REASON = 500;
const MAX_CANDIDATES = 10;

/**
 * Finds the proxy and puts the request as a ledger event; changes nothing. Throws MR5002 (no usable reason or `for`), MR5005 (no such
 * proxy, or nothing to take back), MR5007 (several of that name), MR5008 (`forget` or `gone` of a proxy that is connected).
 */
export function operatorEvent(
  ledger: Ledger,
  request: OperatorRequest,
  now: number,
  { trust, holds }: Standing = { holds: [] },
): { readonly event: LedgerEvent & { readonly proxy: string }; readonly row: ProxyRow } {
  const { action } = request;
  const reason = checkedReason(request);
  if (request.for !== undefined && action !== "assume")
    throw new MeshrootError("MR5002", `${action} answers for nothing`, "Leave --for away: it belongs to assume.");
  const row = findProxy(ledger, request.name);
  const proxy = row.identity.uuid;
  switch (action) {
    case "retry":
      return { row, event: { type: "retry", proxy, at: now } };
    case "assume": {
      const some = request.for?.length ? request.for : [askedFor(holds, proxy)];
      return {
        row,
        event: { type: "assume", proxy, reason, at: now, for: some, roots: trust?.xds, mesh: trust?.mesh },
      };
    }
    case "forget":
      if (isConnected(row)) throw connected(row);
      return { row, event: { type: "forget", proxy, reason, at: now } };
    case "gone":
      if (isConnected(row)) throw connected(row);
      return { row, event: { type: "retire", proxy, at: now } };
    case "unassume":
    case "unforget": {
      const word = action === "unassume" ? "assume" : "forget";
      if ((word === "assume" ? row.assumed : row.forgotten) === undefined) throw nothingSaid(row, word);
      return { row, event: { type: "withdraw", proxy, word } };
    }
  }
}

/** `event` is about to be recorded. */
export function operatorAnswer(row: ProxyRow, event: LedgerEvent): OperatorAnswer {
  return {
    proxy: row.identity.uuid,
    identity: identityName(row.identity),
    connected: isConnected(row),
    refused: [...row.slots.values()].filter((slot) => slot.refusal !== undefined).map((slot) => slot.name),
    for: event.type === "assume" ? answersFor(event) : [],
  };
}

/** By uuid, by a beginning of it that only one has (at least four characters), or by `sa.ns` where only one has it. */
export function findProxy(ledger: Ledger, name: string): ProxyRow {
  const exact = ledger.proxies.get(name);
  if (exact !== undefined) return exact;
  const found = [...ledger.proxies.values()].filter(
    ({ identity }) => identityName(identity) === name || (name.length >= MIN_PREFIX && identity.uuid.startsWith(name)),
  );
  const [row, ...others] = found;
  if (row === undefined) {
    throw new MeshrootError(
      "MR5005",
      `no proxy ${name}`,
      `Give its uuid, at least ${MIN_PREFIX} characters of its beginning, or its identity, as \`meshroot proxy status\` lists them.`,
    );
  }
  if (others.length === 0) return row;
  throw new MeshrootError(
    "MR5007",
    `${found.length} proxies are called ${name}: ${candidates(found)}`,
    "Give the uuid of the one that you mean, or enough of its beginning.",
  );
}

/** The one heard of last comes last: what somebody wants to forget is mostly the other. */
function candidates(rows: readonly ProxyRow[]): string {
  const sorted = rows.toSorted(
    (a, b) => Number(isConnected(a)) - Number(isConnected(b)) || a.lastContactAt - b.lastContactAt,
  );
  const shown = sorted.slice(0, MAX_CANDIDATES).map((row) => {
    const where = isConnected(row) ? "connected" : "absent";
    return `${row.identity.uuid} (${identityName(row.identity)}, ${where}, last contact ${new Date(row.lastContactAt).toISOString()})`;
  });
  return shown.join(", ") + (rows.length > shown.length ? ` and ${rows.length - shown.length} more` : "");
}

function checkedReason({ action, reason }: OperatorRequest): string {
  const tooLong = reason.trim().length > MAX_REASON;
  const text = foreignText(reason.trim(), MAX_REASON);
  if (text === "" && action !== "retry")
    throw new MeshrootError(
      "MR5002",
      `${action} needs a reason`,
      "Say why with --reason, for whoever reads the audit later.",
    );
  // It is printed on terminals and in logs.
  if (tooLong || /\p{Cc}/u.test(text))
    throw new MeshrootError(
      "MR5002",
      tooLong ? `the reason is longer than ${MAX_REASON} characters` : "the reason holds control characters",
      "Give one line of text.",
    );
  return text;
}

function connected(row: ProxyRow): MeshrootError {
  const sides = [...new Set([...row.session.streams.values()].map(({ consumer }) => consumer))]
    .sort()
    .reverse()
    .join(" and ");
  return new MeshrootError(
    "MR5008",
    `proxy ${row.identity.uuid} (${identityName(row.identity)}) is connected (${sides}), so it is not gone: it counts because it is connected`,
    "Stop it first. If it refuses its secrets, mend what it says and use `meshroot proxy retry`.",
  );
}

function nothingSaid(row: ProxyRow, word: "assume" | "forget"): MeshrootError {
  return new MeshrootError(
    "MR5005",
    `nobody said ${word} of proxy ${row.identity.uuid} (${identityName(row.identity)}), or it is over already`,
    "`meshroot proxy status` lists what operators have said, with their reasons.",
  );
}
