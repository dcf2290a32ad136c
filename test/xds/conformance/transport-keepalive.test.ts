/** A peer that vanishes without a word is noticed by pings (R74). The times are arguments of the server; the product's are 30 s and 10 s. */

import assert from "node:assert/strict";
import { once } from "node:events";
import { test } from "node:test";
import { startRelay } from "../../../src/cli/demo/relay.ts";
import { startGenericXds } from "../../support/generic-xds.ts";
import { rawPeer } from "../../support/raw-peer.ts";
import { until } from "../../support/server.ts";

const SHORT = { timeMs: 100, timeoutMs: 2_000 };

test("a peer that vanishes is noticed though its connection stands; its streams end, all four kinds (R74, R71)", async (t) => {
  const xds = await startGenericXds(t, { packing: "one", keepalive: SHORT });
  xds.set({ A: "1" });
  const relay = await startRelay({ port: xds.port });
  t.after(() => relay.stop());
  const vanishing = xds.connect(relay.port);
  const streams = [
    vanishing.secrets().request({ names: ["A"] }),
    vanishing.ads().request({ names: ["A"] }),
    vanishing.deltaSecrets().request({ subscribe: ["A"] }),
    vanishing.deltaAds().request({ subscribe: ["A"] }),
  ];
  for (const stream of streams) await stream.next();
  const staying = xds.client.secrets().request({ names: ["A"] });
  await staying.next();
  staying.ack();
  assert.equal(xds.server.streams, 5);

  // From here on nothing of it arrives, and nothing ends either: the connection stands until the server gives it up.
  relay.holdToServer(true);
  assert.equal(relay.connections(), 1);
  await until("the vanished peer's streams are gone", () => xds.server.streams === 1);
  assert.deepEqual([xds.recorded.closed, xds.recorded.changed.size], [4, 1]);
  xds.set({ A: "2" });
  assert.equal((await staying.next()).version, "2", "who answers pings stays");
});

test("a client may ping as often as it likes (R74)", async (t) => {
  const xds = await startGenericXds(t, { packing: "one" });
  xds.set({ A: "1" });
  const peer = await rawPeer(t, xds, "/envoy.service.secret.v3.SecretDiscoveryService/StreamSecrets");
  peer.read();
  peer.say({ names: ["A"] });
  await peer.response(1);
  let goneAway = false;
  peer.session.on("goaway", () => {
    goneAway = true;
  });
  for (let ping = 0; ping < 200; ping++) {
    const answered = new Promise<Error | null>((resolve) => {
      peer.session.ping((error) => resolve(error));
    });
    assert.equal(await answered, null);
  }
  xds.set({ A: "2" });
  peer.say({ names: ["A"], version: "1", nonce: peer.responses[0]?.nonce ?? "" });
  await peer.response(2);
  assert.equal(goneAway, false);
  peer.session.close();
  peer.session.destroy();
  await once(peer.session, "close");
});
