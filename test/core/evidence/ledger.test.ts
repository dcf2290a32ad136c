/** E5-E9, E12, E13 of evidence.md on the ledger itself: what a proxy may be running. */

import assert from "node:assert/strict";
import { test } from "node:test";
import type { Content } from "../../../src/core/evidence/content.ts";
import { record } from "../../../src/core/evidence/ledger.ts";
import {
  counts,
  countsUntil,
  mayRun,
  needsProof,
  presents,
  syncState,
  trusts,
} from "../../../src/core/evidence/ledger-queries.ts";
import { fromDurable, toDurable } from "../../../src/core/evidence/ledger-rows.ts";
import { BUNDLE, bundle, Desk, LEAF, leaf } from "../../support/desk.ts";

const versions = (contents: readonly Content[]) => contents.map(({ version }) => version);
const MINUTE = 60_000;

/** p runs bundle 1 and leaf L, on stream p-1. */
function withP(): Desk {
  const desk = new Desk();
  desk.running("p", leaf("L", "a"), bundle("1", "a"));
  return desk;
}

test("E6 a send counts from its record on, beside what was there", () => {
  const desk = withP();
  desk.send("p", "p-1", bundle("2", "a", "b"));
  assert.deepEqual(versions(mayRun(desk.slot("p"))), ["1", "2"]);
});

test("E6 an ACK leaves its content and what was sent after it", () => {
  const desk = withP();
  const second = desk.send("p", "p-1", bundle("2", "a", "b"));
  desk.send("p", "p-1", bundle("3", "b"));
  desk.ack("p", "p-1", second);
  assert.deepEqual(versions(mayRun(desk.slot("p"))), ["2", "3"]);
});

test("E6 R84 a NACK takes nothing away: what was refused may go live later", () => {
  const desk = withP();
  desk.nack("p", "p-1", desk.send("p", "p-1", bundle("2", "a", "b")));
  assert.deepEqual(versions(mayRun(desk.slot("p"))), ["1", "2"]);
});

test("E6 a late ACK of an older send does not hide a newer one", () => {
  const desk = withP();
  const second = desk.send("p", "p-1", bundle("2", "a", "b"));
  const third = desk.send("p", "p-1", bundle("3", "b"));
  desk.ack("p", "p-1", third);
  desk.ack("p", "p-1", second);
  assert.deepEqual(versions(mayRun(desk.slot("p"))), ["3"]);
  assert.equal(desk.slot("p").acked?.version, "3");
});

test("E6 a late ACK on another stream does not hide a newer one", () => {
  const desk = withP();
  desk.connect("p", "p-2", BUNDLE);
  const older = desk.send("p", "p-1", bundle("2", "a", "b"));
  desk.ack("p", "p-2", desk.send("p", "p-2", bundle("3", "b")));
  desk.ack("p", "p-1", older);
  assert.equal(desk.slot("p").acked?.version, "3");
});

test("E6 E7 that streams overlapped is known after a restart: an ACK alone settles nothing then, either", () => {
  const desk = withP();
  desk.connect("p", "p-2", BUNDLE);
  desk.send("p", "p-1", bundle("2", "a", "b"));
  desk.send("p", "p-2", bundle("3", "b"));
  desk.ledger = fromDurable(new Map([["p", JSON.parse(JSON.stringify(toDurable(desk.row("p"))))]]), desk.now);
  desk.connect("p", "new", BUNDLE);
  desk.ack("p", "new", desk.send("p", "new", bundle("4", "a", "b")));
  assert.deepEqual(versions(mayRun(desk.slot("p"))).toSorted(), ["1", "2", "3", "4"]);
  desk.tick(5 * MINUTE);
  assert.deepEqual(versions(mayRun(desk.slot("p"))), ["4"]);
});

test("E6 the end of a stream changes nothing; only the ACK of a later send settles what it left", () => {
  const desk = withP();
  desk.send("p", "p-1", bundle("2", "a", "b"));
  desk.end("p", "p-1");
  assert.deepEqual(versions(mayRun(desk.slot("p"))), ["1", "2"]);
  desk.connect("p", "p-2", BUNDLE);
  const again = desk.send("p", "p-2", bundle("2", "a", "b"));
  assert.deepEqual(versions(mayRun(desk.slot("p"))), ["1", "2"]);
  desk.ack("p", "p-2", again);
  assert.deepEqual(versions(mayRun(desk.slot("p"))), ["2"]);
});

test("E6 an ACK of a send from before that end settles nothing, and the slot asks for proof", () => {
  const desk = withP();
  desk.connect("p", "p-2", BUNDLE);
  const early = desk.send("p", "p-2", bundle("2", "a", "b"));
  desk.send("p", "p-1", bundle("3", "b"));
  desk.end("p", "p-1");
  desk.ack("p", "p-2", early);
  assert.deepEqual(versions(mayRun(desk.slot("p"))).toSorted(), ["1", "2", "3"]);
  assert.equal(needsProof(desk.slot("p")), true);
});

for (const order of ["ACK, then time", "time, then ACK"]) {
  test(`E6 where streams overlapped an ACK and five minutes are needed: ${order}`, () => {
    const desk = withP();
    desk.connect("p", "p-2", BUNDLE);
    desk.send("p", "p-1", bundle("3", "b"));
    desk.end("p", "p-1");
    const later = desk.send("p", "p-2", bundle("4", "a", "b"));
    if (order === "ACK, then time") {
      desk.ack("p", "p-2", later);
      desk.tick(5 * MINUTE - 1);
      assert.ok(versions(mayRun(desk.slot("p"))).includes("3"));
      desk.tick(1);
    } else {
      desk.tick(6 * MINUTE);
      assert.ok(versions(mayRun(desk.slot("p"))).includes("3"));
      desk.ack("p", "p-2", later);
    }
    assert.deepEqual(versions(mayRun(desk.slot("p"))), ["4"]);
  });
}

test("E5 a refused content comes back after 30 s, doubling to 30 min; new streams don't shorten that", () => {
  const desk = withP();
  const pauses: number[] = [];
  for (let attempt = 1; attempt <= 9; attempt += 1) {
    const stream = `p-x${attempt}`;
    desk.connect("p", stream, BUNDLE);
    desk.nack("p", stream, desk.send("p", stream, bundle("2", "b")));
    desk.end("p", stream);
    pauses.push(((desk.slot("p").refusal?.retryAt ?? 0) - desk.now) / 1_000);
  }
  assert.deepEqual(pauses, [30, 60, 120, 240, 480, 960, 1800, 1800, 1800]);
});

test("E5 another refused content begins at 30 s again; an ACK ends it", () => {
  const desk = withP();
  for (const version of ["2", "2", "3"]) desk.nack("p", "p-1", desk.send("p", "p-1", bundle(version, "b")));
  assert.equal(desk.slot("p").refusal?.retryAt, desk.now + 30_000);
  desk.ack("p", "p-1", desk.send("p", "p-1", bundle("3", "b")));
  assert.equal(desk.slot("p").refusal, undefined);
});

test("E5 a change of another secret, or the operator, brings the next try at once; the same leaf again does not", () => {
  const desk = withP();
  desk.nack("p", "p-1", desk.send("p", "p-1", bundle("2", "b")));
  desk.send("p", "p-1", leaf("L", "a"));
  assert.equal(desk.slot("p").refusal?.retryAt, desk.now + 30_000);
  desk.send("p", "p-1", leaf("L2", "a"));
  assert.equal(desk.slot("p").refusal?.retryAt, desk.now);
  desk.nack("p", "p-1", desk.send("p", "p-1", bundle("2", "b")));
  record(desk.ledger, { type: "retry", proxy: "p", at: desk.now });
  assert.equal(desk.slot("p").refusal?.retryAt, desk.now);
});

test("E7 what is written down comes back: contents, refusals, decisions; nobody is heard yet; no key in it", () => {
  const desk = withP();
  desk.nack("p", "p-1", desk.send("p", "p-1", bundle("2", "a", "b")));
  record(desk.ledger, { type: "assume", proxy: "p", reason: "checked", at: desk.now });
  const text = JSON.stringify(toDurable(desk.row("p")));
  assert.doesNotMatch(text, /key/i);
  const back = new Desk(undefined, fromDurable(new Map([["p", JSON.parse(text)]]), desk.now));
  assert.deepEqual(versions(mayRun(back.slot("p"))), ["1", "2"]);
  assert.equal(back.slot("p").refusal?.version, "2");
  assert.equal(back.row("p").assumed?.reason, "checked");
  assert.equal(back.row("p").session.heard, false);
  back.connect("p", "new", BUNDLE);
  back.ack("p", "new", back.send("p", "new", bundle("3", "a", "b")));
  assert.deepEqual(versions(mayRun(back.slot("p"))), ["3"]);
});

test("E8 a proxy trusts a root when everything that it may run holds it", () => {
  const desk = withP();
  assert.equal(trusts(desk.row("p"), "b"), false);
  const seq = desk.send("p", "p-1", bundle("2", "a", "b"));
  assert.equal(trusts(desk.row("p"), "b"), false);
  desk.ack("p", "p-1", seq);
  assert.equal(trusts(desk.row("p"), "b"), true);
  desk.send("p", "p-1", bundle("3", "a"));
  assert.equal(trusts(desk.row("p"), "b"), false);
});

test("E8 a slot that was never sent anything does not block", () => {
  const desk = new Desk();
  desk.connect("p", "s", BUNDLE, LEAF);
  assert.equal(trusts(desk.row("p"), "b"), true);
});

test("E9 a proxy presents a root while any unexpired leaf that it may run chains to it", () => {
  const desk = new Desk();
  desk.running("p", leaf("L", "a", desk.now + MINUTE));
  const seq = desk.send("p", "p-1", leaf("M", "b"));
  assert.equal(presents(desk.row("p"), "a", desk.now), true);
  assert.equal(presents(desk.row("p"), "b", desk.now), true);
  assert.equal(presents(desk.row("p"), "a", desk.now + MINUTE), false);
  desk.ack("p", "p-1", seq, LEAF);
  assert.equal(presents(desk.row("p"), "a", desk.now), false);
});

const wanted = (leafVersion: string, bundleVersion: string) => (name: string) =>
  ({ [LEAF]: leafVersion, [BUNDLE]: bundleVersion })[name];

test("E12 R86 SYNCED: every name that can be had is acknowledged in what is wanted, and none refused since", () => {
  const desk = withP();
  assert.equal(syncState(desk.row("p"), wanted("L", "1")), "SYNCED");
  assert.equal(syncState(desk.row("p"), wanted("L", "2")), "STALE");
  desk.ask("p", "p-1", LEAF, BUNDLE, "no-such-name");
  assert.equal(syncState(desk.row("p"), wanted("L", "1")), "SYNCED");
  desk.nack("p", "p-1", desk.send("p", "p-1", bundle("1", "a")));
  assert.equal(syncState(desk.row("p"), wanted("L", "1")), "ERROR");
});

test("E12 R83 a NACK is a verdict on all that was sent since the proxy was last SYNCED", () => {
  const desk = withP();
  record(desk.ledger, { type: "synced", proxy: "p" });
  desk.ack("p", "p-1", desk.send("p", "p-1", leaf("M", "a")), LEAF);
  desk.nack("p", "p-1", desk.send("p", "p-1", bundle("2", "a", "b")));
  assert.deepEqual(desk.row("p").error?.names.toSorted(), [BUNDLE, LEAF]);
  assert.equal(desk.row("p").error?.answering, BUNDLE);
});

test("E13 a proxy that is away counts until its last leaf expires, and again when it returns", () => {
  const desk = new Desk();
  desk.running("p", leaf("L", "a", desk.now + MINUTE), bundle("1", "a"));
  desk.end("p", "p-1");
  const row = desk.row("p");
  assert.equal(countsUntil(row, "until-leaf-expiry"), desk.now + MINUTE);
  assert.equal(counts(row, desk.now + MINUTE - 1, "until-leaf-expiry"), true);
  assert.equal(counts(row, desk.now + MINUTE, "until-leaf-expiry"), false);
  assert.equal(counts(row, desk.now + MINUTE, "wait"), true);
  desk.now += 2 * MINUTE;
  desk.connect("p", "p-2");
  assert.equal(counts(row, desk.now, "until-leaf-expiry"), true);
  assert.deepEqual(versions(mayRun(desk.slot("p"))), ["1"]);
});

test("E13 forget holds until the proxy returns, and takes nothing out of its sets", () => {
  const desk = withP();
  desk.end("p", "p-1");
  record(desk.ledger, { type: "forget", proxy: "p", reason: "gone", at: desk.now });
  assert.equal(counts(desk.row("p"), desk.now, "wait"), false);
  assert.deepEqual(versions(mayRun(desk.slot("p"))), ["1"]);
  desk.connect("p", "p-2", BUNDLE);
  assert.equal(counts(desk.row("p"), desk.now, "wait"), true);
});

test("E13 a name that a connected proxy has not asked for during 15 minutes leaves its slots; absence does not count", () => {
  const desk = withP();
  desk.tick(20 * MINUTE);
  desk.ask("p", "p-1", LEAF);
  desk.tick(15 * MINUTE - 1);
  assert.ok(desk.slot("p"));
  desk.end("p", "p-1");
  desk.tick(60 * MINUTE);
  desk.connect("p", "p-2", LEAF);
  desk.tick(15 * MINUTE - 1);
  assert.ok(desk.slot("p"));
  desk.tick(1);
  assert.throws(() => desk.slot("p"), /no slot/);
});
