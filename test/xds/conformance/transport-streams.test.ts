/** The life of a stream, on all four streaming methods: half-close, cancel, two streams of one proxy, errors after responses. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { MeshrootError } from "../../../src/core/errors.ts";
import { startConformance } from "../../support/delta-conformance.ts";
import { startGenericXds } from "../../support/generic-xds.ts";
import { rawPeer } from "../../support/raw-peer.ts";
import { until } from "../../support/server.ts";
import type { Response, XdsTestClient } from "../../support/xds-client.ts";
import type { XdsTestStream } from "../../support/xds-stream.ts";

const OK = 0;
const CANCELLED = 1;
const INVALID_ARGUMENT = 3;
const UNAUTHENTICATED = 16;

type Conversation = Pick<XdsTestStream<object>, "next" | "received" | "ended" | "end" | "cancel" | "expectSilence"> & {
  /** The whole set of names from now on. */
  ask(names: readonly string[]): void;
  ack(response?: Response): void;
};

/** Each method in the same few words; delta says what is new in the set. */
const SERVICES: readonly { service: string; path: string; begin: (client: XdsTestClient) => Conversation }[] = [
  { service: "StreamSecrets", path: SDS("StreamSecrets"), begin: (client) => sotw(client.secrets()) },
  { service: "DeltaSecrets", path: SDS("DeltaSecrets"), begin: (client) => delta(client.deltaSecrets()) },
  {
    service: "StreamAggregatedResources",
    path: ADS("StreamAggregatedResources"),
    begin: (client) => sotw(client.ads()),
  },
  {
    service: "DeltaAggregatedResources",
    path: ADS("DeltaAggregatedResources"),
    begin: (client) => delta(client.deltaAds()),
  },
];

function SDS(method: string): string {
  return `/envoy.service.secret.v3.SecretDiscoveryService/${method}`;
}

function ADS(method: string): string {
  return `/envoy.service.discovery.v3.AggregatedDiscoveryService/${method}`;
}

function sotw(stream: ReturnType<XdsTestClient["secrets"]>): Conversation {
  return Object.assign(wrapped(stream), {
    ask: (names: readonly string[]) => void stream.request({ names }),
    ack: (response?: Response) => void stream.ack({}, response),
  });
}

function delta(stream: ReturnType<XdsTestClient["deltaSecrets"]>): Conversation {
  let known: readonly string[] = [];
  return Object.assign(wrapped(stream), {
    ask: (names: readonly string[]) => {
      stream.request({ subscribe: names.filter((name) => !known.includes(name)) });
      known = names;
    },
    ack: (response?: Response) => void stream.ack({}, response),
  });
}

function wrapped<Ask extends object>(stream: XdsTestStream<Ask>) {
  return {
    received: stream.received,
    ended: stream.ended,
    next: stream.next.bind(stream),
    end: stream.end.bind(stream),
    cancel: stream.cancel.bind(stream),
    expectSilence: stream.expectSilence.bind(stream),
  } as unknown as Conversation;
}

const nameOf = ({ secrets: [secret] }: Response) => secret?.name;

for (const { service, path, begin } of SERVICES) {
  test(`${service}: half-close ends the stream with OK at once, whatever is open, and frees its state (R70)`, async (t) => {
    const xds = await startGenericXds(t);
    xds.set({ A: "1" });
    const unasked = begin(xds.client);
    unasked.end();
    assert.deepEqual(await unasked.ended, { code: OK, details: "OK" });
    const unanswered = begin(xds.client);
    unanswered.ask(["A"]);
    await unanswered.next();
    assert.deepEqual([xds.server.streams, xds.recorded.opened, xds.recorded.closed], [1, 1, 0]);
    unanswered.end();
    assert.deepEqual(await unanswered.ended, { code: OK, details: "OK" });
    const answered = begin(xds.client);
    answered.ask(["A"]);
    await answered.next();
    answered.ack();
    answered.end();
    assert.equal((await answered.ended).code, OK);
    assert.deepEqual(xds.recorded.verdicts, ["acked A 1"], "what was said before the end counts");
    assert.deepEqual([xds.server.streams, xds.recorded.opened, xds.recorded.closed], [0, 2, 2]);
  });

  test(`${service}: a cancelled stream leaves no session, no watch and no timer; others go on (R71)`, async (t) => {
    const timers = ["setTimeout", "setInterval", "setImmediate"] as const;
    const mocks = timers.map((name) => t.mock.method(globalThis, name));
    const ours = () =>
      mocks.flatMap(({ mock }) => mock.calls).filter(({ stack }) => /\/src\/xds\//.test(stack.stack ?? ""));
    const xds = await startGenericXds(t);
    assert.equal(ours().length, 1, "one timer for all streams");
    xds.set({ A: "1" });
    const staying = begin(xds.client);
    staying.ask(["A"]);
    await staying.next();
    staying.ack();
    // What grpc-js needs for this connection has been made by now.
    const before = ours().length;
    const leaving = Array.from({ length: 20 }, () => begin(xds.client));
    for (const stream of leaving) stream.ask(["A"]);
    for (const stream of leaving) await stream.next();
    assert.deepEqual([xds.server.streams, xds.recorded.changed.size], [21, 21]);
    for (const stream of leaving) assert.equal((await stream.cancel()).code, CANCELLED);
    await until("all are gone", () => xds.server.streams === 1);
    assert.deepEqual([xds.recorded.closed, xds.recorded.changed.size], [20, 1]);
    xds.set({ A: "2" });
    await staying.next();
    assert.equal(xds.recorded.sent.filter((sent) => sent === "A 2").length, 1, "nothing is made for who is gone");
    assert.equal(ours().length, before, "no stream has had a timer of its own");
  });

  test(`${service}: a proxy that has gone is known as such, with what it ACKed last (R71)`, async (t) => {
    const { client, counted, row } = await startConformance(t);
    const stream = begin(client);
    stream.ask(["ROOTCA"]);
    await stream.next();
    stream.ack();
    await counted("ack", 1);
    const version = row()?.versions.ROOTCA;
    assert.match(version ?? "", /^1-/);
    assert.deepEqual([row()?.connected, row()?.sync], [true, "SYNCED"]);
    await stream.cancel();
    await until("it is gone", () => row()?.connected === false);
    assert.deepEqual([row()?.sync, row()?.versions], ["UNKNOWN", { ROOTCA: version }]);
  });

  test(`${service}: two streams of one proxy are two; the end of the older erases nothing of the newer (R73)`, async (t) => {
    const { client, counted, row } = await startConformance(t);
    const [older, newer] = [begin(client), begin(client)];
    older.ask(["ROOTCA"]);
    const first = await older.next();
    older.ack();
    // An answer to what the other stream was sent is none.
    newer.ask(["ALL"]);
    const second = await newer.next();
    newer.ack(first);
    await counted("request", 4);
    assert.deepEqual(Object.keys(row()?.versions ?? {}), ["ROOTCA"]);
    newer.ack(second);
    await counted("ack", 2);
    newer.ask(["ALL", "default"]);
    const leaf = await newer.next();
    assert.equal(nameOf(leaf), "default");
    await older.cancel();
    // The newer one's response is still open, and its answer is still taken.
    newer.ack(leaf);
    await counted("ack", 3);
    assert.deepEqual([row()?.connected, row()?.sync], [true, "SYNCED"]);
    assert.deepEqual(Object.keys(row()?.versions ?? {}).sort(), ["ALL", "ROOTCA", "default"]);
    newer.ask(["ALL", "default", "root-cert-for-mtls-inbound"]);
    assert.equal(nameOf(await newer.next()), "root-cert-for-mtls-inbound");
  });

  test(`${service}: a response that is on its way arrives before the error that ends the stream (R79)`, async (t) => {
    // Four times what a peer takes in unread, so that the response can't be out when the error comes.
    const xds = await startGenericXds(t, { resourceBytes: 256 * 1024 });
    xds.set({ A: "1" });
    const peer = await rawPeer(t, xds, path);
    peer.say({ names: ["A"] });
    await until("it is being sent", () => xds.recorded.sent.length === 1);
    peer.say({ node: "another" });
    await until("the server has ended it", () => xds.server.streams === 0);
    peer.read();
    const { responses, status } = await peer.ended;
    assert.deepEqual([responses.length, status], [1, INVALID_ARGUMENT]);
    assert.deepEqual(
      responses[0]?.secrets.map(({ name }) => name),
      ["A"],
    );
  });

  test(`${service}: who is refused is refused before anything is made or written for it (R79)`, async (t) => {
    let welcome = true;
    const xds = await startGenericXds(t, {
      identify: () => {
        if (!welcome) throw new MeshrootError("MR4001", "not any more", "Come back with another certificate.");
        return "someone";
      },
    });
    xds.set({ A: "1" });
    const before = begin(xds.client);
    before.ask(["A"]);
    await before.next();
    welcome = false;
    const after = begin(xds.client);
    after.ask(["A"]);
    assert.deepEqual(await after.ended, { code: UNAUTHENTICATED, details: "MR4001 not any more" });
    assert.deepEqual([after.received.length, xds.recorded.opened, xds.recorded.sent], [0, 1, ["A 1"]]);
  });
}
