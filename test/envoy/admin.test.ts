import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { test } from "node:test";
import { MeshrootError } from "../../src/core/errors.ts";
import { normaliseSerial } from "../../src/core/serial.ts";
import { envoyAdmin, listsWholeBundle, parseCerts, parseStats } from "../../src/envoy/admin.ts";

test("serials compare equal however they are written", () => {
  assert.equal(normaliseSerial("00AB12"), "ab12");
  assert.equal(normaliseSerial("0A:B1:2C"), "ab12c");
  assert.equal(normaliseSerial("0"), "0");
});

test("/certs: roots and chain of each context, names, times; empty contexts left out", () => {
  const details = {
    path: "<inline>",
    serial_number: "0012AB",
    subject_alt_names: [{ dns: "pay.shop.cluster.local" }, { uri: "spiffe://cluster.local/pay/shop" }],
    days_until_expiration: "3649",
    valid_from: "2026-01-01T00:00:00Z",
    expiration_time: "2026-01-02T00:00:00Z",
  };
  const text = JSON.stringify({
    certificates: [
      {
        ca_cert: [
          { ...details, serial_number: "1" },
          { ...details, serial_number: "2" },
        ],
        cert_chain: [details],
      },
      { ca_cert: [], cert_chain: [] },
      {},
    ],
  });
  const contexts = parseCerts(text);
  assert.equal(contexts.length, 1);
  assert.deepEqual(
    contexts[0]?.trusted.map(({ serial }) => serial),
    ["1", "2"],
  );
  assert.deepEqual(contexts[0]?.chain, [
    {
      serial: "12ab",
      dnsNames: ["pay.shop.cluster.local"],
      uris: ["spiffe://cluster.local/pay/shop"],
      notBefore: Date.UTC(2026, 0, 1),
      notAfter: Date.UTC(2026, 0, 2),
      path: "<inline>",
    },
  ]);
});

test("Envoy lists whole bundles since 1.40; a version that can't be read promises nothing", () => {
  assert.deepEqual(["1.36.4", "1.39.3", "1.40.0", "1.41.2", "2.0.0", ""].map(listsWholeBundle), [
    false,
    false,
    true,
    true,
    true,
    false,
  ]);
});

test("statistics: numbers, texts, numbers too large for a double, names with colons", () => {
  const stats = parseStats(
    [
      "sds.service-cert:shop/pay.update_success: 2",
      'sds.x.version_text: "7-0123456789ab"',
      "sds.x.version: 17241709254077376921",
      "",
    ].join("\n"),
  );
  assert.equal(stats.get("sds.service-cert:shop/pay.update_success"), 2);
  assert.equal(stats.get("sds.x.version_text"), "7-0123456789ab");
  assert.equal(stats.get("sds.x.version"), "17241709254077376921");
  assert.equal(stats.size, 3);
});

test("an address where nothing listens, an error answer and a bad address are MR5004 with a hint", async (t) => {
  const server = createServer((_incoming, outgoing) => {
    outgoing.statusCode = 404;
    outgoing.end("invalid path");
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = `127.0.0.1:${(server.address() as AddressInfo).port}`;
  t.after(() => server.close());

  const unreachable = (error: unknown) => error instanceof MeshrootError && error.code === "MR5004";
  await assert.rejects(envoyAdmin(address).configDump(), unreachable);
  assert.equal(await envoyAdmin(address).ready(), false);
  await assert.rejects(envoyAdmin("127.0.0.1:1").certs(), unreachable);
  await assert.rejects(envoyAdmin("no such address").certs(), unreachable);
});
