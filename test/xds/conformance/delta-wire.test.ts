/** Delta xDS, field by field: what is never on the wire. Read with our own reader of fields, which skips nothing. */

import assert from "node:assert/strict";
import { test } from "node:test";
import * as grpc from "@grpc/grpc-js";
import { SECRET_TYPE_URL } from "../../../src/secrets/secret-codec.ts";
import type { RawMethod } from "../../../src/xds/services.ts";
import { readFields } from "../../../src/xds/wire-reader.ts";
import { bytes, message, text, toBuffer } from "../../../src/xds/wire-writer.ts";
import { aggregatedDiscoveryService, secretDiscoveryService } from "../../support/discovery-services.ts";
import { startServer } from "../../support/server.ts";

const METHODS: readonly [string, RawMethod, "sotw" | "delta"][] = [
  ["StreamSecrets", secretDiscoveryService.StreamSecrets, "sotw"],
  ["DeltaSecrets", secretDiscoveryService.DeltaSecrets, "delta"],
  ["StreamAggregatedResources", aggregatedDiscoveryService.StreamAggregatedResources, "sotw"],
  ["DeltaAggregatedResources", aggregatedDiscoveryService.DeltaAggregatedResources, "delta"],
];

/** envoy.service.discovery.v3.Resource: version, resource, name. Not 4 (aliases), 6 (ttl), 7 (cache_control). */
const PLAIN_RESOURCE = [1, 2, 3];
/** DeltaDiscoveryResponse: system_version_info, resources, type_url, nonce. DiscoveryResponse: version_info, resources, type_url, nonce. */
const RESPONSE = [1, 2, 4, 5];

for (const [service, method, variant] of METHODS) {
  test(`${service}: no ttl and no aliases, even for a client that could take them (R65, R61, R9)`, async (t) => {
    const server = await startServer(t);
    const { caPem, certPem, keyPem, serverName } = await server.credential("cart.shop");
    const credentials = grpc.credentials.createSsl(Buffer.from(caPem), Buffer.from(keyPem), Buffer.from(certPem));
    const client = new grpc.Client(`127.0.0.1:${server.running.xdsPort}`, credentials, {
      "grpc.ssl_target_name_override": serverName,
    });
    t.after(() => client.close());
    const call = client.makeBidiStreamRequest(method.path, method.requestSerialize, method.responseDeserialize);
    call.on("error", () => undefined);
    const features = ["xds.config.supports-resource-ttl", "xds.config.supports-resource-in-sotw"];
    const node = message(text(1, "n"), ...features.map((feature) => bytes(10, feature)));
    const request =
      variant === "delta"
        ? message(bytes(1, node), text(2, SECRET_TYPE_URL), bytes(3, "ROOTCA"))
        : message(bytes(2, node), bytes(3, "ROOTCA"), text(4, SECRET_TYPE_URL));
    call.write(toBuffer(request));
    const response = await new Promise<Buffer>((resolve) => call.once("data", resolve));
    call.cancel();

    assert.deepEqual(numbers(response), RESPONSE);
    const [resource] = all(response, 2);
    assert.ok(resource);
    // In SotW a resource with a ttl is an Any of a Resource; ours is the Any of the secret itself.
    if (variant === "delta") assert.deepEqual(numbers(resource), PLAIN_RESOURCE);
    const any = variant === "delta" ? all(resource, 2)[0] : resource;
    assert.equal(String(all(any ?? Buffer.alloc(0), 1)[0]), SECRET_TYPE_URL);
  });
}

function numbers(encoded: Buffer): number[] {
  return [...new Set([...readFields(encoded)].map(({ number }) => number))].sort((a, b) => a - b);
}

function all(encoded: Buffer, number: number): Buffer[] {
  return [...readFields(encoded)].flatMap((field) =>
    field.kind === "bytes" && field.number === number ? [field.bytes] : [],
  );
}
