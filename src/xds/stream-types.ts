/**
 * The resource types of one stream: each has its own subscription (R8), and they go out in the order of the sources. Make
 * before break: a listener's change goes out after that of the clusters which it needs (Envoy docs: xDS protocol, ADS).
 */

import type { ResourceSession } from "./source.ts";
import { step } from "./subscription.ts";
import type { Input, OfferView, Output, Subscription } from "./subscription-state.ts";

export type Typed = {
  readonly typeUrl: string;
  subscription: Subscription;
  readonly session: ResourceSession;
  readonly view: OfferView;
  /** A response is being recorded or written: the next one waits (R72). */
  writing: boolean;
  /** Something may have changed that could not be sent yet: types that come after this one wait for it. */
  waiting: boolean;
};

export type StreamTypesDeps = {
  /** Type URLs, each after those that its resources name. */
  readonly order: { keys(): Iterable<string> };
  readonly act: (typed: Typed, output: Output) => void;
  readonly now: () => number;
};

/** A response that stays unanswered this long is superseded by the newest content (R22). */
const ANSWER_WITHIN_MS = 30_000;

export class StreamTypes {
  readonly #deps: StreamTypesDeps;
  readonly #types = new Map<string, Typed>();
  #closed = false;

  constructor(deps: StreamTypesDeps) {
    this.#deps = deps;
  }

  get size(): number {
    return this.#types.size;
  }

  get(typeUrl: string): Typed | undefined {
    return this.#types.get(typeUrl);
  }

  add(typed: Typed): void {
    this.#types.set(typed.typeUrl, typed);
  }

  /** No response is on its way, and none waits for its answer. */
  get isIdle(): boolean {
    for (const { subscription, writing } of this.#types.values())
      if (writing || subscription.inFlight !== undefined) return false;
    return true;
  }

  /** Ends every session; nothing is done any more. */
  close(): void {
    this.#closed = true;
    for (const { session } of this.#types.values()) session.close();
    this.#types.clear();
  }

  /** Gives up on answers that did not come in time, and looks at the offers again. */
  sweep(): void {
    const now = this.#deps.now();
    for (const typed of this.#types.values()) {
      const { inFlight } = typed.subscription;
      const isOverdue = inFlight !== undefined && now >= inFlight.at + ANSWER_WITHIN_MS && !typed.writing;
      if (isOverdue) this.step(typed, { type: "overdue" });
      else if (inFlight === undefined) this.step(typed, { type: "changed" });
    }
  }

  /** What a request says is recorded before the next offer is asked for, because the answer may depend on it. */
  step(typed: Typed, input: Input): void {
    if (input.type !== "changed") this.#take(typed, input);
    if (typed.subscription.inFlight !== undefined) {
      typed.waiting ||= input.type === "changed";
      // What changed may have been taken back: then nobody waits for it any more.
      if (input.type === "changed") this.#wakeNext(typed);
      return;
    }
    typed.waiting = this.#mustWait(typed);
    if (typed.waiting) return;
    this.#take(typed, { type: "changed" });
    this.#wakeNext(typed);
  }

  #mustWait({ typeUrl }: Typed): boolean {
    for (const earlier of this.#deps.order.keys()) {
      if (earlier === typeUrl) return false;
      const typed = this.#types.get(earlier);
      if (typed?.waiting === true && (typed.subscription.inFlight === undefined || this.#hasNews(typed))) return true;
    }
    return false;
  }

  /** More would go out if the response on its way were answered. One that was never ACKed, of what has not changed since, is none. */
  #hasNews({ subscription, view }: Typed): boolean {
    const { inFlight: _, ...answered } = subscription;
    const { outputs } = step(answered, { type: "changed" }, view, this.#deps.now());
    return outputs.some(({ type }) => type === "send");
  }

  /** The first type after this one that waited goes on, and wakes the one after it. */
  #wakeNext({ typeUrl }: Typed): void {
    let isAfter = false;
    for (const later of this.#deps.order.keys()) {
      const typed = isAfter ? this.#types.get(later) : undefined;
      if (typed?.waiting === true && typed.subscription.inFlight === undefined) {
        this.step(typed, { type: "changed" });
        return;
      }
      isAfter ||= later === typeUrl;
    }
  }

  #take(typed: Typed, input: Input): void {
    if (this.#closed) return;
    const { state, outputs } = step(typed.subscription, input, typed.view, this.#deps.now());
    typed.subscription = state;
    for (const output of outputs) this.#deps.act(typed, output);
  }
}
