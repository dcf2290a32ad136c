/** Requests to the operator's services: client status with absurd matchers, health and reflection with absurd names. */

import { bytes, integer, type Message, message, text, toBuffer } from "../../../src/xds/wire-writer.ts";
import type { Rng } from "./rng.ts";

const TEXTS = ["", "fuzz", "cart.shop", "__proto__", "\u0000", "ü", "x".repeat(3_000)];
const EXPRESSIONS = [
  "",
  ".*",
  "fuzz|x",
  "(",
  "[z-a]",
  "(.+)+x",
  "(?=a)",
  "\\1",
  "a{1000}{1000}",
  "\\p{Greek}",
  "(a*)*".repeat(50),
];

/** envoy.service.status.v3.ClientStatusRequest. */
export function statusRequest(random: Rng): Buffer {
  const matchers = Array.from({ length: random.int(4) }, () => bytes(1, nodeMatcher(random)));
  const node = random.chance(0.3) ? [bytes(2, message(text(1, random.pick(TEXTS))))] : [];
  return toBuffer(message(...matchers, ...node, random.chance(0.3) ? integer(3, 1) : undefined));
}

/** grpc.health.v1.HealthCheckRequest. */
export function healthRequest(random: Rng): Buffer {
  return toBuffer(message(text(1, random.pick(TEXTS))));
}

/** grpc.reflection.v1.ServerReflectionRequest, which is that of v1alpha too. */
export function reflectionRequest(random: Rng): Buffer {
  const symbol = random.pick([...TEXTS, "grpc.health.v1.Health", "google.protobuf.Any", "a.b.c.d.e.f"]);
  const extension = message(text(1, symbol), integer(2, random.int(1_000)));
  const question = random.pick([
    text(3, symbol),
    text(4, symbol),
    bytes(5, extension),
    text(6, symbol),
    text(7, "*"),
    undefined,
  ]);
  return toBuffer(message(text(1, random.pick(TEXTS)), question));
}

function nodeMatcher(random: Rng): Message {
  const id = random.chance(0.7) ? [bytes(1, stringMatcher(random))] : [];
  const path = Array.from({ length: random.int(4) }, () => bytes(2, message(text(1, random.pick(TEXTS)))));
  const value = random.chance(0.9) ? [bytes(3, valueMatcher(random, random.pick([0, 1, 5, 60, 400])))] : [];
  return message(...id, ...(random.chance(0.5) ? [bytes(2, message(...path, ...value))] : []));
}

function stringMatcher(random: Rng): Message {
  const said = random.pick([1, 2, 3, 5, 7, 99]);
  const what = random.pick(TEXTS);
  const pattern = said === 5 ? bytes(5, message(text(2, random.pick(EXPRESSIONS)))) : text(said, what);
  return message(pattern, random.chance(0.3) ? integer(6, 1) : undefined);
}

/** A list's or an alternative's matcher in another one, so many times. */
function valueMatcher(random: Rng, depth: number): Message {
  if (depth > 0) {
    const inner = valueMatcher(random, depth - 1);
    return random.chance(0.5)
      ? message(bytes(6, message(bytes(1, inner))))
      : message(bytes(7, message(bytes(1, inner))));
  }
  return random.pick([
    message(bytes(1, message())),
    message(bytes(2, message())),
    message(bytes(3, stringMatcher(random))),
    message(integer(4, 1)),
    message(integer(5, 1)),
    message(),
  ]);
}
