/** Delta xDS, a client that comes back with what it holds: `initial_resource_versions`, between one proxy (C) and the standalone server (S). */

import assert from "node:assert/strict";
import { test } from "node:test";
import {
  assertDeltaForm,
  BOTH,
  bytesOf,
  type Conformance,
  DELTA_SERVICES,
  messages,
  PAY,
  said,
  startConformance,
  TILL,
  versionOf,
} from "../../support/delta-conformance.ts";
import { until } from "../../support/server.ts";

const GONE = "root-cert-for-mtls-outbound:shop/gone";

type Open = (typeof DELTA_SERVICES)[number]["open"];

/** A proxy that has ACKed `names` on a stream that then ended: the versions that it holds. */
async function held({ client, row }: Conformance, open: Open, names: readonly string[]): Promise<Map<string, string>> {
  const stream = open(client).request({ subscribe: names });
  const versions = new Map<string, string>();
  for (const _ of names) {
    const response = await stream.next();
    versions.set(said(response), versionOf(response));
    stream.ack();
  }
  await until("all are ACKed", () => Object.keys(row()?.versions ?? {}).length === names.length);
  await stream.cancel();
  await until("the server knows that the stream is gone", () => row()?.connected === false);
  return versions;
}

for (const { service, open } of DELTA_SERVICES) {
  test(`${service}: a reconnect gets what has changed and what is gone, and no more (R57, T7)`, async (t) => {
    const mesh = await startConformance(t, { ...BOTH, "shop/gone": ["gone.shop"] });
    const { client, server, setServices, row } = mesh;
    const before = await held(mesh, open, ["ROOTCA", PAY, GONE, "ALL"]);
    const [a, b, gone, d] = ["ROOTCA", PAY, GONE, "ALL"].map((name) => before.get(name) ?? "");
    // PAY changes and GONE goes while nobody is connected; a second proxy sees that the server has noticed.
    const witness = server.client(await server.credential("pay.shop")).deltaSecrets();
    witness.request({ subscribe: [GONE] });
    await witness.next();
    witness.ack();
    await setServices({ "shop/pay": ["pay2.shop"] });
    assert.equal(said(await witness.next()), `-${GONE}`);
    await witness.cancel();
    const acks = await messages(server, "ack");

    const initialVersions = { ROOTCA: a ?? "", [PAY]: b ?? "", [GONE]: gone ?? "", ALL: d ?? "" };
    const stream = open(client).request({ subscribe: ["ROOTCA", PAY, GONE, "nobody"], initialVersions });
    const removal = await stream.next();
    assert.equal(said(removal), `-${GONE} -nobody`, "listed but gone, and unknown");
    assert.equal(await messages(server, "resumed"), 1, "ROOTCA goes on as it was");
    stream.ack();
    const change = await stream.next();
    assert.equal(said(change), PAY);
    assert.notEqual(versionOf(change), b);
    assert.equal(bytesOf(change), "unique", "what it last refused is not known (E3)");
    stream.ack({ subscribe: ["root-cert-for-mtls-inbound"] });
    assert.equal(said(await stream.next()), "root-cert-for-mtls-inbound", "neither ROOTCA nor ALL comes");
    assert.equal(await messages(server, "ack"), acks + 2);
    assert.equal(row()?.versions.ROOTCA, a, "ACKed, by what it brought");
    assertDeltaForm(stream.received);
  });

  test(`${service}: a version that the proxy never ACKed is no reason to keep anything back (R57, E15)`, async (t) => {
    const mesh = await startConformance(t);
    const { client, server } = mesh;
    // The version of the bundle is everybody's, so a client may name one that this proxy was never sent.
    const other = server.client(await server.credential("pay.shop")).deltaSecrets();
    const version = versionOf(await other.request({ subscribe: ["ROOTCA"] }).next());
    const stream = open(client).request({ subscribe: ["ROOTCA"], initialVersions: { ROOTCA: version } });
    assert.equal(versionOf(await stream.next()), version);
    assert.equal(await messages(server, "resumed"), 0);
  });

  test(`${service}: versions are read in the first request of the type alone (R57)`, async (t) => {
    const mesh = await startConformance(t);
    const { client, server } = mesh;
    const before = await held(mesh, open, ["ROOTCA", "ALL"]);
    const stream = open(client).request({ subscribe: ["nobody"] });
    assert.equal(said(await stream.next()), "-nobody");
    stream.ack({ subscribe: ["ROOTCA", "ALL"], initialVersions: Object.fromEntries(before) });
    for (const name of ["ROOTCA", "ALL"]) {
      const response = await stream.next();
      assert.deepEqual([said(response), versionOf(response)], [name, before.get(name)]);
      stream.ack();
    }
    assert.equal(await messages(server, "resumed"), 0);
  });

  test(`${service}: a name that appears later comes then, though its absence was told (R57, R56, T7)`, async (t) => {
    const mesh = await startConformance(t, { "shop/pay": ["pay.shop"] });
    const before = await held(mesh, open, [PAY]);
    const stream = open(mesh.client).request({ subscribe: [PAY, TILL], initialVersions: Object.fromEntries(before) });
    assert.equal(said(await stream.next()), `-${TILL}`);
    stream.ack();
    await mesh.setServices(BOTH);
    assert.equal(said(await stream.next()), TILL, "and PAY is not sent");
    stream.ack({ subscribe: [PAY] });
    const again = await stream.next();
    assert.equal(said(again), PAY);
    assert.equal(bytesOf(again), "unique", "after a resume the next bytes are unique (E15)");
  });
}
