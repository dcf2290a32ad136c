/**
 * A peer that reads nothing (R72, T13). What its slowness costs is counted in responses that the server makes for it, because
 * everything that it holds for a stream beyond its subscription is those.
 */

import assert from "node:assert/strict";
import { test } from "node:test";
import { CLUSTER_TYPE_URL, type GenericXds, startGenericXds } from "../../support/generic-xds.ts";
import { rawPeer } from "../../support/raw-peer.ts";
import { until } from "../../support/server.ts";
import { METHODS } from "../../support/xds-recorder.ts";

/** Four times what an HTTP/2 peer takes without reading. */
const LARGE_BYTES = 256 * 1024;
const UPDATES = 1_000;
const OVERDUE_MS = 31_000;

/** Responses of which the layer has told the source, by content, and has handed to gRPC. */
const made = (xds: GenericXds) => [xds.recorded.sent.length, count(xds, "response")];
const count = (xds: GenericXds, type: string) => xds.events.filter((event) => event.type === type).length;

for (const path of METHODS) {
  const service = path.slice(path.lastIndexOf("/") + 1);
  const isAds = path.includes(".AggregatedDiscoveryService/");

  test(`${service}: a peer stops reading, 1000 updates pass, it resumes: two responses, the last one is the newest (R72, T13)`, async (t) => {
    const xds = await startGenericXds(t, { packing: "one", resourceBytes: LARGE_BYTES });
    xds.set({ A: "0" });
    const slow = await rawPeer(t, xds, path);
    slow.say({ names: ["A"] });
    await until("the first response is made", () => count(xds, "response") === 1);
    for (let update = 1; update <= UPDATES; update++) xds.set({ A: String(update) });
    assert.deepEqual(made(xds), [1, 1], "the others wait as the newest version, which costs nothing");

    slow.read();
    const first = await slow.response(1);
    assert.deepEqual(xds.recorded.sent, ["A 0"], "nothing follows before the answer");
    slow.say({ names: ["A"], nonce: first.nonce, version: first.version });
    await slow.response(2);
    assert.deepEqual(xds.recorded.sent, ["A 0", `A ${UPDATES}`]);
    assert.equal(slow.responses.length, 2);
  });

  test(`${service}: time makes it no more: what is not out yet is not followed by another (R72, R22)`, async (t) => {
    const xds = await startGenericXds(t, { packing: "one", resourceBytes: LARGE_BYTES });
    xds.set({ A: "0" });
    const slow = await rawPeer(t, xds, path);
    slow.say({ names: ["A"] });
    await until("its response is made", () => count(xds, "response") === 1);
    // Connected later, so looked at later by the same timer: it reads, and does not answer.
    const other = xds.client.deltaSecrets().request({ subscribe: ["A"] });
    await other.next();
    for (let round = 1; round <= 2; round++) {
      xds.set({ A: String(round) });
      xds.shiftClock(OVERDUE_MS);
      await other.next();
      assert.equal(count(xds, "superseded"), round, "the one that reads is given up on, the other is not");
    }
    assert.deepEqual(xds.recorded.sent, ["A 0", "A 0", "A 1", "A 2"]);
  });

  test(`${service}: one that does not read delays nobody, and has one response of each type (R72)`, async (t) => {
    const xds = await startGenericXds(t, { packing: "one", resourceBytes: LARGE_BYTES });
    xds.set({ A: "0" });
    xds.setClusters({ c: "1" });
    const slow = await rawPeer(t, xds, path);
    slow.say({ names: ["A"] });
    if (isAds) slow.say({ typeUrl: CLUSTER_TYPE_URL });
    const types = isAds ? 2 : 1;
    await until("a response of each type is made", () => count(xds, "response") === types);
    const brisk = xds.client.secrets().request({ names: ["A"] });
    await brisk.next();
    for (let update = 1; update <= 20; update++) {
      brisk.ack();
      xds.set({ A: String(update) });
      xds.setClusters({ c: String(update) });
      assert.equal((await brisk.next()).version, String(update));
    }
    assert.equal(count(xds, "response"), types + 21, "of each type one for the slow one, and all for the other");
  });
}
