/** The subscription machine under random requests and offers, each step checked by a second telling of the rules. */

import assert from "node:assert/strict";
import { test } from "node:test";
import type { Offer, RequestInput, Subscription } from "../../src/xds/subscription-state.ts";
import { SubscriptionOracle } from "../support/fuzz/subscription-oracle.ts";
import fc from "../support/property.ts";
import { seedsOf } from "../support/seed.ts";

const NAMES = ["A", "B", "C", "*", "", "__proto__", "constructor"];
const RESOURCES = NAMES.filter((name) => name !== "*" && name !== "");
/** Each run is a conversation of up to 40 inputs. */
const RUNS = 20_000;

const names = fc.array(fc.constantFrom(...NAMES), { maxLength: 4 });
const version = fc.constantFrom("1", "2", "3");
const offer: fc.Arbitrary<Offer> = fc.oneof(
  fc.constantFrom<Offer>("absent", "later"),
  fc.record({ version }),
  fc.record({ version, again: fc.constant(true) }),
  fc.record({ version, kept: fc.constantFrom("always" as const, "delta" as const) }),
);
const ask = fc.record({
  type: fc.constant("ask" as const),
  /** Which of the responses it answers, counted from the newest; -1: none, -2: one that never was. */
  nonce: fc.constantFrom(0, 0, 0, 0, 1, 2, 9, -1, -2),
  version: fc.constantFrom("sent", "sent", "sent", "", "1", "other"),
  refuses: fc.constantFrom(false, false, true),
  /** Undefined: nothing changes. */
  names: fc.option(names, { nil: undefined, freq: 2 }),
  unsubscribe: names,
  initial: fc.array(fc.tuple(fc.constantFrom(...NAMES), version), { maxLength: 3 }),
});
const input = fc.oneof(
  { weight: 6, arbitrary: ask },
  {
    weight: 4,
    arbitrary: fc.record({ type: fc.constant("offer" as const), name: fc.constantFrom(...RESOURCES), offer }),
  },
  { weight: 4, arbitrary: fc.record({ type: fc.constant("changed" as const) }) },
  { weight: 1, arbitrary: fc.record({ type: fc.constant("overdue" as const) }) },
);
const options = fc.record({
  variant: fc.constantFrom("sotw" as const, "delta" as const),
  packing: fc.constantFrom("one" as const, "changed" as const, "full" as const),
  wildcard: fc.boolean(),
});
type Ask = typeof ask extends fc.Arbitrary<infer T> ? T : never;

function requestOf(
  oracle: SubscriptionOracle,
  { variant }: Pick<Subscription, "variant">,
  say: Ask,
  held: string[],
): RequestInput {
  const nonce = say.nonce === -2 ? "n0foreign" : say.nonce === -1 ? "" : (oracle.nonces.at(-1 - say.nonce) ?? "");
  const error = say.refuses ? { error: { code: 13, message: "no" } } : {};
  const base = { type: "request" as const, nonce, ...error };
  if (variant === "delta") {
    const change = say.names === undefined ? {} : { subscribe: say.names, unsubscribe: say.unsubscribe };
    return { ...base, ...change, initialVersions: new Map(say.initial) };
  }
  const said = say.version === "sent" ? oracle.versionOf(nonce) : say.version;
  return { ...base, names: say.names ?? held, version: said };
}

for (const seed of seedsOf("subscriptions"))
  test(`a subscription keeps R10, R11, R14-R26, R54-R60, E3 and E4 whatever is said and offered (seed ${seed})`, () =>
    keep(seed));

function keep(seed: number): void {
  let sends = 0;
  fc.assert(
    fc.property(options, fc.array(input, { minLength: 1, maxLength: 40, size: "max" }), (how, inputs) => {
      const oracle = new SubscriptionOracle(how);
      let held: string[] = [];
      for (const one of inputs) {
        if (one.type === "offer") oracle.set(one.name, one.offer);
        else if (one.type !== "ask") oracle.take(one);
        else {
          const request = requestOf(oracle, how, one, held);
          held = one.names ?? held;
          // Only where the version says nothing by itself: another one than was sent is no acceptance (R16).
          if (how.variant === "delta" || request.version === oracle.versionOf(request.nonce))
            oracle.checkNackIsNoReason(request);
          oracle.take(request);
        }
      }
      // From here on the client accepts everything: it ends, with everything delivered.
      for (const [name, value] of oracle.offers)
        if (typeof value === "object" && value.again === true) oracle.set(name, { version: value.version });
      for (let round = 0; ; round++) {
        assert.ok(round < 2 * NAMES.length + 4, "it never comes to rest");
        const nonce = oracle.inFlight;
        if (nonce !== undefined) {
          const accepted = how.variant === "sotw" ? { names: held, version: oracle.versionOf(nonce) } : {};
          oracle.take({ type: "request", nonce, ...accepted });
        }
        oracle.take({ type: "changed" });
        if (oracle.inFlight === undefined) break;
      }
      oracle.checkAllDelivered();
      sends += oracle.nonces.length;
    }),
    { seed, numRuns: RUNS },
  );
  assert.ok(sends > RUNS, `only ${sends} responses in ${RUNS} conversations`);
}

test("a step changes nothing but what it returns", () => {
  fc.assert(
    fc.property(options, fc.array(input, { maxLength: 20, size: "max" }), (how, inputs) => {
      const oracle = new SubscriptionOracle(how);
      for (const one of inputs) {
        const { state } = oracle;
        const before = structuredClone(state);
        if (one.type === "offer") oracle.set(one.name, one.offer);
        else oracle.take(one.type === "ask" ? requestOf(oracle, how, one, []) : one);
        assert.deepEqual(state, before);
      }
    }),
    { numRuns: 300 },
  );
});
