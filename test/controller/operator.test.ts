/** Finding the proxy that an operator means, and what the ledger makes of the words. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { findProxy, operatorEvent } from "../../src/controller/operator.ts";
import { record } from "../../src/core/evidence/ledger.ts";
import type { LedgerEvent } from "../../src/core/evidence/ledger-events.ts";
import { counts } from "../../src/core/evidence/ledger-queries.ts";
import { emptyLedger, type Ledger } from "../../src/core/evidence/ledger-state.ts";
import { ownCredential } from "../support/desk.ts";

const NOW = 1_000_000;

function ledgerOf(...proxies: readonly [uuid: string, serviceAccount: string][]): Ledger {
  const ledger = emptyLedger();
  for (const [index, [proxy, serviceAccount]] of proxies.entries()) {
    record(ledger, connected(proxy, serviceAccount, NOW + index));
    record(ledger, { type: "ended", proxy, stream: `${proxy}-s`, at: NOW + index });
  }
  return ledger;
}

function connected(proxy: string, serviceAccount: string, at: number, trustDomain = "cluster.local"): LedgerEvent {
  const identity = { uuid: proxy, kind: "sidecar", serviceAccount, namespace: "shop", trustDomain } as const;
  const credential = ownCredential("a");
  return { type: "connected", proxy, identity, stream: `${proxy}-s`, consumer: "envoy", credential, at };
}

const thrown = (work: () => unknown): { code?: string; message: string } => {
  try {
    work();
  } catch (error) {
    return error as Error & { code: string };
  }
  return { message: "nothing was thrown" };
};

test("a proxy is found by uuid, by a beginning that one has alone, and by an identity that one has alone", () => {
  const ledger = ledgerOf(["abcd1111", "cart"], ["abcd2222", "pay"], ["abce", "pay"]);
  for (const [name, uuid] of [
    ["abcd1111", "abcd1111"],
    ["abcd1", "abcd1111"],
    ["abce", "abce"],
    ["cart.shop", "abcd1111"],
  ] as const)
    assert.equal(findProxy(ledger, name).identity.uuid, uuid);
  for (const name of ["abc", "", "cart", "bcd1111", "pay.other"])
    assert.equal(thrown(() => findProxy(ledger, name)).code, "MR5005", name);
  const several = thrown(() => findProxy(ledger, "pay.shop"));
  assert.equal(several.code, "MR5007");
  assert.match(
    several.message,
    /2 proxies are called pay\.shop: abcd2222 \(pay\.shop, absent, last contact 1970.*\), abce \(/,
  );
  assert.equal(thrown(() => findProxy(ledger, "abcd")).code, "MR5007");
});

test("of many candidates ten are listed", () => {
  const many = Array.from({ length: 13 }, (_, index) => [`abcd${index}`, "cart"] as [string, string]);
  assert.match(thrown(() => findProxy(ledgerOf(...many), "cart.shop")).message, / and 3 more$/);
});

test("E13 forget is over when the proxy returns, and can be taken back before", () => {
  const ledger = ledgerOf(["abcd", "cart"]);
  const row = findProxy(ledger, "abcd");
  const say = (action: "forget" | "unforget") =>
    record(ledger, operatorEvent(ledger, { action, name: "abcd", reason: " drill " }, NOW).event);
  say("forget");
  assert.deepEqual([row.forgotten, counts(row, NOW, "wait")], [{ reason: "drill", at: NOW }, false]);
  say("unforget");
  assert.deepEqual([row.forgotten, counts(row, NOW, "wait")], [undefined, true]);
  say("forget");
  record(ledger, connected("abcd", "cart", NOW));
  assert.deepEqual([row.forgotten, counts(row, NOW, "wait")], [undefined, true]);
  assert.equal(thrown(() => say("forget")).code, "MR5008");
});

test("a proxy that comes back with a credential of another trust domain is the same row, under its new identity", () => {
  const ledger = ledgerOf(["abcd", "cart"]);
  const row = findProxy(ledger, "abcd");
  record(ledger, connected("abcd", "cart", NOW, "other.local"));
  assert.equal(ledger.proxies.size, 1);
  assert.equal(findProxy(ledger, "abcd"), row);
  assert.equal(row.identity.trustDomain, "other.local");
});
