/** E13 for proxies that come and go: what a gate need not wait for, and what it must. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { counts } from "../../../src/core/evidence/ledger-queries.ts";
import { fromDurable, toDurable } from "../../../src/core/evidence/ledger-rows.ts";
import { isOwnLeafName } from "../../../src/core/evidence/secret-names.ts";
import { BUNDLE, bundle, Desk, inForce, LEAF, leaf } from "../../support/desk.ts";

test("E13 a proxy killed after its first bundle and before its first leaf counts only while it is there", () => {
  const desk = new Desk();
  desk.connect("p", "p-1", BUNDLE, LEAF);
  desk.send("p", "p-1", bundle("1", "a"));
  assert.equal(counts(desk.row("p"), desk.now, "until-leaf-expiry"), true);
  desk.end("p", "p-1");
  assert.equal(
    counts(desk.row("p"), desk.now, "until-leaf-expiry"),
    false,
    "without a leaf it takes no part in the mesh",
  );
  assert.equal(counts(desk.row("p"), desk.now, "wait"), true);
  const restarted = fromDurable(new Map([["p", toDurable(desk.row("p"))]]), desk.now).proxies.get("p");
  assert.ok(restarted && !counts(restarted, desk.now, "until-leaf-expiry"), "nor after a restart of the server");
});

test("E13 a proxy that takes bundles alone may have its leaf from elsewhere, so it counts until it returns", () => {
  const desk = new Desk();
  desk.connect("p", "p-1", BUNDLE);
  desk.ack("p", "p-1", desk.send("p", "p-1", bundle("1", "a")));
  desk.tick(45_000);
  desk.end("p", "p-1");
  desk.connect("p", "p-2", BUNDLE);
  desk.end("p", "p-2");
  assert.equal(counts(desk.row("p"), desk.now + 1e12, "until-leaf-expiry"), true, "also if its next stay is short");
});

test("E13 a proxy killed so early that it had not asked for its leaf yet counts only while it is there", () => {
  const desk = new Desk();
  desk.connect("p", "p-1", BUNDLE);
  desk.ack("p", "p-1", desk.send("p", "p-1", bundle("1", "a")));
  desk.tick(44_999);
  assert.equal(counts(desk.row("p"), desk.now, "until-leaf-expiry"), true);
  desk.end("p", "p-1");
  assert.equal(counts(desk.row("p"), desk.now, "until-leaf-expiry"), false);
  const restarted = fromDurable(new Map([["p", toDurable(desk.row("p"))]]), desk.now).proxies.get("p");
  assert.ok(restarted && !counts(restarted, desk.now, "until-leaf-expiry"), "nor after a restart of the server");
});

test("a proxy's own leaf is known by each of its names, in any trust domain, and another's by none", () => {
  const cart = { serviceAccount: "cart", namespace: "shop" };
  for (const name of ["default", "service-cert:shop/cart", "spiffe://x/cart/shop", "spiffe://x/ns/shop/sa/cart"])
    assert.ok(isOwnLeafName(name, cart), name);
  for (const name of ["service-cert:shop/pay", "spiffe://x/shop/cart", "spiffe://x", "ROOTCA", "tls_sds"])
    assert.ok(!isOwnLeafName(name, cart), name);
});

test("E8 a proxy with a leaf and no bundle yet holds the signer from its first leaf on, and no longer than its bundle takes", () => {
  const desk = new Desk(inForce("a", "a", "b"));
  desk.want(["b"], ["a", "b"]);
  desk.connect("p", "p-1", LEAF);
  desk.ack("p", "p-1", desk.send("p", "p-1", leaf("L", "a")), LEAF);
  assert.equal(desk.settle(), "WaitingForTrust", "its roots may come from elsewhere");
  desk.ask("p", "p-1", LEAF, BUNDLE);
  desk.ack("p", "p-1", desk.send("p", "p-1", bundle("2", "a", "b")));
  assert.equal(desk.settle(), "signer b");
});
