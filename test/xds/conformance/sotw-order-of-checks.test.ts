/** X4: what a control plane gets wrong that looks at the error of a request before its nonce, and before whether it is the first. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { startGenericXds } from "../../support/generic-xds.ts";
import { until } from "../../support/server.ts";

const error = { code: 13, message: "Envoy's words" };

for (const service of ["secrets", "ads"] as const) {
  test(`${service}: a stale NACK says nothing about the newer response (X4, R17)`, async (t) => {
    const xds = await startGenericXds(t, { packing: "one" });
    xds.set({ A: "1" });
    const stream = xds.client[service]();
    const first = await stream.request({ names: ["A"] }).next();
    stream.ack();
    xds.set({ A: "2" });
    const second = await stream.next();
    stream.nack("late", {}, first);
    stream.ack({}, second);
    await until("the second verdict is in", () => xds.recorded.verdicts.length === 2);
    assert.deepEqual(xds.recorded.verdicts, ["acked A 1", "acked A 2"]);
  });

  test(`${service}: names that come with a NACK are answered (X4, R24)`, async (t) => {
    const xds = await startGenericXds(t, { packing: "one" });
    xds.set({ A: "1", B: "1" });
    const stream = xds.client[service]();
    await stream.request({ names: ["A"] }).next();
    stream.nack("no", { names: ["A", "B"] });
    assert.deepEqual(
      (await stream.next()).secrets.map(({ name }) => name),
      ["B"],
    );
    assert.deepEqual(xds.recorded.verdicts, ["nacked A 1: no"]);
  });

  test(`${service}: a first request with an error left over from another stream is answered, and refuses nothing (X4, R25)`, async (t) => {
    const xds = await startGenericXds(t, { packing: "one" });
    xds.set({ A: "1" });
    const stream = xds.client[service]().request({ names: ["A"], version: "0", nonce: "of-another-stream", error });
    assert.deepEqual(
      (await stream.next()).secrets.map(({ name }) => name),
      ["A"],
    );
    assert.deepEqual(xds.recorded.verdicts, []);
  });
}
