/** Requests that nobody should send: right ones with absurd contents, and right ones with damage. */

import { SECRET_TYPE_URL } from "../../../src/secrets/secret-codec.ts";
import type { Variant } from "../../../src/xds/subscription-state.ts";
import { bytes, type Message, message, text, toBuffer } from "../../../src/xds/wire-writer.ts";
import type { Rng } from "./rng.ts";

/** Half a surrogate pair, which is no UTF-8; as a string no encoder would let it pass. */
const HALF = Buffer.from([0xed, 0xa0, 0x80]);
const NAMES: readonly (string | Buffer)[] = [
  ...["ROOTCA", "ALL", "default", "root-cert-for-mtls-inbound", "service-cert:shop/cart", "service-cert:bank/vault"],
  ...["", "*", "__proto__", "constructor", "hasOwnProperty", "tls_sds", "validation_context_sds", "nobody"],
  ...["a\u0000b", "line\nline", "\u001b[31m", "spiffe://", "spiffe://cluster.local/../x", "xdstp://a/b/c?d=e#f"],
  ...[
    "service-cert:",
    "service-cert:/",
    "root-cert-for-mtls-outbound:",
    "root-cert-for-mtls-outbound:a/b/c",
    "ü".repeat(50),
  ],
];
const TYPES = [
  "",
  SECRET_TYPE_URL,
  SECRET_TYPE_URL,
  SECRET_TYPE_URL,
  "type.googleapis.com/envoy.config.cluster.v3.Cluster",
  "x",
];
const NONCES = ["", "", "1", "abcdef-1.0.1", "__proto__", "n".repeat(2_000)];

/** `first`: with a node, which most have. */
export function randomRequest(random: Rng, variant: Variant, first: boolean): Buffer {
  const names = randomNames(random);
  const node = first || random.chance(0.1) ? [bytes(variant === "sotw" ? 2 : 1, randomNode(random))] : [];
  const error = random.chance(0.15)
    ? [bytes(variant === "sotw" ? 6 : 7, message(text(2, "x".repeat(random.int(6_000)))))]
    : [];
  const nonce = random.pick(NONCES);
  if (variant === "sotw") {
    const resources = names.map((name) => bytes(3, name));
    const head = [text(1, random.pick(["", "1", "999"])), text(4, random.pick(TYPES)), text(5, nonce)];
    return toBuffer(message(...head, ...node, ...resources, ...error));
  }
  const held = randomNames(random).slice(0, 3);
  return toBuffer(
    message(
      ...node,
      text(2, random.pick(TYPES)),
      ...names.map((name) => bytes(random.chance(0.7) ? 3 : 4, name)),
      ...held.map((name) => bytes(5, message(bytes(1, name), text(2, "1")))),
      text(6, nonce),
      ...error,
    ),
  );
}

function randomNames(random: Rng): (string | Buffer)[] {
  const some = Array.from({ length: random.int(5) }, () => random.pick(NAMES));
  if (random.chance(0.01)) some.push(HALF);
  if (random.chance(0.002)) some.push("long".repeat(50_000));
  if (random.chance(0.002)) return Array.from({ length: 10_000 }, (_, index) => `name-${index}`);
  return some;
}

function randomNode(random: Rng): Message {
  const id = random.pick(["fuzz", "fuzz", "fuzz", "fuzz", "fuzz", "other", "", "\u0000", "i".repeat(3_000)]);
  const metadata = random.chance(0.1) ? [bytes(3, nested(random.pick([1, 50, 99, 101, 1_000])))] : [];
  return message(text(1, id), text(2, "fuzz"), ...metadata, text(6, random.pick(["envoy", "", "meshroot-agent"])));
}

/** A google.protobuf.Struct in a Struct, so many times. */
function nested(depth: number): Buffer {
  let struct = toBuffer(message());
  for (let level = 0; level < depth; level++)
    struct = toBuffer(message(bytes(1, message(text(1, "k"), bytes(2, message(bytes(5, struct)))))));
  return struct;
}

/** Flips, cuts, doubles or invents bytes. */
export function damaged(random: Rng, whole: Buffer): Buffer {
  const bytesOf = Buffer.from(whole);
  const at = random.int(Math.max(1, bytesOf.length));
  switch (random.int(5)) {
    case 0:
      for (let flips = 1 + random.int(4); flips > 0 && bytesOf.length > 0; flips--)
        bytesOf[random.int(bytesOf.length)] = random.int(256);
      return bytesOf;
    case 1:
      return bytesOf.subarray(0, at);
    case 2:
      return Buffer.concat([bytesOf.subarray(0, at), random.bytes(1 + random.int(20)), bytesOf.subarray(at)]);
    case 3:
      return Buffer.concat([bytesOf, bytesOf]);
    default:
      return random.bytes(random.int(300));
  }
}
