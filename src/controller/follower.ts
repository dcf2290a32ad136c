/**
 * The half of the loop that follows: the trust that this replica has adopted, and from which it chooses whatever it sends. It is
 * durable before it gets here, whoever decided it.
 */

import type { TrustInForce } from "../core/roots/trust.ts";
import { Listeners } from "./listeners.ts";

export type What = "trust" | "plan";

/** The trust object: the trust in force, and the number of the write that stored it. */
export type TrustObject = { readonly trust: TrustInForce; readonly revision: number };

export class Follower {
  #adopted: TrustObject;
  readonly #listeners = new Listeners<What>();

  constructor(adopted: TrustObject) {
    this.#adopted = adopted;
  }

  get trust(): TrustInForce {
    return this.#adopted.trust;
  }

  /** Takes over what is newer than what it has, never what is older, and has a trust that is another one published. */
  adopt(next: TrustObject): void {
    const { revision, trust } = this.#adopted;
    if (next.revision <= revision) return;
    this.#adopted = next;
    if (next.trust !== trust) this.tell("trust");
  }

  /** Called after every change of the trust, and after every plan. Returns the way to end it. */
  subscribe(listener: (what: What) => void): () => void {
    return this.#listeners.add(listener);
  }

  tell(what: What): void {
    this.#listeners.tell(what);
  }
}
