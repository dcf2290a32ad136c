/** What SotW says of secrets, between one proxy and the standalone server, on both of its services. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { bytesOf, startConformance } from "../support/delta-conformance.ts";
import { until } from "../support/server.ts";

const PAY = "root-cert-for-mtls-outbound:shop/pay";
const MOST_BYTES = 4096 + 14;

for (const service of ["secrets", "ads"] as const) {
  test(`${service}: a reconnect that reports the current version gets plain bytes; an older one, or none, unique ones; neither is an ACK (T6, R40, R41, R85)`, async (t) => {
    const { client, row, setServices } = await startConformance(t, { "shop/pay": ["pay.shop"] });
    const first = client[service]().request({ names: [PAY] });
    const older = await first.next();
    first.ack();
    await until("it is SYNCED", () => row()?.sync === "SYNCED");
    await setServices({ "shop/pay": ["pay2.shop"] });
    const current = await first.next();
    await first.cancel();
    for (const [reported, bytes] of [
      [current.version, "plain"],
      [older.version, "unique"],
      ["", "unique"],
    ] as const) {
      const stream = client[service]().request({ names: [PAY], version: reported });
      const again = await stream.next();
      assert.deepEqual([again.version, bytesOf(again)], [current.version, bytes], `reported: "${reported}"`);
      assert.equal(row()?.versions[PAY], older.version, "no request but the answer to this response is its ACK");
      await stream.cancel();
    }
    const last = client[service]().request({ names: [PAY], version: current.version });
    await last.next();
    last.ack();
    await until("the answer is one", () => row()?.versions[PAY] === current.version);
  });

  test(`${service}: another's secret is silence, as what does not exist, and is audited; the others are served (R38, R37, T14)`, async (t) => {
    const { client, server } = await startConformance(t);
    const stream = client[service]().request({ names: ["service-cert:bank/vault", "nobody", "ROOTCA"] });
    assert.equal((await stream.next()).secrets[0]?.name, "ROOTCA");
    stream.ack({ names: ["service-cert:bank/vault", "nobody", "ROOTCA", "ALL"] });
    assert.equal((await stream.next()).secrets[0]?.name, "ALL", "nothing came for the other two");
    const line = await server.logged(/asked for a secret that is not its own/);
    assert.equal(line.name, "service-cert:bank/vault");
    assert.equal(line.component, "audit");
    const audited = server.log.filter(({ component, name }) => component === "audit" && name === "nobody");
    assert.deepEqual(audited, []);
  });

  test(`${service}: a version names the content: the same after a restart and for every proxy, untouched by another's leaf (R12)`, async (t) => {
    const { server, client, connect } = await startConformance(t);
    const first = await client[service]()
      .request({ names: ["ROOTCA"] })
      .next();
    const other = server.client(await server.credential("till.shop"));
    const theirs = other[service]().request({ names: ["ROOTCA", "default"] });
    assert.equal((await theirs.next()).version, first.version);
    theirs.ack();
    const versionNow = async () => {
      const stream = connect()
        [service]()
        .request({ names: ["ROOTCA"] });
      return (await stream.next()).version;
    };
    // Another proxy's leaf is made, and nobody's version moves.
    await theirs.next();
    assert.equal(await versionNow(), first.version);
    await server.running.stop();
    await server.start();
    assert.equal(await versionNow(), first.version);
  });

  test(`${service}: of a refusal's text as much is kept as Envoy sends, without control characters (R27)`, async (t) => {
    const { client, row, counted } = await startConformance(t);
    const stream = client[service]().request({ names: ["ROOTCA"] });
    await stream.next();
    stream.nack(`one\ntwo\u001b[31m${"ü".repeat(10_000)}`);
    await counted("nack", 1);
    await until("it is known", () => row()?.error !== undefined);
    const error = row()?.error ?? "";
    assert.match(error, /^answering ROOTCA: one two \[31mü+$/);
    assert.ok(Buffer.byteLength(error) <= MOST_BYTES + "answering ROOTCA: ".length);
    assert.ok(Buffer.byteLength(error) > MOST_BYTES - 10);
  });
}
