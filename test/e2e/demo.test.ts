import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { REQUESTS_PER_SECOND } from "../../src/cli/demo/load.ts";
import type { DemoResult } from "../../src/cli/demo/rotation-story.ts";
import { listsWholeBundle } from "../../src/envoy/admin.ts";
import { ENVOY_VERSIONS } from "../../src/envoy/binary.ts";
import { envoyOrSkip } from "../support/envoy.ts";
import { spawnMeshroot } from "../support/run-meshroot.ts";

async function demo(t: TestContext, version: string, ...flags: string[]) {
  const envoy = await envoyOrSkip(t, version);
  if (envoy === undefined) return undefined;
  const env = { ENVOY_BIN: envoy.path, NO_COLOR: "1" };
  const { code, stdout, stderr } = await spawnMeshroot(["demo", "--json", "--step-seconds", "1", ...flags], { env });
  return { code, stderr, result: JSON.parse(stdout) as DemoResult };
}

for (const version of ENVOY_VERSIONS) {
  test(`the demo rotates ${version} under traffic without a failed request, and shows what every Envoy loaded`, async (t) => {
    const run = await demo(t, version);
    if (run === undefined) return;
    const { code, stderr, result } = run;
    assert.equal(result.failed, 0, stderr);
    assert.equal(code, 0, stderr);
    assert.equal(result.envoy, version);
    assert.equal(result.proxies, 3);
    assert.ok(result.requests > 100, `${result.requests} requests`);
    assert.ok(result.requestsPerSecond <= REQUESTS_PER_SECOND);
    // The load begins a moment before the clock.
    const most = (result.requestsPerSecond * (result.rotationMs + 500)) / 1000 + 1;
    assert.ok(result.requests <= most, `${result.requests} requests in ${result.rotationMs} ms`);
    assert.ok(result.leastPerPair >= Math.floor(result.requests / 6) - 1, `${result.leastPerPair} of a pair`);
    const { requestsPerSecond, requests, failures } = result.control;
    assert.deepEqual([requestsPerSecond, failures], [result.requestsPerSecond, 0]);
    assert.ok(requests > 0);
    assert.equal(result.cause, "none");
    const [first, , , fourth, , last] = result.steps;
    const [oldRoot, newRoot] = [first?.signer, last?.signer];
    assert.notEqual(oldRoot, newRoot);
    assert.equal(fourth?.signer, newRoot);
    const trusted = [[oldRoot], [oldRoot, newRoot], [oldRoot, newRoot], [oldRoot, newRoot], [newRoot], [newRoot]];
    assert.deepEqual(
      result.steps.map((step) => step.trusted),
      trusted,
    );
    // The server's own port and the proxies' connections to it: by step 6 the old root is gone there, too (C5).
    assert.deepEqual(last?.trustedOnXds, [newRoot]);
    const name = Object.keys(last?.roles ?? {});
    for (const names of Object.values(last?.loadedOnXds ?? {})) assert.deepEqual(names, name);
    for (const step of result.steps) {
      assert.equal(step.acked, 3, `step ${step.step}`);
      const shown = listsWholeBundle(version) ? step.trusted.length : 1;
      for (const names of Object.values(step.loaded)) assert.equal(names.length, shown, `step ${step.step}`);
      assert.equal(Object.keys(step.loadedOnXds).length, 3);
    }
  });
}

test("with the gates overridden and a proxy cut off the same demo loses requests", async (t) => {
  const run = await demo(t, ENVOY_VERSIONS[0], "--unsafe-control");
  if (run === undefined) return;
  assert.ok(run.result.failed > 0, run.stderr);
  assert.equal(run.code, 1);
  // The failures are the rotation's, by the Envoys' own count, and the machine is not blamed for them.
  assert.equal(run.result.cause, "rotation", run.stderr);
  assert.ok((run.result.refusals ?? 0) > 0);
  assert.equal(run.result.control.failures, 0);
});
