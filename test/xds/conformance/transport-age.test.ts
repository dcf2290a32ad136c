/** Streams grow old (R75): each ends with OK, when nothing is on its way, and never many in the same second. */

import assert from "node:assert/strict";
import { X509Certificate } from "node:crypto";
import { EventEmitter } from "node:events";
import { test } from "node:test";
import type { TLSSocket } from "node:tls";
import { Connections } from "../../../src/xds/connections.ts";
import type { XdsStream } from "../../../src/xds/stream.ts";
import { startGenericXds } from "../../support/generic-xds.ts";
import { makeTestRoot } from "../../support/test-certificates.ts";

const OK = 0;
const MINUTE_MS = 60_000;

test("a stream of any kind ends with OK at its age, and the next one lives on the same connection (R75)", async (t) => {
  const xds = await startGenericXds(t, { packing: "one", maxStreamAgeMs: 500 });
  xds.set({ A: "1" });
  const { client } = xds;
  for (const open of [client.secrets, client.ads]) {
    const stream = open().request({ names: ["A"] });
    await stream.next();
    stream.ack();
    assert.equal((await stream.ended).code, OK);
  }
  for (const open of [client.deltaSecrets, client.deltaAds]) {
    const stream = open().request({ subscribe: ["A"] });
    await stream.next();
    stream.ack();
    assert.equal((await stream.ended).code, OK);
  }
});

test("a stream that owes an answer is not ended, however old it is (R75)", async (t) => {
  const xds = await startGenericXds(t, { packing: "one", maxStreamAgeMs: 500 });
  xds.set({ A: "1" });
  const owing = xds.client.secrets().request({ names: ["A"] });
  await owing.next();
  for (let round = 0; round < 2; round++) {
    // Younger than the other, and ended before it.
    const answered = xds.client.secrets().request({ names: ["A"] });
    await answered.next();
    answered.ack();
    assert.equal((await answered.ended).code, OK);
  }
  owing.ack();
  assert.equal((await owing.ended).code, OK);
  assert.deepEqual(xds.recorded.verdicts, ["acked A 1", "acked A 1", "acked A 1"], "no answer was lost to age");
});

test("a thousand streams of one moment, and those that replace them, end over minutes, near their age (R75)", async (t) => {
  t.mock.timers.enable({ apis: ["setInterval"] });
  const maxStreamAgeMs = 30 * MINUTE_MS;
  const opened = 5_000_000;
  let now = opened;
  const connections = new Connections<string>({
    outdated: () => undefined,
    onRetired: () => undefined,
    maxStreamAgeMs,
    now: Date.now,
    monotonic: () => now,
  });
  connections.start();
  const endedAt: number[] = [];
  /** A client that opens the next stream as soon as one ends. */
  const openStream = (remote: string) => {
    const stream = {
      isIdle: true,
      sweep: () => undefined,
      end: () => {
        endedAt.push(now);
        connections.leave(remote, stream);
        openStream(remote);
      },
    } as unknown as XdsStream<string>;
    connections.enter(remote, stream);
  };
  const { certPem } = await makeTestRoot("someone");
  const certificate = new X509Certificate(certPem);
  for (let port = 0; port < 1_000; port++) {
    const socket = Object.assign(new EventEmitter(), { remoteAddress: "192.0.2.1", remotePort: port });
    connections.add(socket as unknown as TLSSocket, certificate, "someone");
    openStream(`192.0.2.1:${port}`);
  }
  const most = Math.ceil((2 * 1_000 * 1_000) / maxStreamAgeMs);
  while (now < opened + 1.2 * maxStreamAgeMs + MINUTE_MS) {
    const before = endedAt.length;
    now += 1_000;
    t.mock.timers.tick(1_000);
    assert.ok(endedAt.length - before <= most, `${endedAt.length - before} ended in one second, not ${most}`);
  }
  assert.equal(endedAt.length, 1_000, "each once: none lives on, and none of the second generation is old yet");
  assert.ok((endedAt[0] ?? 0) >= opened + 0.8 * maxStreamAgeMs, "none before four fifths of the age");
});
