/** Calls to a CA that may be slow, hang or fail. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { ProviderCalls } from "../../src/controller/provider-calls.ts";
import { pauseAfter } from "../../src/core/back-off.ts";
import { MeshrootError } from "../../src/core/errors.ts";
import { manualClock } from "../support/manual-clock.ts";
import { NOW } from "../support/pki.ts";

function start() {
  const clock = manualClock(NOW);
  return { clock, calls: new ProviderCalls({ clock, random: () => 0.999, who: "root a" }) };
}

const fails = () => Promise.reject(new MeshrootError("MR1011", "ECONNREFUSED", "Start it."));
const hangs = () => new Promise<never>(() => undefined);

test("a call that is not answered ends with its deadline, and its signal with it", async () => {
  const { clock, calls } = start();
  const reasons: unknown[] = [];
  const call = calls.run((signal) => {
    signal.addEventListener("abort", () => {
      reasons.push(signal.reason);
    });
    return hangs();
  });
  const refused = assert.rejects(call, { code: "MR3011", message: /root a: .* has not answered within 10 s/ });
  await clock.advance(9_999);
  assert.deepEqual(reasons, []);
  await clock.advance(1);
  await refused;
  assert.match(String(reasons), /MR3011/);
});

test("so many calls are under way at a time, those that end after their signal included", async () => {
  const { clock, calls } = start();
  const ends: (() => void)[] = [];
  const goesOn = () => new Promise<string>((resolve) => ends.push(() => resolve("too late")));
  const all = Array.from({ length: 16 }, () => calls.run(goesOn).catch(() => "late"));
  assert.equal(ends.length, 16);
  const next = assert.rejects(
    calls.run(async () => 1),
    { code: "MR3011" },
  );
  await clock.advance(10_000);
  await next;
  assert.deepEqual(new Set(await Promise.all(all)), new Set(["late"]));
  assert.equal(calls.isReady, false, "nobody knows whether they have ended");
  await clock.advance(3_600_000);
  assert.equal(calls.isReady, false);
  for (const end of ends) end();
  await clock.rest();
  assert.equal(calls.isReady, true);
  assert.equal(await calls.run(async () => 1), 1);
});

test("more than are under way at a time wait for their turn, in their order, and for no longer than one that is asked", async () => {
  const { clock, calls } = start();
  const begun: number[] = [];
  const ends: (() => void)[] = [];
  const ask = (number: number) =>
    calls.run(() => {
      begun.push(number);
      return new Promise<number>((resolve) => ends.push(() => resolve(number)));
    });
  const all = Array.from({ length: 116 }, (_, number) => ask(number));
  assert.equal(begun.length, 16);
  assert.equal(calls.isReady, false, "a hundred wait");
  for (let next = 0; next < 100; next += 1) {
    await clock.advance(50);
    ends[next]?.();
    await clock.rest();
    assert.equal(begun.length, next + 17, "one ends, one begins");
  }
  assert.equal(calls.isReady, true);
  assert.deepEqual(begun, [...begun.keys()]);
  const late = assert.rejects(ask(116), { code: "MR3011", message: /busy with 16 calls/ });
  for (let count = 0; count < 16; count += 1) ends[100 + count]?.();
  assert.deepEqual(await Promise.all(all), [...all.keys()]);
  ends[116]?.();
  await late.catch(() => undefined);
});

test("those that wait when it breaks are told so at once", async () => {
  const { calls } = start();
  const fail: (() => void)[] = [];
  const ask = () =>
    calls.run(
      () =>
        new Promise<never>((_, reject) => fail.push(() => reject(new MeshrootError("MR1011", "sealed", "Unseal it.")))),
    );
  const all = Array.from({ length: 30 }, () => assert.rejects(ask(), { code: "MR1011" }));
  for (let count = 0; count < 16; count += 1) fail[count]?.();
  for (const call of [...all.slice(0, 16), ...all.slice(20)]) await call;
  assert.equal(fail.length, 20, "those who came after the first four failures, and nobody after the fifth");
  for (const end of fail) end();
  await Promise.all(all);
});

test("many failures at once are one outage: the pause after them is the first one", async () => {
  const { clock, calls } = start();
  await Promise.allSettled(Array.from({ length: 16 }, () => calls.run(fails)));
  await clock.advance(998);
  assert.equal(calls.isReady, false);
  await clock.advance(1);
  await assert.rejects(calls.run(fails), { code: "MR1011" });
  await clock.advance(1_997);
  assert.equal(calls.isReady, false);
  await clock.advance(1);
  assert.equal(calls.isReady, true);
});

test("after five failures in a row it pauses; then one call finds out whether it is over", async () => {
  const { clock, calls } = start();
  for (let count = 0; count < 5; count += 1) {
    assert.equal(calls.problem, undefined);
    await assert.rejects(calls.run(fails), { code: "MR1011" });
  }
  assert.equal(calls.problem?.code, "MR1011");
  let asked = 0;
  const ask = (answer: () => Promise<unknown>) =>
    calls.run(() => {
      asked += 1;
      return answer();
    });
  await assert.rejects(
    ask(async () => 1),
    { code: "MR1011", message: /ECONNREFUSED/ },
  );
  assert.equal(asked, 0, "the CA has its peace, and the error is its own");
  await clock.advance(1_000);
  const trial = ask(fails);
  await assert.rejects(ask(fails));
  await assert.rejects(trial);
  assert.equal(asked, 1, "one at a time");
  await clock.advance(1_000);
  assert.equal(calls.isReady, false, "the pause has grown");
  await clock.advance(1_000);
  assert.equal(await ask(async () => "well"), "well");
  assert.equal(calls.problem, undefined);
  await Promise.all(Array.from({ length: 10 }, () => ask(async () => 1)));
  assert.equal(asked, 12);
});

test("what is wrong with a request is no failure of the CA", async () => {
  const { calls } = start();
  for (let count = 0; count < 20; count += 1)
    await assert.rejects(
      calls.run(() => Promise.reject(new MeshrootError("MR3007", "outside the constraints", "Use another root."))),
      { code: "MR3007" },
    );
  assert.equal(calls.problem, undefined);
  assert.equal(calls.isReady, true);
});

test("pauses grow to their ceiling, and chance spreads them below it", () => {
  const backOff = { baseMs: 1_000, mostMs: 60_000 };
  const ceilings = [1, 2, 3, 6, 7, 40].map((failures) => pauseAfter(failures, backOff, 1));
  assert.deepEqual(ceilings, [1_000, 2_000, 4_000, 32_000, 60_000, 60_000]);
  assert.equal(pauseAfter(7, backOff, 0.5), 30_000);
  assert.equal(pauseAfter(7, backOff, 0), 100, "never at once");
});
