/** What people read of a hold: every reason has a way out, and absent proxies come first. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { ENVOY_USED_IT } from "../../../src/core/evidence/ledger-queries.ts";
import { absentLines, waitingLines, waysOut } from "../../../src/core/rotation/hold-words.ts";
import type { Hold, Waiting } from "../../../src/core/rotation/holds.ts";

const HERE: Waiting = {
  proxy: "11111111-0000-0000-0000-000000000000",
  identity: "here.shop",
  detail: "says why",
  connected: true,
  lastContactAt: 1_000,
};
const GONE: Waiting = {
  ...HERE,
  proxy: "22222222-0000-0000-0000-000000000000",
  identity: "gone.shop",
  connected: false,
};

const hold = (reason: Hold["reason"], waitingFor: readonly Waiting[], more: Partial<Hold> = {}): Hold => ({
  ...{ gate: "signer", wants: "sign with b", root: "b", message: "m" },
  reason,
  waitingFor,
  ...more,
});

test("absent proxies come first, with the end of their counting or without one", () => {
  const until = { ...GONE, countsUntil: Date.parse("2026-01-02T03:04:05.678Z") };
  assert.deepEqual(waitingLines(hold("WaitingForTrust", [HERE, until, { ...GONE, lastContactAt: 2_000 }])), [
    "gone.shop (22222222-0000-0000-0000-000000000000): says why; absent, last contact 1970-01-01T00:00:01Z, counts until 2026-01-02T03:04:05Z or until it is forgotten",
    "gone.shop (22222222-0000-0000-0000-000000000000): says why; absent, last contact 1970-01-01T00:00:02Z, counts until it returns or is forgotten",
    "here.shop (11111111-0000-0000-0000-000000000000): says why; connected",
  ]);
  assert.equal(absentLines(hold("WaitingForTrust", [HERE, until])).length, 1);
  assert.match(waitingLines(hold("Recovering", [{ ...GONE, countsUntil: 0 }]))[0] ?? "", /has no leaf that is valid$/);
});

test("every reason that waits for proxies names what ends it, for connected and for absent ones", () => {
  const rows: [Hold["reason"], RegExp, RegExp][] = [
    ["Refused", /`meshroot proxy retry 11111111`/, /`meshroot proxy forget 22222222 --reason TEXT`/],
    ["TwoStreams", /Stop one of the two/, /proxy forget 22222222/],
    [
      "TrustNotOursToProve",
      /`meshroot proxy assume 11111111 --reason TEXT`/,
      /proxy assume 22222222 .*proxy forget 22222222/,
    ],
    ["WaitingForTrust", /ACKs .* end it/, /proxy forget 22222222/],
    ["StillPresented", /ACKs end it/, /proxy forget 22222222/],
    ["WaitingForCredentials", /`meshroot proxy bootstrap here\.shop --out/, /proxy forget 22222222/],
  ];
  for (const [reason, present, absent] of rows) {
    assert.match(waysOut(hold(reason, [HERE])).join(" "), present, reason);
    assert.doesNotMatch(waysOut(hold(reason, [HERE])).join(" "), /forget/, "what is connected can't be forgotten");
    assert.match(waysOut(hold(reason, [GONE])).join(" "), absent, reason);
  }
});

test("what time ends says when, and offers no command", () => {
  const until = Date.parse("2026-01-01T00:00:00Z");
  for (const reason of ["Recovering", "Settling"] as const)
    assert.deepEqual(waysOut(hold(reason, reason === "Recovering" ? [GONE] : [], { until })), [
      "It opens by itself at 2026-01-01T00:00:00Z at the latest.",
    ]);
  for (const reason of ["RolesNotAllowed", "RootNotAvailable", "SignerMissing"] as const)
    assert.deepEqual(waysOut(hold(reason, [])), [], "the message says it");
});

test("a hold of the xDS port: `assume` where it applies", () => {
  const credentials = (gate: Hold["gate"], one: Waiting) =>
    waysOut(hold("WaitingForCredentials", [one], { gate })).join(" ");
  assert.match(credentials("xdsControlPlane", HERE), /proxy assume/);
  assert.doesNotMatch(credentials("bootstrap", HERE), /proxy assume/);
  assert.match(credentials("bootstrap", { ...HERE, absentSide: "agent" }), /proxy assume/);
  const byEnvoy = { ...HERE, absentSide: "agent", detail: `may come with it: ${ENVOY_USED_IT}` } as const;
  assert.doesNotMatch(credentials("bootstrap", byEnvoy), /proxy assume/, "it would not end that hold");
  assert.match(
    waitingLines(hold("WaitingForCredentials", [{ ...HERE, absentSide: "agent" }]))[0] ?? "",
    /its agent is absent/,
  );
});

test("B10: two streams for one name can be one Envoy with two sources: the way out names that too", () => {
  const [processes, places, ...more] = waysOut(hold("TwoStreams", [HERE]));
  assert.deepEqual(more, []);
  assert.match(processes ?? "", /Stop one of the two processes/);
  assert.match(places ?? "", /one Envoy that asks for one name in two places.* the same `sds_config`/);
});
