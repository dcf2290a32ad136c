/** E12 of evidence.md: what a refusal is attached to, and what ends it. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { record } from "../../../src/core/evidence/ledger.ts";
import { syncState } from "../../../src/core/evidence/ledger-queries.ts";
import { fromDurable, toDurable } from "../../../src/core/evidence/ledger-rows.ts";
import { secretStates } from "../../../src/core/evidence/secret-states.ts";
import { BUNDLE, bundle, Desk, inForce, LEAF, leaf } from "../../support/desk.ts";

const MINUTE = 60_000;
const WORDS = `answering ${LEAF}: Envoy's words`;

/** Step 4: all trust a and b, b should sign. p has a stream for each name, and refuses its leaf M on p-leaf. */
function refusing(): Desk {
  const desk = new Desk(inForce("a", "a", "b"));
  desk.connect("p", "p-bundle", BUNDLE);
  desk.connect("p", "p-leaf", LEAF);
  desk.ack("p", "p-bundle", desk.send("p", "p-bundle", bundle("2", "a", "b")));
  desk.ack("p", "p-leaf", desk.send("p", "p-leaf", leaf("L", "a")), LEAF);
  record(desk.ledger, { type: "synced", proxy: "p" });
  desk.nack("p", "p-leaf", desk.send("p", "p-leaf", leaf("M", "a")), LEAF);
  desk.want(["b"], ["a", "b"]);
  return desk;
}

const WANTED: Readonly<Record<string, string>> = { [BUNDLE]: "2", [LEAF]: "M" };

/** What the controller does before each plan. */
function look(desk: Desk): string {
  const state = syncState(desk.row("p"), (name) => WANTED[name]);
  if (state === "SYNCED") record(desk.ledger, { type: "synced", proxy: "p" });
  return `${state}, ${desk.settle()}${desk.row("p").error === undefined ? "" : `: ${said(desk)}`}`;
}

function said(desk: Desk): string {
  const { error } = desk.row("p");
  return `answering ${error?.answering}: ${error?.message}`;
}

function restart(desk: Desk): void {
  const rows = JSON.parse(JSON.stringify([...desk.ledger.proxies].map(([id, row]) => [id, toDurable(row)])));
  desk.ledger = fromDurable(new Map(rows), desk.now);
}

test("C1: a refusal outlives the stream that brought it, and ends with the ACK of what was refused", () => {
  const desk = refusing();
  assert.equal(look(desk), `ERROR, Refused: ${WORDS}`);
  desk.end("p", "p-leaf");
  assert.equal(look(desk), `ERROR, Refused: ${WORDS}`, "the other stream says nothing of it");
  desk.ack("p", "p-bundle", desk.send("p", "p-bundle", bundle("2", "a", "b")));
  assert.equal(look(desk), `ERROR, Refused: ${WORDS}`);
  desk.connect("p", "p-again", LEAF);
  assert.equal(look(desk), `ERROR, Refused: ${WORDS}`);
  desk.ack("p", "p-again", desk.send("p", "p-again", leaf("M", "a")), LEAF);
  assert.equal(look(desk), "SYNCED, signer b");
});

test("C1: it outlives a restart, with its text, whichever stream comes back first", () => {
  const desk = refusing();
  restart(desk);
  desk.connect("p", "new", BUNDLE);
  desk.ack("p", "new", desk.send("p", "new", bundle("2", "a", "b")));
  assert.equal(look(desk), `ERROR, Refused: ${WORDS}`);
  const states = secretStates(desk.row("p"), (name) => WANTED[name]);
  assert.deepEqual(
    states.map(({ name, config, error }) => [name, config, error?.message]),
    [
      [BUNDLE, "SYNCED", undefined],
      [LEAF, "ERROR", WORDS],
    ],
  );
});

test("C1: it ends when the name has left the proxy's set: after 15 minutes of silence, or by the client's own word", () => {
  const silent = refusing();
  silent.end("p", "p-leaf");
  silent.tick(15 * MINUTE - 1);
  assert.equal(look(silent), `ERROR, Refused: ${WORDS}`);
  silent.tick(1);
  assert.equal(look(silent), "SYNCED, signer b");

  const told = refusing();
  told.ask("p", "p-leaf");
  assert.equal(look(told), "SYNCED, signer b");
});

test("C1: who asks again for what it refused, having said that it wants it no more, refuses it still", () => {
  const desk = refusing();
  desk.ask("p", "p-leaf");
  assert.equal(
    syncState(desk.row("p"), (name) => WANTED[name]),
    "SYNCED",
  );
  record(desk.ledger, { type: "synced", proxy: "p" });
  restart(desk);
  desk.connect("p", "new", BUNDLE);
  desk.ack("p", "new", desk.send("p", "new", bundle("2", "a", "b")));
  assert.equal(
    syncState(desk.row("p"), (name) => WANTED[name]),
    "SYNCED",
  );
  desk.connect("p", "new-leaf", LEAF);
  assert.equal(look(desk), `ERROR, Refused: ${WORDS}`);
});

test("C1: of two refusals the one that stands gives the words", () => {
  const desk = refusing();
  const refused = desk.send("p", "p-bundle", bundle("3", "b"));
  const message = "the bundle";
  record(desk.ledger, { type: "nacked", proxy: "p", stream: "p-bundle", name: BUNDLE, seq: refused, message, at: 2e6 });
  assert.equal(said(desk), `answering ${BUNDLE}: the bundle`);
  desk.ack("p", "p-bundle", desk.send("p", "p-bundle", bundle("2", "a", "b")));
  assert.equal(look(desk), `ERROR, Refused: ${WORDS}`);
});

test("C1: while the stream lives that refused a name, another stream of that name can't answer for it", () => {
  const desk = refusing();
  desk.connect("p", "p-twin", LEAF);
  const accepted = desk.send("p", "p-twin", leaf("M", "a"));
  desk.ack("p", "p-twin", accepted, LEAF);
  assert.equal(look(desk), `ERROR, Refused: ${WORDS}`);
  desk.end("p", "p-leaf");
  desk.ack("p", "p-twin", desk.send("p", "p-twin", leaf("M", "a")), LEAF);
  assert.equal(look(desk), "SYNCED, signer b");
});

test("C1: a refused name that can't be had any more is waited for no more", () => {
  const desk = refusing();
  assert.equal(
    syncState(desk.row("p"), (name) => (name === LEAF ? undefined : WANTED[name])),
    "SYNCED",
  );
});

test("C7: what was sent again is STALE until it is answered, whatever was ACKed before", () => {
  const desk = new Desk();
  desk.running("p", leaf("M", "a"), bundle("2", "a"));
  const state = () => syncState(desk.row("p"), (name) => WANTED[name]);
  const config = () => secretStates(desk.row("p"), (name) => WANTED[name]).find(({ name }) => name === BUNDLE)?.config;
  assert.deepEqual([state(), config()], ["SYNCED", "SYNCED"]);
  desk.end("p", "p-1");
  desk.connect("p", "p-2", BUNDLE, LEAF);
  assert.equal(state(), "SYNCED", "nothing is on its way");
  const again = desk.send("p", "p-2", bundle("2", "a"));
  assert.deepEqual([state(), config()], ["STALE", "STALE"]);
  desk.connect("p", "p-3", BUNDLE);
  desk.ack("p", "p-3", desk.send("p", "p-3", bundle("2", "a")));
  assert.deepEqual([state(), config()], ["STALE", "STALE"], "the ACK of another stream is not the answer");
  desk.ack("p", "p-2", again);
  assert.deepEqual([state(), config()], ["SYNCED", "SYNCED"]);
});
