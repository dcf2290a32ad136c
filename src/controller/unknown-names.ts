/** Names that proxies ask for and that lead to nothing: said once each, because they block no gate and are never answered. */

import type { ProxyRow, StreamId } from "../core/evidence/ledger-state.ts";
import { foreignText } from "../core/foreign-text.ts";
import { identityName } from "../core/identity.ts";
import type { Log } from "../ports/log.ts";

/** Of one proxy; a client may ask for anything. */
const MAX_NAMES = 20;
const MAX_LENGTH = 200;
/** Somebody else's secret: the xDS layer writes that into the audit log. */
const SOMEBODYS = /^(service-cert:|spiffe:\/\/)/;

/** What this Envoy asks for now and can't be given: no such name or service, or not its own. Printable, at most twenty. */
export function undeliverable(row: ProxyRow, isKnown: (name: string) => boolean, only?: StreamId): string[] {
  const names = new Set<string>();
  for (const [id, stream] of row.session.streams) {
    if (stream.consumer !== "envoy" || (only !== undefined && id !== only)) continue;
    for (const name of stream.names) {
      if (names.size >= MAX_NAMES) return [...names];
      if (!isKnown(name)) names.add(shownName(name));
    }
  }
  return [...names];
}

/** A client may ask for anything. */
export function shownName(name: string): string {
  return foreignText(name, MAX_LENGTH).replaceAll(/\p{Cc}+/gu, " ");
}

export class UnknownNames {
  readonly #warned = new Map<string, Set<string>>();
  readonly #log: Log;

  constructor(log: Log) {
    this.#log = log;
  }

  forget(proxy: string): void {
    this.#warned.delete(proxy);
  }

  /** Called when a stream has asked for something. */
  look(row: ProxyRow, stream: StreamId, isKnown: (name: string) => boolean): void {
    const proxy = row.identity.uuid;
    const warned = this.#warned.get(proxy) ?? new Set();
    for (const name of undeliverable(row, isKnown, stream)) {
      if (warned.has(name) || warned.size >= MAX_NAMES || SOMEBODYS.test(name)) continue;
      this.#warned.set(proxy, warned.add(name));
      this.#log.warn(
        { component: "secrets", proxy, identity: identityName(row.identity), name },
        `${identityName(row.identity)} asks for ${name}, which does not exist: it is not answered, and no gate waits for it`,
      );
    }
  }
}
