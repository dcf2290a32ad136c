/**
 * Delta xDS, the subscription, as a transcript between one proxy (C) and the standalone server (S), on secrets' own service and
 * over ADS. Silence is never waited for: what comes next is something that could only come after what must not come.
 */

import assert from "node:assert/strict";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { SECRET_TYPE_URL } from "../../../src/secrets/secret-codec.ts";
import { encodeDeltaRequest } from "../../../src/xds/client-wire.ts";
import { bytes, message, text, toBuffer } from "../../../src/xds/wire-writer.ts";
import {
  assertDeltaForm,
  BOTH,
  bytesOf,
  DELTA_SERVICES,
  PAY,
  said,
  startConformance,
  TILL,
  versionOf,
} from "../../support/delta-conformance.ts";
import { prepareServer } from "../../support/server.ts";

for (const { service, open } of DELTA_SERVICES) {
  test(`${service}: a resource has name, version and content, under a nonce; a restart gives the same version (R50)`, async (t) => {
    const { server, client } = await startConformance(t);
    const before = open(client).request({ subscribe: ["ROOTCA"] });
    const first = await before.next();
    assert.equal(said(first), "ROOTCA");
    assert.match(versionOf(first), /^1-[0-9a-f]{12}$/);
    assert.equal(first.typeUrl, SECRET_TYPE_URL);
    before.ack();
    assertDeltaForm(before.received);

    await server.running.stop();
    assert.equal((await before.ended).code, 0);
    await server.start();
    const after = open(server.client(await server.credential("pay.shop"))).request({ subscribe: ["ROOTCA"] });
    const again = await after.next();
    assert.equal(versionOf(again), versionOf(first), "another process, another proxy: the same content");
    assert.notEqual(again.nonce, first.nonce);
  });

  test(`${service}: only what changed comes, and nothing that was not asked for (R51, R59)`, async (t) => {
    const { client, setServices, counted } = await startConformance(t, BOTH);
    const stream = open(client).request({ subscribe: [PAY, TILL] });
    const old = new Map<string, string>();
    for (const _ of [PAY, TILL]) {
      const response = await stream.next();
      old.set(said(response), versionOf(response));
      stream.ack();
    }
    await setServices({ ...BOTH, "shop/till": ["till.shop", "till2.shop"], "shop/new": ["new.shop"] });
    const change = await stream.next();
    assert.equal(said(change), TILL);
    assert.notEqual(versionOf(change), old.get(TILL));
    stream.ack({ unsubscribe: [TILL] });
    await counted("ack", 3);
    // Both change, in one edit: had TILL been pushed, or anything of PAY twice, it would stand before ROOTCA.
    await setServices({ "shop/till": ["till3.shop"], "shop/pay": ["pay2.shop"] });
    assert.equal(said(await stream.next()), PAY);
    stream.ack({ subscribe: ["ROOTCA"] });
    assert.equal(said(await stream.next()), "ROOTCA");
    assert.equal(stream.received.length, 5);
    assertDeltaForm(stream.received);
  });

  test(`${service}: a nonce alone is an ACK, with error_detail it is a NACK; no version is repeated (R52)`, async (t) => {
    const { client, setServices, counted, row } = await startConformance(t, BOTH);
    const stream = open(client).request({ subscribe: [PAY] });
    const first = await stream.next();
    assert.deepEqual(row()?.versions, {}, "sent is not accepted");
    stream.request({ nonce: first.nonce });
    await counted("ack", 1);
    assert.equal(row()?.versions[PAY], versionOf(first));

    await setServices({ "shop/pay": ["pay2.shop"] });
    const second = await stream.next();
    stream.request({ nonce: second.nonce, error: { code: 13, message: "no good" } });
    await counted("nack", 1);
    assert.equal(row()?.sync, "ERROR");
    assert.match(row()?.error ?? "", /no good/);
    assert.equal(row()?.versions[PAY], versionOf(first), "what was accepted last");
  });

  test(`${service}: a stale nonce takes nothing away from what the message asks for (R53, T10)`, async (t) => {
    const { server, client, setServices, counted, row } = await startConformance(t, BOTH);
    const stream = open(client).request({ subscribe: [PAY] });
    const first = await stream.next();
    stream.ack();
    await setServices({ "shop/pay": ["pay2.shop"] });
    const second = await stream.next();
    assert.equal(said(second), PAY);
    // C: the old nonce, and a new name, while the second response is open.
    stream.request({ nonce: first.nonce, subscribe: ["ROOTCA"] });
    await counted("request", 3);
    assert.equal(row()?.versions[PAY], versionOf(first), "the second response has no verdict");
    assert.equal(stream.received.length, 2, "one response is on its way: the new name waits for its answer (R22)");
    // It never comes. After 30 s the new name's turn has come all the same, and the verdict is still open.
    server.shiftClock(31_000);
    assert.equal(said(await stream.next()), "ROOTCA");
    assert.equal(row()?.versions[PAY], versionOf(first));
    stream.ack();
    stream.ack({}, second);
    await counted("ack", 3);
    assert.equal(row()?.versions[PAY], versionOf(second), "a verdict that comes late is one");
  });

  test(`${service}: any message may change the subscription: unknown nonce, ACK, NACK (R53, R24)`, async (t) => {
    const { client } = await startConformance(t, BOTH);
    const stream = open(client).request({ subscribe: ["ROOTCA"], nonce: "of-another-life" });
    assert.equal(said(await stream.next()), "ROOTCA");
    stream.ack();
    stream.request({ subscribe: ["ALL"], nonce: "FOO" });
    assert.equal(said(await stream.next()), "ALL");
    stream.ack({ subscribe: [PAY] });
    assert.equal(said(await stream.next()), PAY);
    stream.nack("no good", { subscribe: [TILL], unsubscribe: [PAY] });
    assert.equal(said(await stream.next()), TILL);
    assertDeltaForm(stream.received);
  });

  test(`${service}: a name that is subscribed to again is sent again, at its version (R54)`, async (t) => {
    const { client } = await startConformance(t);
    const stream = open(client).request({ subscribe: ["ROOTCA", "ALL"] });
    const first = await stream.next();
    stream.ack();
    await stream.next();
    stream.ack({ subscribe: [said(first)] });
    const again = await stream.next();
    assert.deepEqual([said(again), versionOf(again)], [said(first), versionOf(first)]);
    assert.equal(bytesOf(again), "plain", "it was ACKed (E3)");
    stream.ack({ subscribe: ["root-cert-for-mtls-inbound"] });
    assert.equal(said(await stream.next()), "root-cert-for-mtls-inbound", "once, and the other name not at all");
  });

  test(`${service}: unsubscribing is never answered; subscribed and unsubscribed in one message is unsubscribed (R55)`, async (t) => {
    const { client, setServices, counted } = await startConformance(t, { ...BOTH, "shop/third": ["third.shop"] });
    const third = "root-cert-for-mtls-outbound:shop/third";
    const stream = open(client).request({ subscribe: [PAY, third] });
    assert.equal(said(await stream.next()), PAY);
    stream.ack();
    assert.equal(said(await stream.next()), third);
    stream.ack({ unsubscribe: [PAY, "phantom"] });
    stream.request({ subscribe: [TILL], unsubscribe: [TILL] });
    await counted("request", 4);
    // One edit changes all three: the one that is still subscribed to is pushed, and nothing with it, before or after.
    await setServices({ "shop/pay": ["b.shop"], "shop/till": ["b.shop"], "shop/third": ["b.shop"] });
    assert.equal(said(await stream.next()), third);
    stream.ack({ subscribe: ["ROOTCA"] });
    assert.equal(said(await stream.next()), "ROOTCA");
    stream.ack({ subscribe: [PAY] });
    assert.equal(said(await stream.next()), PAY, "subscribed to again, it is sent");
    assert.equal(stream.received.length, 5);
  });

  test(`${service}: what does not exist, and what is another's, is removed once; what is still being made is silence (R56)`, async (t) => {
    const server = await prepareServer(t);
    await server.start();
    await server.running.stop();
    const file = join(server.config.dataDir, "services.yaml");
    await writeFile(file, "shop/pay: [[[\n");
    await server.start();
    const stream = open(server.client(await server.credential("cart.shop")));
    // The leaf is made on demand, PAY can't be known while its file can't be read: both are the proxy's own, and come.
    stream.request({ subscribe: ["nobody", "default", PAY, "service-cert:shop/pay"] });
    assert.equal(said(await stream.next()), "-nobody -service-cert:shop/pay");
    stream.ack();
    assert.equal(said(await stream.next()), "default");
    stream.ack();
    await writeFile(file, "shop/pay: [pay.shop]\n");
    assert.equal(said(await stream.next()), PAY, "neither removal was said twice");
    stream.ack({ subscribe: ["nobody"] });
    assert.equal(said(await stream.next()), "-nobody", "whoever asks again is answered again");
    assertDeltaForm(stream.received);
  });

  test(`${service}: a secret that is deleted is removed, and sent when it is back (R58)`, async (t) => {
    const { client, setServices, row } = await startConformance(t, BOTH);
    const stream = open(client).request({ subscribe: [PAY] });
    const first = await stream.next();
    stream.ack();
    await setServices({ "shop/till": ["till.shop"] });
    assert.equal(said(await stream.next()), `-${PAY}`);
    stream.ack();
    await setServices(BOTH);
    const back = await stream.next();
    assert.deepEqual([said(back), versionOf(back)], [PAY, versionOf(first)]);
    assert.equal(bytesOf(back), "unique", "Envoy keeps what is removed, and would skip the same bytes (E3)");
    stream.ack({ subscribe: [TILL] });
    assert.equal(said(await stream.next()), TILL);
    assert.equal(row()?.versions[PAY], versionOf(first));
    assertDeltaForm(stream.received);
  });

  test(`${service}: no names, *, and what is taken back at once: nothing to say is not said (R59, R35, R60)`, async (t) => {
    const { client, counted } = await startConformance(t);
    const stream = open(client).request({});
    stream.request({ subscribe: ["*"] }).request({ subscribe: ["", "*"] });
    stream.request({ subscribe: ["ROOTCA"], unsubscribe: ["ROOTCA", "*"] });
    stream.request({ unsubscribe: ["*", "ROOTCA", ""] });
    await counted("request", 5);
    stream.request({ subscribe: ["ALL"] });
    assert.equal(said(await stream.next()), "ALL");
    assert.equal(stream.received.length, 1, "secrets have no wildcard: nobody gets every key by not saying which");
  });

  test(`${service}: xdstp:// names are names, resource_locators are passed over (R61)`, async (t) => {
    const { client } = await startConformance(t);
    const stream = open(client);
    const request = {
      node: { id: "test-node" },
      typeUrl: SECRET_TYPE_URL,
      subscribe: ["xdstp://mesh/secret/ROOTCA?a=b"],
    };
    // ResourceLocator { name, dynamic_parameters }, to subscribe and to unsubscribe.
    const locator = message(text(1, "ROOTCA"), bytes(2, message(bytes(1, message(text(1, "k"), text(2, "v"))))));
    stream.raw(Buffer.concat([encodeDeltaRequest(request), toBuffer(message(bytes(8, locator), bytes(9, locator)))]));
    assert.equal(said(await stream.next()), "-xdstp://mesh/secret/ROOTCA?a=b");
    stream.ack({ subscribe: ["ROOTCA"] });
    assert.equal(said(await stream.next()), "ROOTCA");
    assert.equal(stream.received.length, 2);
  });
}
