/** E12 name by name: what CSDS says of a secret, beside what `syncState` says of its proxy. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { syncState } from "../../../src/core/evidence/ledger-queries.ts";
import { fromDurable, toDurable } from "../../../src/core/evidence/ledger-rows.ts";
import { secretStates } from "../../../src/core/evidence/secret-states.ts";
import { BUNDLE, bundle, Desk, LEAF, leaf } from "../../support/desk.ts";
import fc from "../../support/property.ts";

const ABSENT = "no-such-name";

function states(desk: Desk, wanted: Readonly<Record<string, string>>): Record<string, string> {
  const found = secretStates(desk.row("p"), (name) => wanted[name]);
  return Object.fromEntries(found.map(({ name, config, client, version }) => [name, `${config} ${client} ${version}`]));
}

test("E12 from asked to SYNCED, and back to STALE when something newer is wanted", () => {
  const desk = new Desk();
  desk.connect("p", "p-1", BUNDLE, LEAF, ABSENT);
  const wanted = { [BUNDLE]: "1", [LEAF]: "L" };
  assert.deepEqual(states(desk, wanted), {
    [BUNDLE]: "NOT_SENT REQUESTED undefined",
    [LEAF]: "NOT_SENT REQUESTED undefined",
    [ABSENT]: "NOT_SENT DOES_NOT_EXIST undefined",
  });
  const seq = desk.send("p", "p-1", bundle("1", "a"));
  assert.equal(states(desk, wanted)[BUNDLE], "STALE REQUESTED undefined");
  desk.ack("p", "p-1", seq);
  assert.equal(states(desk, wanted)[BUNDLE], "SYNCED ACKED 1");
  assert.equal(states(desk, { ...wanted, [BUNDLE]: "2" })[BUNDLE], "STALE ACKED 1");
  desk.end("p", "p-1");
  assert.equal(states(desk, wanted)[BUNDLE], "UNKNOWN ACKED 1");
});

test("E12 a NACK makes ERROR of all that was sent since the proxy was SYNCED; only what was refused has a version to show", () => {
  const desk = new Desk();
  desk.running("p", leaf("L", "a"), bundle("1", "a"));
  const refusedAt = desk.now + 5;
  desk.now = refusedAt;
  desk.nack("p", "p-1", desk.send("p", "p-1", bundle("2", "a", "b")));
  const wanted = { [BUNDLE]: "2", [LEAF]: "L" };
  const found = secretStates(desk.row("p"), (name) => wanted[name as keyof typeof wanted]);
  const byName = new Map(found.map((state) => [state.name, state]));
  assert.equal(byName.get(BUNDLE)?.config, "ERROR");
  assert.equal(byName.get(BUNDLE)?.version, "1", "the last that was ACKed");
  assert.deepEqual(byName.get(BUNDLE)?.error, {
    message: `answering ${BUNDLE}: Envoy's words`,
    at: refusedAt,
    version: "2",
  });
  assert.equal(byName.get(BUNDLE)?.answeredAt, refusedAt);
  assert.equal(byName.get(LEAF)?.config, "ERROR", "a verdict on the set");
  assert.equal(byName.get(LEAF)?.error?.version, undefined);
});

test("E7 E12 after a restart the ACKed version is known, and when is not", () => {
  const desk = new Desk();
  desk.running("p", bundle("1", "a"));
  desk.ledger = fromDurable(new Map([["p", toDurable(desk.row("p"))]]), desk.now);
  const [state] = secretStates(desk.row("p"), () => "1");
  assert.deepEqual([state?.version, state?.config, state?.answeredAt], ["1", "UNKNOWN", undefined]);
});

test("what an agent asks for is not its Envoy's", () => {
  const desk = new Desk();
  desk.join("p", "p-a", "agent", "a", "tls_sds", "validation_context_sds");
  assert.deepEqual(states(desk, {}), {});
});

test("E12 in every state: a proxy is SYNCED exactly when all that it can have is; ERROR exactly when some name is", async () => {
  const content = (name: string, version: string) => (name === LEAF ? leaf(version, "a") : bundle(version, "a"));
  const name = fc.constantFrom(BUNDLE, LEAF);
  const version = fc.constantFrom("1", "2", "3");
  const act = fc.oneof(
    fc.record({ do: fc.constant("send" as const), name, version }),
    fc.record({ do: fc.constantFrom("ack" as const, "nack" as const), back: fc.nat(3) }),
    fc.record({ do: fc.constant("ask" as const), names: fc.uniqueArray(fc.constantFrom(BUNDLE, LEAF, ABSENT)) }),
    fc.record({ do: fc.constantFrom("reconnect" as const, "end" as const) }),
  );
  let seen = "";
  await fc.assert(
    fc.property(fc.array(act, { maxLength: 30 }), fc.dictionary(name, version), (acts, wantedNow) => {
      const desk = new Desk();
      desk.connect("p", "p-0", BUNDLE, LEAF);
      let stream: string | undefined = "p-0";
      let opened = 0;
      let sends: { seq: number; name: string }[] = [];
      for (const step of acts) {
        if (step.do === "reconnect" || step.do === "end") {
          if (stream !== undefined) desk.end("p", stream);
          sends = [];
          stream = undefined;
          if (step.do === "end") continue;
          opened += 1;
          stream = `p-${opened}`;
          desk.connect("p", stream, BUNDLE, LEAF);
        } else if (stream === undefined) continue;
        else if (step.do === "ask") desk.ask("p", stream, ...step.names);
        else if (step.do === "send")
          sends.unshift({ seq: desk.send("p", stream, content(step.name, step.version), step.name), name: step.name });
        else {
          const sent = "back" in step ? sends[step.back] : undefined;
          if (sent !== undefined && "back" in step) desk[step.do]("p", stream, sent.seq, sent.name);
        }
      }
      const row = desk.row("p");
      const wanted = (asked: string) => wantedNow[asked];
      const sync = syncState(row, wanted);
      const found = secretStates(row, wanted);
      const asked = new Set([...row.session.streams.values()].flatMap(({ names }) => [...names]));
      const deliverable = found.filter((state) => asked.has(state.name) && wanted(state.name) !== undefined);
      const isHere = row.session.streams.size > 0;
      assert.equal(isHere && deliverable.every(({ config }) => config === "SYNCED"), sync === "SYNCED");
      assert.equal(
        found.some(({ config }) => config === "ERROR"),
        sync === "ERROR",
      );
      seen += ` ${sync}`;
    }),
    { numRuns: 3_000 },
  );
  for (const sync of ["SYNCED", "STALE", "ERROR", "UNKNOWN", "NOT SENT"])
    assert.ok(seen.includes(sync), `${sync} occurs`);
});
