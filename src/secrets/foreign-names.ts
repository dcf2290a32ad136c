/**
 * Names of secrets that are somebody else's: said in the audit log, and never answered. A client may ask for any number of them, as
 * often as it likes, and gets a few lines for it.
 */

import { shownName } from "../controller/unknown-names.ts";

/** Of one proxy, by name; of more than these only their number is looked at. */
const REMEMBERED = 100;
/** What a line holds. */
const SHOWN = 10;

/** All of them in `names`, or the first of `count`. */
export type ForeignLine = { readonly count: number; readonly names: readonly string[] };

export class ForeignNames {
  readonly #proxies = new Map<string, { readonly names: Set<string>; most: number }>();

  forget(proxy: string): void {
    this.#proxies.delete(proxy);
  }

  /** `foreign`: all that a stream of this proxy asks for and that is not its own. Undefined: nothing that is worth a line. */
  news(proxy: string, foreign: readonly string[]): ForeignLine | undefined {
    if (foreign.length === 0) return undefined;
    const known = this.#proxies.get(proxy) ?? { names: new Set(), most: 0 };
    this.#proxies.set(proxy, known);
    const fresh: string[] = [];
    for (const name of foreign) {
      if (known.names.size >= REMEMBERED) break;
      if (known.names.has(name)) continue;
      known.names.add(name);
      fresh.push(name);
    }
    const isMany = foreign.length > REMEMBERED;
    const hasGrown = isMany && foreign.length >= 2 * known.most;
    known.most = Math.max(known.most, foreign.length);
    if (fresh.length === 0 && !hasGrown) return undefined;
    const names = (fresh.length === 0 ? foreign : fresh).slice(0, SHOWN).map(shownName);
    return { count: isMany ? foreign.length : fresh.length, names };
  }
}
