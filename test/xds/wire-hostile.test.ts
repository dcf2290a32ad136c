import assert from "node:assert/strict";
import { test } from "node:test";
import { MeshrootError } from "../../src/core/errors.ts";
import { decodeSecret } from "../../src/secrets/secret-codec.ts";
import * as client from "../../src/xds/client-wire.ts";
import * as wire from "../../src/xds/wire.ts";
import fc from "../support/property.ts";
import { loadEnvoyProtos, written } from "../support/protos.ts";
import { rawField as field } from "../support/raw-proto.ts";

const envoy = loadEnvoyProtos();
const SotwRequest = envoy.lookupType("envoy.service.discovery.v3.DiscoveryRequest");
const DeltaRequest = envoy.lookupType("envoy.service.discovery.v3.DeltaDiscoveryRequest");
const RUNS = { numRuns: 60 };

function refused(decode: () => unknown): void {
  assert.throws(decode, (thrown) => thrown instanceof MeshrootError && thrown.code === "MR4002");
}

test("metadata is decoded when asked for, and as plain values", () => {
  const value = (kind: string, content: unknown) => ({ [kind]: content });
  const struct = {
    fields: {
      NAMESPACE: value("stringValue", "shop"),
      share: value("numberValue", -0.25),
      on: value("boolValue", true),
      nothing: value("nullValue", 0),
      deep: value("structValue", {
        fields: { list: value("listValue", { values: [value("numberValue", 1e300)] }) },
      }),
    },
  };
  const { node: got } = wire.decodeSotwRequest(written(SotwRequest, { node: { id: "a", metadata: struct } }));
  const plain = { NAMESPACE: "shop", share: -0.25, on: true, nothing: null, deep: { list: [1e300] } };
  assert.deepEqual(got?.metadata, plain);
  assert.equal(got?.metadata, got?.metadata, "decoded once");

  const proto = field(3, field(1, Buffer.concat([field(1, "__proto__"), field(2, field(3, "x"))])));
  const metadata = wire.decodeSotwRequest(field(2, proto)).node?.metadata;
  assert.deepEqual(Object.entries(metadata ?? {}), [["__proto__", "x"]]);
  assert.equal(Object.getPrototypeOf(metadata), Object.prototype);

  let nested: Buffer = Buffer.alloc(0);
  for (let depth = 0; depth < 200; depth++) nested = field(1, field(2, field(5, nested)));
  const bottomless = wire.decodeSotwRequest(field(2, field(3, nested))).node;
  refused(() => bottomless?.metadata);
});

test("unknown fields of every wire type are skipped", () => {
  const known = written(SotwRequest, { node: { id: "a" }, resource_names: ["x"], error_detail: { code: 13 } });
  const unknown = fc.constantFrom(
    field(100, "text"),
    Buffer.from([0xa0, 0x06, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01]),
    Buffer.from([0xa1, 0x06, 1, 2, 3, 4, 5, 6, 7, 8]),
    Buffer.from([0xa5, 0x06, 1, 2, 3, 4]),
    // A group with a group inside.
    Buffer.from([0xa3, 0x06, 0x0b, 0x08, 0x01, 0x0c, 0xa4, 0x06]),
    // A known number with another wire type is an unknown field too.
    Buffer.from([0x18, 0x05]),
  );
  const clean = wire.decodeSotwRequest(known);
  fc.assert(
    fc.property(fc.array(unknown), fc.array(unknown), (before, after) => {
      assert.deepEqual(wire.decodeSotwRequest(Buffer.concat([...before, known, ...after])), clean);
    }),
    RUNS,
  );
  const envoyOnly = written(SotwRequest, {
    resource_locators: [{ name: "n" }],
    node: { id: "a", extensions: [{ name: "e" }], client_features: ["f"], locality: { zone: "z" } },
  });
  assert.equal(wire.decodeSotwRequest(envoyOnly).node?.id, "a");
});

test("a message in two parts is their merge; of a string the last counts", () => {
  const halves = [
    field(2, field(1, "old")),
    field(2, field(2, "pay")),
    field(2, field(1, "new")),
    field(1, "1"),
    field(1, "2"),
  ];
  const request = wire.decodeSotwRequest(Buffer.concat(halves));
  assert.deepEqual([request.node?.id, request.node?.cluster, request.versionInfo], ["new", "pay", "2"]);
});

test("every cut of a real request is refused or read, never more than that", () => {
  const whole = {
    node: { id: "sidecar", cluster: "pay", metadata: { fields: { a: { stringValue: "b" } } } },
    error_detail: { code: 13, message: "Failed to load certificate chain" },
  };
  const sotw = written(SotwRequest, { ...whole, type_url: "t", resource_names: ["default", "ROOTCA"] });
  const delta = written(DeltaRequest, { ...whole, type_url: "t", initial_resource_versions: { default: "1" } });
  for (const [bytes, decode] of [
    [sotw, wire.decodeSotwRequest],
    [delta, wire.decodeDeltaRequest],
  ] as const) {
    // Where a field ends the rest is missing, which no parser can see.
    const ends = fieldEnds(bytes);
    for (let length = 0; length < bytes.length; length++) {
      if (ends.has(length)) decode(bytes.subarray(0, length));
      else refused(() => decode(bytes.subarray(0, length)));
    }
  }
});

test("garbage is refused or read, in every decoder", () => {
  const anyBytes = fc.uint8Array({ maxLength: 300 }).map((array) => Buffer.from(array));
  const decoders = [
    wire.decodeSotwRequest,
    wire.decodeDeltaRequest,
    wire.decodeAny,
    client.decodeSotwResponse,
    client.decodeDeltaResponse,
    decodeSecret,
  ];
  const valid = written(DeltaRequest, { node: { id: "a", cluster: "b" }, resource_names_subscribe: ["x", "y"] });
  const flipped = fc
    .array(fc.tuple(fc.nat(valid.length - 1), fc.nat(255)), { minLength: 1, maxLength: 4 })
    .map((flips) => {
      const damaged = Buffer.from(valid);
      for (const [at, byte] of flips) damaged[at] = byte;
      return damaged;
    });
  fc.assert(
    fc.property(fc.oneof(anyBytes, flipped), (bytes) => {
      for (const decode of decoders) {
        try {
          const decoded = decode(bytes);
          if ("node" in decoded) void decoded.node?.metadata;
        } catch (thrown) {
          assert.ok(thrown instanceof MeshrootError && thrown.code === "MR4002", String(thrown));
        }
      }
    }),
    { numRuns: 500 },
  );
});

test("what no protobuf parser may accept", () => {
  const cases: Record<string, Buffer> = {
    "field number 0": Buffer.from([0x02, 0x00]),
    "a tag of more than 32 bits": Buffer.from([0x80, 0x80, 0x80, 0x80, 0x10, 0x00]),
    "a number of eleven bytes": Buffer.from([0x38, ...new Array(10).fill(0xff), 0x01]),
    "a length of more than 32 bits": Buffer.from([0x1a, 0x81, 0x80, 0x80, 0x80, 0x10, 0x41]),
    "a length of 4 GiB": Buffer.from([0x1a, 0xff, 0xff, 0xff, 0xff, 0x0f]),
    "wire type 7": Buffer.from([0x07]),
    "an end without its group": Buffer.from([0x0c]),
    "a group that never ends": Buffer.from([0x0b, 0x08, 0x01]),
    "a group that ends as another": Buffer.from([0x0b, 0x14]),
    "groups without end": Buffer.alloc(100_000, 0x0b),
    "a name that is not UTF-8": Buffer.from([0x1a, 0x02, 0xc3, 0x28]),
    "half a character": Buffer.from([0x1a, 0x01, 0xe8]),
  };
  for (const bytes of Object.values(cases)) refused(() => wire.decodeSotwRequest(bytes));
});

test("a megabyte of the smallest parts is read in one pass", () => {
  const tiny = Buffer.alloc(2 ** 20, Buffer.from([0x12, 0x00]));
  assert.deepEqual(wire.decodeSotwRequest(tiny).node?.id, "");
});

test("R27: error text is cut between characters, and half a character in it is no fault", () => {
  const detail = (message: Buffer) =>
    wire.decodeSotwRequest(field(6, field(2, message))).errorDetail?.message ?? "none";
  const long = Buffer.from("é".repeat(5_000));
  assert.equal(detail(long), "é".repeat(wire.MAX_ERROR_BYTES / 2));
  assert.equal(detail(Buffer.concat([Buffer.from("a"), long])), `a${"é".repeat(wire.MAX_ERROR_BYTES / 2 - 1)}`);
  assert.equal(detail(Buffer.from([0x61, 0xc3])), "a\ufffd");
  const wider = detail(Buffer.alloc(9_000, 0xff));
  assert.ok(Buffer.byteLength(wider) <= wire.MAX_ERROR_BYTES);
  assert.match(wider, /^\ufffd+$/);
});

/** Where the top-level fields of a message end; all of them length-delimited, with short tags and lengths. */
function fieldEnds(bytes: Buffer): Set<number> {
  const ends = new Set([0]);
  for (let at = 0; at < bytes.length; ) {
    at += 2 + (bytes[at + 1] ?? 0);
    ends.add(at);
  }
  assert.ok(ends.has(bytes.length));
  return ends;
}
