/** What may happen to a proxy, as the ledger hears it. */

import type { ProxyIdentity } from "../identity.ts";
import type { Content } from "./content.ts";
import type { Assumption, Consumer, HandedOut, ProxyId, ProxyRow, StreamId, XdsCredential } from "./ledger-state.ts";
import type { Report } from "./strangers.ts";

export type LedgerEvent =
  | {
      type: "connected";
      proxy: ProxyId;
      identity: ProxyIdentity;
      stream: StreamId;
      consumer: Consumer;
      credential: XdsCredential;
      at: number;
    }
  | ({ type: "reported"; proxy: ProxyId } & Report)
  | { type: "asked"; proxy: ProxyId; stream: StreamId; names: ReadonlySet<string>; at: number }
  | { type: "sent"; proxy: ProxyId; stream: StreamId; name: string; matchers: boolean; content: Content; at: number }
  | { type: "acked"; proxy: ProxyId; stream: StreamId; name: string; seq: number; at: number }
  | { type: "resumed"; proxy: ProxyId; stream: StreamId; name: string; at: number }
  | { type: "nacked"; proxy: ProxyId; stream: StreamId; name: string; seq: number; message: string; at: number }
  | { type: "ended"; proxy: ProxyId; stream: StreamId; at: number }
  | { type: "synced"; proxy: ProxyId }
  | ({ type: "assume"; proxy: ProxyId } & Assumption)
  | { type: "forget"; proxy: ProxyId; reason: string; at: number }
  | { type: "withdraw"; proxy: ProxyId; word: "assume" | "forget" }
  /** Its row leaves the ledger, as long as no stream of it is open (E13). */
  | { type: "retire"; proxy: ProxyId; at: number }
  /** That could not be written down. */
  | { type: "restore"; proxy: ProxyId; row: ProxyRow }
  | { type: "retry"; proxy: ProxyId; at: number }
  | { type: "issued"; proxy: ProxyId; credential: HandedOut; at: number }
  /** `earliest`: what the time may be at the earliest, where the clock is in doubt. */
  | { type: "tick"; at: number; earliest?: number };
