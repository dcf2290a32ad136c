/** Who may open a stream, and how servers and clients part: admission (R76) and drain (R78). */

import assert from "node:assert/strict";
import { test } from "node:test";
import { startGenericXds } from "../../support/generic-xds.ts";
import { startServer, until } from "../../support/server.ts";

const OK = 0;
const RESOURCE_EXHAUSTED = 8;
const UNAVAILABLE = 14;

test("streams beyond the rate are RESOURCE_EXHAUSTED before anything is made for them, on every method (R76)", async (t) => {
  let now = 1_000_000;
  const xds = await startGenericXds(t, { packing: "one", streamsPerSecond: 2, now: () => now });
  xds.set({ A: "1" });
  const { client } = xds;
  const asked = [
    () => client.secrets().request({ names: ["A"] }),
    () => client.ads().request({ names: ["A"] }),
    () => client.deltaSecrets().request({ subscribe: ["A"] }),
    () => client.deltaAds().request({ subscribe: ["A"] }),
  ];
  for (const open of asked) await open().next();
  for (const open of asked) assert.equal((await open().ended).code, RESOURCE_EXHAUSTED);
  await assert.rejects(client.fetch({ names: ["A"] }), { code: RESOURCE_EXHAUSTED });
  assert.equal(xds.recorded.opened, 4, "the source never heard of the refused ones");
  now += 1_000;
  await client
    .secrets()
    .request({ names: ["A"] })
    .next();
  assert.equal((await client.fetch({ names: ["A"] })).secrets[0]?.name, "A");
  assert.equal((await client.ads().request({ names: ["A"] }).ended).code, RESOURCE_EXHAUSTED, "two a second, no more");
});

test("C9: 20,000 names in one request are served; a request beyond the limit is RESOURCE_EXHAUSTED, and the limit can be set (R87)", async (t) => {
  const names = Array.from(
    { length: 20_000 },
    (_, index) => `root-cert-for-mtls-outbound:namespace-of-a-team/service-${index}`,
  );
  assert.ok(names.join("").length > 20_000 * 55);
  const usual = await startGenericXds(t, { packing: "changed" });
  usual.set({ [names[19_999] ?? ""]: "1" });
  for (const stream of [
    usual.client.secrets().request({ names }),
    usual.client.deltaSecrets().request({ subscribe: names }),
  ])
    assert.equal((await stream.next()).resources.length, 1);
  assert.equal((await usual.client.fetch({ names })).resources.length, 1);
  const tooMany = [...names, ...names, ...names, ...names].map((name, index) => `${name}-${index}`);
  assert.equal((await usual.client.secrets().request({ names: tooMany }).ended).code, RESOURCE_EXHAUSTED);

  const small = await startGenericXds(t, { packing: "one", maxRequestBytes: 10_000 });
  small.set({ A: "1" });
  assert.equal((await small.client.secrets().request({ names }).ended).code, RESOURCE_EXHAUSTED);
  const one = small.client.secrets().request({ names: ["A", "b".repeat(9_000)] });
  assert.equal((await one.next()).secrets[0]?.name, "A");
});

test("a drain ends streams with OK one after the other, who owes an answer last, and takes no new ones (R78)", async (t) => {
  const xds = await startGenericXds(t, { packing: "one" });
  xds.set({ A: "1" });
  const order: string[] = [];
  const settled = [];
  for (let index = 0; index < 8; index++) {
    const stream = xds
      .connect()
      .secrets()
      .request({ names: ["A"] });
    await stream.next();
    stream.ack();
    settled.push(stream);
    void stream.ended.then(() => order.push("settled"));
  }
  const owing = xds
    .connect()
    .deltaSecrets()
    .request({ subscribe: ["A"] });
  await owing.next();
  void owing.ended.then(() => order.push("owing"));
  await until("all answers are in", () => xds.recorded.verdicts.length === 8);

  const late = xds.connect();
  const closed = xds.server.close({ drainMs: 1_000 });
  await until("the first has ended", () => order.length > 0);
  assert.ok(xds.server.streams > 1, "the others are still served");
  const refused = await late.secrets().request({ names: ["A"] }).ended;
  assert.equal(refused.code, UNAVAILABLE);
  await until("only one is left", () => order.length === 8);
  owing.ack();
  await until("its outcome counts", () => xds.recorded.verdicts.length === 9);
  await closed;
  assert.deepEqual(order, [...Array<string>(8).fill("settled"), "owing"]);
  for (const { ended } of [...settled, owing]) assert.equal((await ended).code, OK);
  assert.equal(xds.recorded.closed, xds.recorded.opened);
});

test("the product drains so, too, over --drain-window (R78)", async (t) => {
  const server = await startServer(t, { drainWindow: "400ms" });
  const streams = [];
  for (const identity of ["cart.shop", "till.shop", "bank.shop"]) {
    const stream = server.client(await server.credential(identity)).secrets();
    await stream.request({ names: ["ROOTCA"] }).next();
    stream.ack();
    streams.push(stream);
  }
  await until("all have answered", () => server.running.status().proxies.every(({ sync }) => sync === "SYNCED"));
  const ended: number[] = [];
  for (const stream of streams) void stream.ended.then(() => ended.push(performance.now()));
  const stopped = server.running.stop();
  for (const stream of streams) assert.equal((await stream.ended).code, OK);
  await stopped;
  assert.ok((ended.at(-1) ?? 0) - (ended[0] ?? 0) > 50, "not all in one moment");
});
