/**
 * The half of the loop that follows: the trust that this replica has adopted, and from which it chooses whatever it sends. It is
 * durable before it gets here, whoever decided it.
 */

import type { TrustInForce } from "../core/roots/trust.ts";

export type What = "trust" | "plan";

export class Follower {
  #trust: TrustInForce;
  readonly #listeners = new Set<(what: What) => void>();

  constructor(trust: TrustInForce) {
    this.#trust = trust;
  }

  get trust(): TrustInForce {
    return this.#trust;
  }

  /** Takes over what is newer than what it has, never what is older (E1), and has it published. */
  adopt(trust: TrustInForce): void {
    if (trust.generation <= this.#trust.generation) return;
    this.#trust = trust;
    this.tell("trust");
  }

  /** Called after every change of the trust, and after every plan. Returns the way to end it. */
  subscribe(listener: (what: What) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  tell(what: What): void {
    for (const listener of this.#listeners) listener(what);
  }
}
