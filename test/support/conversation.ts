/** One stream of the subscription machine, driven as src/xds/stream.ts drives it, with its outputs in words. */

import { step } from "../../src/xds/subscription.ts";
import {
  newSubscription,
  type Offer,
  type Output,
  type RequestInput,
  type Subscription,
  type SubscriptionOptions,
} from "../../src/xds/subscription-state.ts";

type Said = Partial<Omit<RequestInput, "type">>;

export class Conversation {
  readonly offers = new Map<string, Offer>();
  now = 0;
  state: Subscription;

  /** `offers`: versions by name; what is missing is absent. */
  constructor(
    variant: Subscription["variant"],
    offers: Readonly<Record<string, string | Offer>> = {},
    prefix = "n",
    more: Partial<SubscriptionOptions> = {},
  ) {
    this.state = newSubscription({ variant, noncePrefix: prefix, packing: "one", wildcard: false, ...more });
    for (const [name, offer] of Object.entries(offers)) this.#offer(name, offer);
  }

  /** The client speaks; returns what comes of it. */
  say(request: Said): string[] {
    return [...this.#step({ type: "request", nonce: "", ...request }), ...this.changed()];
  }

  /** The source has something new. */
  set(name: string, offer: string | Offer): string[] {
    this.#offer(name, offer);
    return this.changed();
  }

  changed(): string[] {
    return this.state.inFlight === undefined ? this.#step({ type: "changed" }) : [];
  }

  overdue(): string[] {
    return [...this.#step({ type: "overdue" }), ...this.changed()];
  }

  #offer(name: string, offer: string | Offer): void {
    const isVersion = typeof offer === "string" && offer !== "later" && offer !== "absent";
    this.offers.set(name, isVersion ? { version: offer } : offer);
  }

  #step(input: Parameters<typeof step>[1]): string[] {
    const view = {
      offer: (name: string) => this.offers.get(name) ?? ("absent" as const),
      all: () => this.offers.keys(),
    };
    const { state, outputs } = step(this.state, input, view, this.now);
    this.state = state;
    return outputs.map(inWords);
  }
}

function inWords(output: Output): string {
  switch (output.type) {
    case "send": {
      const { nonce, items, removed } = output;
      const parts = items.map(({ name, version, bytes }) => `${name} ${version}, ${bytes}`);
      if (removed.length > 0) parts.push(`without ${removed.join(",")}`);
      const [only] = items;
      if (items.length === 1 && removed.length === 0 && only)
        return `send ${only.name} ${only.version} as ${nonce}, ${only.bytes}`;
      if (items.length === 0 && removed.length > 0) return `remove ${removed.join(",")} as ${nonce}`;
      return `send [${parts.join("; ")}] as ${nonce}`;
    }
    case "resumed":
      return `resumed ${output.name} ${output.version}`;
    case "asked":
      return `asked ${[...(output.all ? ["*"] : []), ...output.names].join(",")}`.trim();
    case "verdict": {
      const { sent, verdict, message } = output;
      const what = sent.items.map(({ name, version }) => `${name} ${version}`).join(", ");
      return `${verdict} ${what}${message === undefined ? "" : `: ${message}`}`.trim();
    }
  }
}

export const refusal = (message = "x") => ({ error: { code: 13, message } });
