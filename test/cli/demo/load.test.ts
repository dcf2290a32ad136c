import assert from "node:assert/strict";
import { test } from "node:test";
import { causeOf, findRate, type Load, levels, REQUESTS_PER_SECOND } from "../../../src/cli/demo/load.ts";
import { EXIT, exitCodeOf } from "../../../src/cli/exit-codes.ts";
import { MeshrootError } from "../../../src/core/errors.ts";

function load(more: Partial<Load> = {}): Load {
  const quick = { requests: 100, failures: 0, lateFailures: 0, p99Ms: 20, stallMs: 10 };
  return { requestsPerSecond: 90, ...quick, ...more };
}

/** A machine that carries so many requests a second, and above that is as `worse` says. Notes what it was asked for. */
function machine(capacity: number, worse: Partial<Load>) {
  const asked: number[] = [];
  const measure = async (requestsPerSecond: number, ms: number): Promise<Load> => {
    asked.push(requestsPerSecond);
    const requests = Math.ceil((requestsPerSecond * ms) / 1000);
    return load({ requestsPerSecond, requests, ...(requestsPerSecond > capacity ? worse : {}) });
  };
  return { asked, measure };
}

const SLOW = { p99Ms: 900 };

async function refusal(promise: Promise<unknown>): Promise<MeshrootError> {
  const error = await promise.then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  assert.ok(error instanceof MeshrootError, String(error));
  return error;
}

test("a warm-up rises from a small load to twice what is wanted", () => {
  assert.deepEqual(levels(90), [22.5, 45, 90, 180]);
  assert.deepEqual(levels(5), [10]);
  for (const wanted of [1, 13, 90, 300]) {
    const rates = levels(wanted);
    assert.equal(rates.at(-1), 2 * wanted);
    assert.ok((rates[0] ?? Number.NaN) <= 25);
  }
});

test("the rotation runs at half of what was carried, and never at more than what is wanted", async () => {
  for (const [capacity, expected] of [
    [10_000, 90],
    [180, 90],
    [179, 45],
    [100, 45],
    [50, 22.5],
    [23, 11.25],
  ] as const) {
    const { measure } = machine(capacity, SLOW);
    const { carried, control } = await findRate(REQUESTS_PER_SECOND, measure);
    assert.equal(control.requestsPerSecond, expected, `${capacity}`);
    assert.equal(carried, 2 * expected);
    assert.equal(control.failures, 0);
  }
});

test("slow answers, a late event loop and failures are each no carrying, also when nothing came back", async () => {
  for (const worse of [SLOW, { stallMs: 700 }, { failures: 1, lateFailures: 1 }, { requests: 0, p99Ms: 0 }]) {
    const { control } = await findRate(90, machine(60, worse).measure);
    assert.equal(control.requestsPerSecond, 22.5, JSON.stringify(worse));
  }
});

test("D11 a machine that is busy for a moment gets another try, and an overloaded one is not asked for more", async () => {
  const { measure, asked } = machine(10_000, {});
  let trouble = 2;
  const shaky = async (rate: number, ms: number) => ({ ...(await measure(rate, ms)), ...(trouble-- > 0 ? SLOW : {}) });
  assert.equal((await findRate(90, shaky)).control.requestsPerSecond, 90);
  assert.deepEqual(asked, [22.5, 22.5, 22.5, 45, 90, 180, 90]);

  const small = machine(50, SLOW);
  await findRate(90, small.measure);
  assert.deepEqual(small.asked, [22.5, 45, 90, 90, 90, 22.5]);
});

test("a rate that the control does not bear is halved", async () => {
  const { measure } = machine(10_000, {});
  const { control } = await findRate(90, async (rate, ms) => ({
    ...(await measure(rate, ms)),
    ...(ms > 1_000 && rate > 30 ? SLOW : {}),
  }));
  assert.equal(control.requestsPerSecond, 22.5);
});

test("a machine that does not carry even a small load is told so, with a code and an exit code of its own", async () => {
  const late = { failures: 5, lateFailures: 5, p99Ms: 1234.5, stallMs: 678 };
  const atOnce = await refusal(findRate(90, machine(1, late).measure));
  assert.equal(atOnce.code, "MR6003");
  assert.equal(exitCodeOf(atOnce), EXIT.overloaded);
  assert.match(
    atOnce.message,
    /at 22\.5 requests a second 5 of 23 failed, p99 1234\.5 ms, event loop late by up to 678 ms/,
  );
  assert.match(atOnce.hint, /fewer --proxies or a lower --rate/);

  const { measure } = machine(10_000, {});
  const neverForLong = async (rate: number, ms: number) => ({
    ...(await measure(rate, ms)),
    ...(ms > 1_000 ? SLOW : {}),
  });
  assert.equal((await refusal(findRate(90, neverForLong))).code, "MR6003");
});

test("a request that fails at once before the rotation is no overload, at whatever rate", async () => {
  const firstFailure = "a -> b: ECONNRESET";
  for (const capacity of [1, 100]) {
    const { measure } = machine(capacity, { failures: 2, lateFailures: 1, firstFailure });
    const error = await refusal(findRate(90, measure));
    assert.equal(error.code, "MR6004");
    assert.equal(exitCodeOf(error), EXIT.failed);
    assert.match(error.message, /2 of \d+ failed.*first a -> b: ECONNRESET/);
  }
});

test("what failures come from: refused certificates are the rotation's, late answers on a slow machine are overload", () => {
  const failed = { failures: 10, lateFailures: 10 };
  const cases: [string, Partial<Load>, number | undefined, ReturnType<typeof causeOf>][] = [
    ["nothing failed", SLOW, 3, "none"],
    ["refused at once", { failures: 10 }, 10, "rotation"],
    ["refused, on a slow machine", { ...failed, ...SLOW }, 1, "rotation"],
    ["late, latencies high", { ...failed, ...SLOW }, 0, "overload"],
    ["late, event loop late", { ...failed, stallMs: 1_500 }, 0, "overload"],
    ["late, but the machine was quick", failed, 0, "unclear"],
    ["one of them at once", { ...failed, ...SLOW, lateFailures: 9 }, 0, "unclear"],
    ["an Envoy could not be asked", { ...failed, ...SLOW }, undefined, "unclear"],
  ];
  for (const [name, more, refusals, cause] of cases) assert.equal(causeOf(load(more), refusals), cause, name);
});
