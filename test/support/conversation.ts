/** One stream of the subscription machine, driven as src/xds/stream.ts drives it, with its outputs in words. */

import {
  newSubscription,
  type Offer,
  type Output,
  type Request,
  type Subscription,
  step,
} from "../../src/xds/subscription.ts";

type Said = Partial<Omit<Request, "type">>;

export class Conversation {
  readonly offers = new Map<string, Offer>();
  now = 0;
  state: Subscription;

  /** `offers`: versions by name; what is missing is absent. */
  constructor(variant: Subscription["variant"], offers: Readonly<Record<string, string | Offer>> = {}, prefix = "n") {
    this.state = newSubscription(variant, prefix);
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
    const { state, outputs } = step(this.state, input, (name) => this.offers.get(name) ?? "absent", this.now);
    this.state = state;
    return outputs.map(inWords);
  }
}

function inWords(output: Output): string {
  switch (output.type) {
    case "send":
      return `send ${output.name} ${output.version} as ${output.nonce}, ${output.bytes}`;
    case "remove":
      return `remove ${output.names.join(",")} as ${output.nonce}`;
    case "resumed":
      return `resumed ${output.name} ${output.version}`;
    case "asked":
      return `asked ${[...output.names].join(",")}`.trim();
    case "verdict": {
      const { sent, verdict, message } = output;
      return `${verdict} ${sent.name} ${sent.version}${message === undefined ? "" : `: ${message}`}`.trim();
    }
  }
}

export const refusal = (message = "x") => ({ error: { code: 13, message } });
