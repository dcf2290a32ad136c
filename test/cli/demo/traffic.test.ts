import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer, type RequestListener } from "node:http";
import type { AddressInfo } from "node:net";
import { type TestContext, test } from "node:test";
import { latencyHistogram } from "../../../src/cli/demo/latency-histogram.ts";
import { startEchoApp, startTraffic } from "../../../src/cli/demo/traffic.ts";
import { eventually } from "../../support/envoy.ts";

async function serve(t: TestContext, listener: RequestListener) {
  let connections = 0;
  const server = createServer(listener);
  server.on("connection", () => connections++);
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  t.after(() => {
    server.close();
    server.closeAllConnections();
  });
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/`, connections: () => connections };
}

test("each request is a connection of its own, and all are counted", async (t) => {
  const { url, connections } = await serve(t, (_incoming, outgoing) => void outgoing.end("b ok"));
  const traffic = startTraffic({ targets: [{ from: "a", to: "b", url }], requestsPerSecond: 50, timeoutMs: 60_000 });
  await eventually("some requests", () => traffic.result().requests >= 20);
  const result = await traffic.stop();
  assert.equal(result.failures, 0);
  assert.equal(connections(), result.requests);
  assert.ok(result.p50Ms > 0 && result.p99Ms >= result.p50Ms);
  assert.deepEqual(result.targets, [{ from: "a", to: "b", requests: result.requests, failures: 0 }]);
});

test("a refusal, a reset, a status, a stranger, a cut body and silence are failures that say what they are", async (t) => {
  const cases: [string, RequestListener | undefined, RegExp][] = [
    ["refused", undefined, /ECONNREFUSED/],
    ["reset", (incoming) => void incoming.socket.destroy(), /ECONNRESET/],
    ["status", (_incoming, outgoing) => void outgoing.writeHead(503).end(), /HTTP 503/],
    ["stranger", (_incoming, outgoing) => void outgoing.end("bb GET /"), /not answered by b: bb GET/],
    [
      "cut",
      (_incoming, outgoing) => {
        outgoing.writeHead(200, { "content-length": "100" });
        outgoing.write("half", () => outgoing.destroy());
      },
      /ECONNRESET|aborted/,
    ],
    ["silence", () => {}, /no answer within 50 ms/],
  ];
  for (const [name, listener, text] of cases) {
    const url = listener === undefined ? "http://127.0.0.1:1/" : (await serve(t, listener)).url;
    const timeoutMs = name === "silence" ? 50 : 60_000;
    const traffic = startTraffic({ targets: [{ from: "a", to: "b", url }], requestsPerSecond: 100, timeoutMs });
    await eventually(name, () => traffic.result().failures > 0);
    const result = await traffic.stop();
    assert.equal(result.failures, result.requests, name);
    assert.match(result.firstFailures[0]?.text ?? "", text);
    assert.equal(result.p50Ms, 0, "failures have no latency");
  }
});

test("targets are asked in turn, at the rate of all together, and the time that the process was kept from it is told", async (t) => {
  const { url } = await serve(t, (_incoming, outgoing) => void outgoing.end("b ok"));
  const targets = ["1", "2", "3"].map((from) => ({ from, to: "b", url }));
  const startedMs = performance.now();
  const traffic = startTraffic({ targets, requestsPerSecond: 300, timeoutMs: 60_000 });
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 50);
  await eventually("some rounds", () => traffic.result().requests >= 30);
  const seconds = (performance.now() - startedMs) / 1000;
  const result = await traffic.stop();
  const counts = result.targets.map(({ requests }) => requests);
  assert.ok(Math.max(...counts) - Math.min(...counts) <= 1, counts.join());
  assert.ok(result.requests <= seconds * 300 + 1, `${result.requests} in ${seconds} s`);
  assert.ok(result.stallMs >= 40, `${result.stallMs} ms`);
});

test("failures are late from the given time on", async (t) => {
  const silent = await serve(t, () => {});
  for (const [url, lateMs, all] of [
    [silent.url, 40, true],
    [silent.url, undefined, false],
    ["http://127.0.0.1:1/", 40_000, false],
  ] as const) {
    const timeoutMs = url === silent.url ? 50 : 60_000;
    const options = { targets: [{ from: "a", to: "b", url }], requestsPerSecond: 100, timeoutMs };
    const traffic = startTraffic({ ...options, ...(lateMs === undefined ? {} : { lateMs }) });
    await eventually("a failure", () => traffic.result().failures > 0);
    const { failures, lateFailures } = await traffic.stop();
    assert.equal(lateFailures, all ? failures : 0);
  }
});

test("only the first failures are kept, each is reported, and counts go to their target", async (t) => {
  const good = await serve(t, (_incoming, outgoing) => void outgoing.end("good ok"));
  let reported = 0;
  const traffic = startTraffic({
    targets: [
      { from: "a", to: "good", url: good.url },
      { from: "a", to: "bad", url: "http://127.0.0.1:1/" },
    ],
    requestsPerSecond: 1_000,
    timeoutMs: 60_000,
    onFailure: () => reported++,
  });
  await eventually("many failures", () => traffic.result().failures > 30);
  const result = await traffic.stop();
  assert.equal(result.firstFailures.length, 20);
  assert.ok(result.firstFailures.every((failure) => failure.to === "bad"));
  assert.equal(reported, result.failures);
  assert.equal(result.targets[0]?.failures, 0);
  assert.equal(result.targets[1]?.failures, result.failures);
  assert.equal(
    result.requests,
    result.targets.reduce((sum, target) => sum + target.requests, 0),
  );
});

test("the echo app says who answered what, and counts", async (t) => {
  const app = await startEchoApp("bookstore");
  t.after(() => app.stop());
  const response = await fetch(`http://127.0.0.1:${app.port}/books?x=1`);
  assert.equal(await response.text(), "bookstore GET /books?x=1\n");
  assert.equal(app.requests(), 1);
});

test("percentiles are the upper edges of their buckets, at most 10 % above the value", () => {
  const histogram = latencyHistogram();
  assert.equal(histogram.percentile(0.5), 0);
  for (let ms = 1; ms <= 1000; ms++) histogram.record(ms);
  for (const [share, value] of [
    [0.5, 500],
    [0.99, 990],
    [1, 1000],
  ] as const) {
    const reported = histogram.percentile(share);
    assert.ok(reported >= value * 0.995 && reported <= value * 1.11, `${share}: ${reported}`);
  }
  const edges = latencyHistogram();
  for (const ms of [0, 0.05, 1e9]) edges.record(ms);
  assert.equal(edges.percentile(0.1), 0.1);
  assert.ok(edges.percentile(1) >= 60_000);
  assert.equal(edges.count(), 3);
});
