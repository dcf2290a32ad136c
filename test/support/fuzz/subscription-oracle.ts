/**
 * What a subscription may do, told a second time and in other words than src/xds/subscription*.ts: every step of the machine
 * is checked against it.
 */

import assert from "node:assert/strict";
import { step } from "../../../src/xds/subscription.ts";
import {
  type Input,
  newSubscription,
  type Offer,
  type OfferView,
  type Output,
  type RequestInput,
  type Subscription,
  type SubscriptionOptions,
} from "../../../src/xds/subscription-state.ts";

type Send = Output & { readonly type: "send" };
type LastSend = { readonly nonce: string; readonly version: string };

/** As src/xds/subscription-requests.ts remembers late verdicts (R17). */
const LATE_VERDICTS = 8;

export class SubscriptionOracle {
  readonly offers = new Map<string, Offer>();
  state: Subscription;
  /** All nonces so far, in order. */
  readonly nonces: string[] = [];
  readonly #sends = new Map<string, Send>();
  readonly #verdicts = new Map<string, string>();
  readonly #last = new Map<string, LastSend>();
  /** Names whose next send needs no other reason: asked for anew, or gone in between. */
  readonly #due = new Set<string>();
  readonly #reported = new Map<string, string>();
  /** Names that the client was told of, or that it told us of. */
  readonly #heardOf = new Set<string>();
  /** Names that were given up while everything is subscribed to: each is answered once more (R60). */
  readonly #takenBack = new Set<string>();
  #explicit = new Set<string>();
  #all = false;
  #named = false;
  #fresh = true;
  #shrunk = false;

  constructor(options: Pick<SubscriptionOptions, "variant" | "packing" | "wildcard">) {
    this.state = newSubscription({ ...options, noncePrefix: "n" });
  }

  get inFlight(): string | undefined {
    return this.state.inFlight?.nonce;
  }

  versionOf(nonce: string): string {
    return this.#sends.get(nonce)?.version ?? "";
  }

  set(name: string, offer: Offer): void {
    if (offer === "absent") this.#shrunk = true;
    this.offers.set(name, offer);
  }

  take(input: Input): readonly Output[] {
    const before = this.state;
    const { state, outputs } = step(before, input, this.view(), 0);
    this.state = state;
    if (input.type === "request") this.#subscribe(input);
    const sends = outputs.filter((output) => output.type === "send");
    assert.ok(sends.length <= 1, "one response at a time");
    for (const output of outputs) {
      if (output.type === "verdict") this.#checkVerdict(input, output);
      if (output.type === "resumed") {
        assert.equal(this.#reported.get(output.name), output.version, "resumed is what the client reported");
        this.#last.set(output.name, { nonce: "", version: output.version });
        this.#due.delete(output.name);
      }
      if (output.type === "asked") {
        assert.deepEqual(new Set(output.names), this.#explicit, "asked: the names");
        assert.equal(output.all, this.#all, "asked: everything");
      }
      if (output.type === "send") {
        assert.equal(input.type, "changed", "nothing is sent because of a request or of time alone");
        assert.equal(before.inFlight, undefined, "R22: at most one in flight");
        assert.equal(state.inFlight?.nonce, output.nonce);
        this.#checkSend(output);
      }
    }
    assert.ok(state.log.size <= LATE_VERDICTS + 2 + state.names.size, `the log grows: ${state.log.size}`);
    return outputs;
  }

  /** R20: a refusal causes nothing that an acceptance would not have caused too. */
  checkNackIsNoReason(request: RequestInput): void {
    const outcome = (input: RequestInput) => {
      const heard = step(this.state, input, this.view(), 0).state;
      const [send] = step(heard, { type: "changed" }, this.view(), 0).outputs.filter(({ type }) => type === "send");
      if (send?.type !== "send") return undefined;
      return { names: send.items.map(({ name, version }) => `${name} ${version}`), removed: send.removed };
    };
    const { error: _, ...accepted } = request;
    assert.deepEqual(outcome({ ...request, error: { code: 13, message: "no" } }), outcome(accepted));
  }

  /** Every subscribed name that can be delivered was, in its newest version; every one that is gone was said to be. */
  checkAllDelivered(): void {
    const subscribed = new Set([...this.#explicit, ...(this.#all ? this.offers.keys() : [])]);
    for (const name of subscribed) {
      const offer = this.offers.get(name) ?? "absent";
      if (typeof offer === "string" || offer.again === true || isKept(offer, this.state.variant)) continue;
      assert.equal(this.#last.get(name)?.version, offer.version, `${JSON.stringify(name)} was not delivered`);
    }
  }

  view(): OfferView {
    return {
      offer: (name, has) => {
        const offer = this.offers.get(name) ?? "absent";
        // As a source does it: what the client does not hold can't be kept.
        if (typeof offer === "string" || offer.kept === undefined || offer.version === has) return offer;
        return { version: offer.version };
      },
      all: () => this.offers.keys(),
    };
  }

  #subscribe(request: RequestInput): void {
    if (this.state.variant === "sotw") this.#subscribeSotw(request);
    else this.#subscribeDelta(request);
    this.#fresh = false;
  }

  #subscribeSotw({ nonce, names = [], version = "" }: RequestInput): void {
    const isStale = nonce !== "" && nonce !== this.nonces.at(-1) && !this.#fresh;
    if (isStale) return;
    const wanted = new Set(names.filter((name) => name !== ""));
    const star = wanted.delete("*");
    this.#named ||= star || wanted.size > 0;
    const all = this.state.wildcard && (star || !this.#named);
    if (this.#fresh && wanted.size === 1 && !all && version !== "")
      for (const name of wanted) this.#reported.set(name, version);
    for (const name of wanted) if (!this.#explicit.has(name)) this.#due.add(name);
    if ([...this.#explicit].some((name) => !wanted.has(name)) || all !== this.#all) this.#shrunk = true;
    this.#forgetUnless(all, wanted);
    this.#explicit = wanted;
    this.#all = all;
  }

  #subscribeDelta({ subscribe = [], unsubscribe = [], initialVersions }: RequestInput): void {
    const names = subscribe.filter((name) => name !== "");
    if (this.#fresh) {
      for (const [name, version] of initialVersions ?? []) {
        this.#heardOf.add(name);
        this.#reported.set(name, version);
      }
    }
    const legacy = this.#fresh && names.length === 0;
    const all = this.state.wildcard && (this.#all || names.includes("*") || legacy) && !unsubscribe.includes("*");
    const explicit = new Set([...this.#explicit, ...names]);
    explicit.delete("*");
    for (const name of names) this.#due.add(name);
    for (const name of unsubscribe) {
      if (all && explicit.has(name)) this.#takenBack.add(name);
      explicit.delete(name);
      this.#due.add(name);
    }
    this.#forgetUnless(all, explicit);
    this.#explicit = explicit;
    this.#all = all;
  }

  /** What was unsubscribed is as if it had never been sent. */
  #forgetUnless(all: boolean, explicit: ReadonlySet<string>): void {
    if (all) return;
    for (const name of [...this.#last.keys(), ...this.#reported.keys()]) {
      if (explicit.has(name)) continue;
      this.#last.delete(name);
      if (!this.#fresh) this.#reported.delete(name);
    }
  }

  #checkVerdict(input: Input, { sent, verdict }: Output & { readonly type: "verdict" }): void {
    const { nonce } = sent;
    assert.ok(this.#sends.has(nonce), "a verdict on something that was sent");
    const before = this.#verdicts.get(nonce);
    assert.ok(before === undefined || before === "superseded", "E4: the first verdict stands");
    if (verdict === "superseded") assert.equal(input.type, "overdue");
    else {
      assert.ok(input.type === "request" && input.nonce === nonce);
      assert.equal(verdict === "nacked", input.error !== undefined, "R15");
      const isOther = this.state.variant === "sotw" && input.version !== sent.version;
      if (input.error === undefined) assert.equal(verdict, isOther ? "unknown" : "acked", "R14, R16");
    }
    this.#verdicts.set(nonce, verdict);
  }

  #checkSend(send: Send): void {
    const { nonce, items, removed } = send;
    const { variant, packing } = this.state;
    assert.ok(!this.#sends.has(nonce) && nonce !== "", "R11: no nonce twice");
    const names = [...items.map(({ name }) => name), ...removed];
    assert.equal(new Set(names).size, names.length, "R10: no name twice");
    if (packing === "one") assert.ok(items.length <= 1, "R23: one resource");
    if (variant === "sotw") assert.equal(removed.length, 0);
    if (names.length === 0)
      assert.ok(this.#all || (packing === "full" && variant === "sotw"), "R59: no empty response");
    for (const { name, version, bytes } of items) {
      const offer = this.offers.get(name) ?? "absent";
      assert.ok(this.#explicit.has(name) || this.#all, `R10: ${JSON.stringify(name)} is not subscribed`);
      assert.ok(typeof offer === "object" && offer.version === version, "what is offered now");
      if (bytes === "plain") this.#checkPlain(name, version, offer.again === true);
    }
    for (const name of removed) {
      const isAnswered =
        this.#explicit.has(name) || (this.#all && (this.#heardOf.has(name) || this.#takenBack.has(name)));
      assert.ok(isAnswered, "R56, R60: removed, but not asked for");
      assert.equal(this.offers.get(name) ?? "absent", "absent");
    }
    const isReason = ({ name, version }: Send["items"][number]) => {
      const offer = this.offers.get(name);
      const again = typeof offer === "object" && offer.again === true;
      return again || this.#due.has(name) || this.#last.get(name)?.version !== version;
    };
    if (packing === "full" && variant === "sotw")
      assert.ok(this.#sends.size === 0 || this.#shrunk || items.some(isReason), "R26: sent without a reason");
    else for (const item of items) assert.ok(isReason(item), `R20, R26: ${item.name} sent without a reason`);
    this.#shrunk = false;
    this.#record(send);
  }

  #checkPlain(name: string, version: string, again: boolean): void {
    assert.ok(!again, "E5: again is in unique bytes");
    const last = this.#last.get(name);
    if (last === undefined) assert.equal(this.#reported.get(name), version, "E3a");
    else assert.equal(this.#verdicts.get(last.nonce), "acked", "E3b");
  }

  #record(send: Send): void {
    this.nonces.push(send.nonce);
    this.#sends.set(send.nonce, send);
    // What is missing in a full response is deleted by the client.
    if (this.state.packing === "full" && this.state.variant === "sotw")
      for (const name of [...this.#last.keys()]) if (!this.state.names.get(name)?.sent) this.#last.delete(name);
    for (const { name, version } of send.items) {
      this.#last.set(name, { nonce: send.nonce, version });
      this.#due.delete(name);
      this.#heardOf.add(name);
    }
    for (const name of send.removed) {
      this.#last.delete(name);
      this.#reported.delete(name);
      this.#due.add(name);
      this.#heardOf.add(name);
    }
  }
}

function isKept(offer: Exclude<Offer, string>, variant: "sotw" | "delta"): boolean {
  return offer.kept === "always" || (offer.kept === "delta" && variant === "delta");
}
