/** E13: who leaves the ledger, when, and what is asked of a process that comes back all the same. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { record } from "../../../src/core/evidence/ledger.ts";
import {
  counts,
  hasHadLeaf,
  presentedRoots,
  presents,
  readyForLeaf,
  trusts,
  trustsOnXds,
} from "../../../src/core/evidence/ledger-queries.ts";
import { fromDurable, toDurable } from "../../../src/core/evidence/ledger-rows.ts";
import { RETIRES_AFTER_MS, retiring } from "../../../src/core/evidence/retirement.ts";
import { BUNDLE, bundle, Desk, inForce, LEAF, leaf, ownCredential } from "../../support/desk.ts";

const HOUR_MS = 3_600_000;
const CREDENTIAL_MS = 30 * 24 * HOUR_MS;

/** Who retires at `earliest`, by uuid. */
function leaving(desk: Desk, earliest: number, policy: "until-leaf-expiry" | "wait" = "until-leaf-expiry"): string[] {
  const input = { earliest, since: 0, policy, credentialMs: CREDENTIAL_MS };
  return retiring(desk.ledger, input).map(({ identity }) => identity.uuid);
}

/** A proxy that came with a credential until `credentialUntil`, was given a leaf until `leafUntil`, and went. */
function visitor(desk: Desk, proxy: string, credentialUntil: number, leafUntil: number): void {
  desk.joinWith(proxy, `${proxy}-1`, "envoy", { ...ownCredential("a"), notAfter: credentialUntil }, BUNDLE, LEAF);
  desk.ack(proxy, `${proxy}-1`, desk.send(proxy, `${proxy}-1`, bundle("1", "a")));
  desk.ack(proxy, `${proxy}-1`, desk.send(proxy, `${proxy}-1`, leaf("L", "a", leafUntil)), LEAF);
  desk.end(proxy, `${proxy}-1`);
}

test("E13 a proxy retires an hour after its leaf and its xDS credential have both expired, and not before", () => {
  const desk = new Desk();
  const [short, long] = [desk.now + HOUR_MS, desk.now + 5 * HOUR_MS];
  visitor(desk, "leaf-last", short, long);
  visitor(desk, "credential-last", long, short);
  assert.deepEqual(leaving(desk, long + RETIRES_AFTER_MS - 1), []);
  assert.deepEqual(leaving(desk, long + RETIRES_AFTER_MS), ["leaf-last", "credential-last"]);
});

test("E13 what its agent was sent, and what was handed out for it, keeps a proxy in the ledger as long", () => {
  const desk = new Desk();
  const short = desk.now + HOUR_MS;
  visitor(desk, "handed", short, short);
  const { notAfter } = desk.handOut("handed", "a", "a");
  visitor(desk, "agent", short, short);
  desk.joinWith("agent", "a-1", "agent", { ...ownCredential("a"), notAfter: short }, "tls_sds");
  desk.send("agent", "a-1", { kind: "xdsLeaf", version: "X", root: "a", notAfter }, "tls_sds");
  desk.end("agent", "a-1");
  assert.deepEqual(leaving(desk, notAfter + RETIRES_AFTER_MS - 1), []);
  assert.deepEqual(leaving(desk, notAfter + RETIRES_AFTER_MS).sort(), ["agent", "handed"]);
});

test("E13 a process that holds a bundle and has shown no leaf stays: it would come back unrecognised", () => {
  const desk = new Desk();
  const soon = desk.now + HOUR_MS;
  const credential = { ...ownCredential("a"), notAfter: soon };
  desk.joinWith("p", "p-0", "envoy", credential, BUNDLE, LEAF);
  desk.ack("p", "p-0", desk.send("p", "p-0", bundle("1", "a")));
  desk.end("p", "p-0");
  const later = soon + RETIRES_AFTER_MS;
  assert.deepEqual(leaving(desk, later), [], "its CA was slow");
  // Its successor is given a leaf, and that one's has none again.
  visitor(desk, "p", soon, soon);
  assert.deepEqual(leaving(desk, later), ["p"]);
  desk.joinWith("p", "p-2", "envoy", credential, BUNDLE);
  desk.end("p", "p-2");
  assert.deepEqual(leaving(desk, later), []);
  const stored = fromDurable(new Map([["p", toDurable(desk.row("p"))]]), desk.now);
  const input = { earliest: later, since: 0, policy: "until-leaf-expiry", credentialMs: CREDENTIAL_MS } as const;
  assert.deepEqual(retiring(stored, input), [], "a restart forgets nothing of it");
  // Back with the leaf that it was given, it says so.
  desk.joinWith("p", "p-3", "envoy", credential, LEAF);
  const held = [{ name: LEAF, kind: "leaf", matchers: false, version: "L", shared: true }] as const;
  record(desk.ledger, { type: "reported", proxy: "p", stream: "p-3", held, leafUntil: soon, at: desk.now });
  desk.end("p", "p-3");
  assert.deepEqual(leaving(desk, later), ["p"]);
});

test("E13 nobody retires who counts: who is connected, who has its leaf from elsewhere, and under wait who is away", () => {
  const desk = new Desk();
  const soon = desk.now + HOUR_MS;
  const end = soon + RETIRES_AFTER_MS;
  visitor(desk, "away", soon, soon);
  visitor(desk, "back", soon, soon);
  desk.joinWith("back", "back-2", "envoy", { ...ownCredential("a"), notAfter: soon }, BUNDLE);
  desk.joinWith("elsewhere", "e-1", "envoy", { ...ownCredential("a"), notAfter: soon }, BUNDLE);
  desk.ack("elsewhere", "e-1", desk.send("elsewhere", "e-1", bundle("1", "a")));
  desk.tick(45_000);
  desk.end("elsewhere", "e-1");
  assert.deepEqual(leaving(desk, end), ["away"]);
  assert.deepEqual(leaving(desk, end, "wait"), []);
  for (const proxy of ["away", "elsewhere"])
    record(desk.ledger, { type: "forget", proxy, reason: "gone", at: desk.now });
  assert.deepEqual(leaving(desk, end, "wait"), ["away", "elsewhere"], "an operator's word ends it");
});

test("E13 a process retires nobody in its first hour: one that began in a leap can't know", () => {
  const desk = new Desk();
  visitor(desk, "p", desk.now, desk.now);
  const retiringSince = (since: number) =>
    retiring(desk.ledger, { earliest: 1e12, since, policy: "until-leaf-expiry", credentialMs: CREDENTIAL_MS }).length;
  assert.deepEqual([retiringSince(1e12 - HOUR_MS + 1), retiringSince(1e12 - HOUR_MS)], [0, 1]);
});

test("E13 of a row that an earlier version stored the credential may be as long as any that is made", () => {
  const desk = new Desk();
  visitor(desk, "p", desk.now + 1e15, desk.now);
  const { credentialsUntil: _, stranger: __, ...earlier } = toDurable(desk.row("p"));
  const back = new Desk(inForce("a", "a"), fromDurable(new Map([["p", earlier]]), desk.now));
  const until = desk.now + CREDENTIAL_MS + RETIRES_AFTER_MS;
  assert.deepEqual([leaving(back, until - 1), leaving(back, until)], [[], ["p"]]);
});

test("E13 forget --gone takes the row out, but not that of a proxy that is connected; E11 its connections are thought of", () => {
  const desk = new Desk();
  desk.running("p", bundle("1", "a"), leaf("L", "a"));
  record(desk.ledger, { type: "retire", proxy: "p", at: desk.now });
  assert.ok(desk.ledger.proxies.has("p"), "it is connected");
  desk.end("p", "p-1");
  const row = desk.row("p");
  record(desk.ledger, { type: "retire", proxy: "p", at: desk.now });
  assert.equal(desk.ledger.proxies.size, 0);
  assert.deepEqual(presentedRoots(desk.ledger, ["a"], desk.now + 4_999, 5_000), ["a"]);
  assert.deepEqual(presentedRoots(desk.ledger, ["a"], desk.now + 5_000, 5_000), []);
  record(desk.ledger, { type: "restore", proxy: "p", row });
  assert.equal(desk.row("p"), row, "where that could not be written down, it is back");
});

/** Its row has left; it comes back with a stream that asks for `name`, and says what it holds. */
function stranger(desk: Desk, name: string, stream = "p-1"): void {
  desk.connect("p", stream);
  desk.report("p", stream, { [name]: "of before" });
  desk.ask("p", stream, name);
}

test("E13 E10 a process without a row trusts nothing and gets no leaf until it has had time to ask for all its names", () => {
  const desk = new Desk(inForce("a", "a"));
  stranger(desk, BUNDLE);
  desk.ack("p", "p-1", desk.send("p", "p-1", bundle("1", "a")));
  const looks = () => [trusts(desk.row("p"), "a"), readyForLeaf(desk.row("p"), ["a"], undefined)];
  assert.deepEqual(looks(), [false, false], "another of its streams may be in its back-off");
  desk.tick(44_000);
  desk.connect("p", "p-2");
  desk.report("p", "p-2", { other: "of before" });
  desk.ask("p", "p-2", "other");
  desk.tick(1_000);
  assert.deepEqual(looks(), [false, false], "this bundle was not answered yet");
  desk.ack("p", "p-2", desk.send("p", "p-2", bundle("1", "a"), "other"), "other");
  assert.deepEqual(looks(), [true, true]);
});

test("E13 what a process without a row has refused it does not report: each name that it asks for may be anything", () => {
  const desk = new Desk(inForce("a", "a"));
  stranger(desk, BUNDLE);
  desk.connect("p", "p-2");
  desk.report("p", "p-2", { other: "" });
  desk.ask("p", "p-2", "other");
  desk.ack("p", "p-1", desk.send("p", "p-1", bundle("1", "a")));
  desk.tick(45_000);
  assert.equal(trusts(desk.row("p"), "a"), false);
  desk.ack("p", "p-2", desk.send("p", "p-2", bundle("1", "a"), "other"), "other");
  assert.equal(trusts(desk.row("p"), "a"), true);
});

test("E13 E9 a leaf that nobody knows is under any root, until it has expired or another one is ACKed", () => {
  const desk = new Desk(inForce("a", "a", "b"));
  const until = desk.now + HOUR_MS;
  desk.connect("p", "p-1");
  desk.report("p", "p-1", { [LEAF]: "of before" }, until);
  desk.ask("p", "p-1", LEAF);
  const under = (now = desk.now) => ["a", "b"].filter((root) => presents(desk.row("p"), root, now));
  assert.deepEqual(under(), ["a", "b"]);
  desk.tick(45_000);
  assert.equal(desk.row("p").stranger, undefined);
  assert.deepEqual([under(), under(until)], [["a", "b"], []]);
  assert.deepEqual(presentedRoots(desk.ledger, ["a", "b"], desk.now, 0), ["a", "b"]);
  desk.ack("p", "p-1", desk.send("p", "p-1", leaf("L", "b")), LEAF);
  assert.deepEqual(under(), ["b"]);
});

test("E13 a process without a row that goes away again counts until the leaf that it may have has expired, also after a restart", () => {
  const desk = new Desk(inForce("a", "a"));
  const until = desk.now + HOUR_MS;
  desk.connect("p", "p-1");
  desk.report("p", "p-1", { [BUNDLE]: "of before" }, until);
  desk.ask("p", "p-1", BUNDLE);
  desk.end("p", "p-1");
  const restarted = fromDurable(new Map([["p", toDurable(desk.row("p"))]]), desk.now).proxies.get("p");
  for (const row of [desk.row("p"), restarted]) {
    assert.ok(row !== undefined && !trusts(row, "a"));
    assert.deepEqual(
      [until - 1, until].map((now) => counts(row, now, "until-leaf-expiry")),
      [true, false],
    );
  }
});

test("E13 E15 who reports what the ledger knows is no stranger, nor is a new process, nor one that reports again", () => {
  const desk = new Desk(inForce("a", "a"));
  desk.running("p", bundle("1", "a"), leaf("L", "a"));
  desk.connect("p", "p-2");
  desk.report("p", "p-2", { [BUNDLE]: "1", [LEAF]: "L" });
  assert.equal(desk.row("p").stranger, undefined);
  desk.connect("new", "n-1");
  desk.report("new", "n-1", { [BUNDLE]: "", [LEAF]: "" });
  assert.equal(desk.row("new").stranger, undefined);
  assert.equal(desk.row("new").slots.size, 0);
  desk.report("p", "p-2", { other: "M" });
  assert.notEqual(desk.row("p").stranger, undefined);
  desk.tick(45_000);
  desk.end("p", "p-2");
  desk.connect("p", "p-3");
  desk.report("p", "p-3", { other: "M" });
  assert.equal(desk.row("p").stranger, undefined, "it has said so once, and it counts already");
});

test("E13 a version of a name that the ledger knows otherwise counts beside what is known, and makes no stranger", () => {
  const desk = new Desk(inForce("a", "a"));
  desk.running("p", bundle("1", "a"), leaf("L", "a"));
  desk.connect("p", "p-2");
  desk.report("p", "p-2", { [BUNDLE]: "another" });
  desk.ask("p", "p-2", BUNDLE, LEAF);
  assert.deepEqual([desk.row("p").stranger, trusts(desk.row("p"), "a")], [undefined, false]);
  desk.ack("p", "p-2", desk.send("p", "p-2", bundle("1", "a")));
  assert.equal(trusts(desk.row("p"), "a"), true);
});

test("E13 of several names in one version it is enough that one of them has it (SotW)", () => {
  const desk = new Desk(inForce("a", "a"));
  desk.running("p", bundle("1", "a"), leaf("L", "a"));
  desk.connect("p", "p-2");
  const say = (version: string) => {
    const held = [BUNDLE, "other"].map(
      (name) => ({ name, kind: "bundle", matchers: false, version, shared: true }) as const,
    );
    record(desk.ledger, { type: "reported", proxy: "p", stream: "p-2", held, leafUntil: desk.now, at: desk.now });
    return desk.row("p").stranger !== undefined;
  };
  assert.deepEqual([say("L"), say("of before")], [false, true]);
});

test("E10 a new process in the place of one without a row gets its leaf although the other's bundles are not asked for again", () => {
  const desk = new Desk(inForce("a", "a"));
  desk.connect("p", "p-1");
  desk.report("p", "p-1", { [BUNDLE]: "of before", [LEAF]: "of before" });
  desk.ask("p", "p-1", BUNDLE, LEAF);
  desk.end("p", "p-1");
  desk.connect("p", "p-2", LEAF);
  desk.tick(45_000);
  assert.equal(hasHadLeaf(desk.slot("p", LEAF)), true);
  assert.deepEqual(
    [undefined, desk.now].map((successorAt) => readyForLeaf(desk.row("p"), ["a"], successorAt)),
    [false, true],
  );
});

test("C5 a process without a row is not proven to trust our certificate by its handshake, until it has had its time", () => {
  const desk = new Desk(inForce("a", "a"));
  stranger(desk, BUNDLE);
  assert.equal(trustsOnXds(desk.row("p"), "a"), false);
  desk.tick(45_000);
  assert.equal(trustsOnXds(desk.row("p"), "a"), true);
});
