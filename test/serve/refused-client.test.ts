import assert from "node:assert/strict";
import { test } from "node:test";
import { refusedLine } from "../../src/serve/refused-client.ts";
import { bundle, Desk } from "../support/desk.ts";

const KNOWN = "5f0c2a3e-0b1d-4c6f-9a7e-0123456789ab";
const UNKNOWN = "00000000-0000-4000-8000-000000000000";

function line(uuid: string, distrustsUs: boolean): string {
  const desk = new Desk();
  desk.running(KNOWN, bundle("1", "a"));
  const serverName = `${uuid}.cart.shop.xds.meshroot.internal`;
  const refusal = { remote: "127.0.0.1:1", reason: "it left", hint: "do", distrustsUs, serverName };
  return refusedLine(refusal, desk).message;
}

const NAMED = "xDS client refused: it left (a, a); by its SNI it is cart.shop";

test("of a client that distrusts us and claims a proxy, the line says whether that one has ever connected", () => {
  assert.equal(line(KNOWN, true), `${NAMED} (${KNOWN})`);
  assert.equal(line(UNKNOWN, true), `${NAMED} (${UNKNOWN}), which has never connected`);
});

test("a client that we refuse has shown who it is: its SNI says nothing more", () => {
  assert.equal(line(KNOWN, false), "xDS client refused: it left");
});
