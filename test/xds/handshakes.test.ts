/** D3 on the xDS port alone: the deadline runs from the accept, whatever comes in, and ends with a verified client. */

import assert from "node:assert/strict";
import { connect } from "node:net";
import { type TestContext, test } from "node:test";
import { startGenericXds } from "../support/generic-xds.ts";
import { until } from "../support/server.ts";

const HANDSHAKE_TIMEOUT_MS = 500;

/** Sends the beginning of a ClientHello byte by byte, for as long as it may. */
function trickle(t: TestContext, port: number) {
  const hello = Buffer.concat([Buffer.from("1603010200010001fc0303", "hex"), Buffer.alloc(500, 1)]);
  const state = { sent: 0, closed: false };
  const socket = connect(port, "127.0.0.1").on("error", () => undefined);
  const timer = setInterval(() => {
    if (!socket.destroyed) socket.write(hello.subarray(state.sent, ++state.sent));
  }, 50);
  socket.resume().on("close", () => {
    clearInterval(timer);
    state.closed = true;
  });
  t.after(() => socket.destroy());
  return state;
}

test("D3: a ClientHello that trickles in is cut off; a client that was verified stays for good", async (t) => {
  const turned: string[] = [];
  const turnedAway = (why: string, address: string) => void turned.push(`${why} ${address}`);
  const xds = await startGenericXds(t, { packing: "one", handshakeTimeoutMs: HANDSHAKE_TIMEOUT_MS, turnedAway });
  xds.set({ A: "1" });
  const stream = xds.client.secrets().request({ names: ["A"] });
  await stream.next();
  stream.ack();
  const first = trickle(t, xds.port);
  await until("it is cut off", () => first.closed);
  assert.ok(first.sent > 1, "it was at it");
  const second = trickle(t, xds.port);
  await until("so is the next one", () => second.closed);
  assert.deepEqual(turned, ["late 127.0.0.1", "late 127.0.0.1"]);
  xds.set({ A: "2" });
  assert.equal((await stream.next()).version.length > 0, true, "the stream of before both goes on");
});

test("D3: of many that trickle in at once, those beyond the limit give way, and a proxy gets in", async (t) => {
  const turned: string[] = [];
  const xds = await startGenericXds(t, {
    packing: "one",
    maxHandshakes: 4,
    turnedAway: (why) => void turned.push(why),
  });
  xds.set({ A: "1" });
  const slow = Array.from({ length: 12 }, () => trickle(t, xds.port));
  await until("some were refused", () => slow.filter(({ closed }) => closed).length >= 8);
  await until("a proxy gets in", () =>
    xds
      .connect()
      .secrets()
      .request({ names: ["A"] })
      .next()
      .then(
        () => true,
        () => false,
      ),
  );
  assert.ok(
    turned.every((why) => why === "crowded"),
    "and did not wait for the deadline of the others",
  );
});
