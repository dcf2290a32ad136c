/**
 * Reads protobuf messages field by field, strictly. Not protobufjs' reader: that one takes a string whose length runs past
 * the end of the message for a shorter string, and replaces bytes that are not UTF-8, so damage would pass as a name.
 */

import { isUtf8 } from "node:buffer";
import { MeshrootError } from "../core/errors.ts";

/** A field as it stands on the wire: bytes, a varint cut to 32 bits (signed), 8 bytes, or something that nobody reads. */
export type WireField =
  | { readonly number: number; readonly kind: "bytes" | "fixed64"; readonly bytes: Buffer }
  | { readonly number: number; readonly kind: "varint"; readonly value: number }
  | { readonly number: number; readonly kind: "skipped" };

type Cursor = { readonly buffer: Buffer; at: number };

/** As deep as protobuf's own parsers go by default. */
const MAX_DEPTH = 100;
const MAX_FIELD_NUMBER = 2 ** 29 - 1;

/**
 * The fields of one message in their order; `bytes` are views of `buffer`. The caller ignores numbers it doesn't know, and
 * a number it knows with another kind, as protobuf asks. Throws MR4002 on bytes that are no message.
 */
export function* readFields(buffer: Buffer): Generator<WireField, void> {
  const cursor = { buffer, at: 0 };
  while (cursor.at < buffer.length) {
    const tag = readTag(cursor);
    yield readField(cursor, tag.number, tag.wireType);
  }
}

/** A protobuf string; throws MR4002 if it is not UTF-8. */
export function readString(bytes: Buffer): string {
  if (!isUtf8(bytes)) throw malformedMessage("a string is not UTF-8");
  return bytes.toString("utf8");
}

/** MR4002: the peer sent bytes that can't be what the protocol says. */
export function malformedMessage(what: string): MeshrootError {
  return new MeshrootError(
    "MR4002",
    `malformed xDS message: ${what}`,
    "Check that the peer speaks Envoy's v3 xDS protocol and that nothing between changes the bytes.",
  );
}

/** Throws MR4002 if messages are nested deeper than any real one. */
export function checkDepth(depth: number): void {
  if (depth > MAX_DEPTH) throw malformedMessage(`nested deeper than ${MAX_DEPTH} levels`);
}

function readField(cursor: Cursor, number: number, wireType: number): WireField {
  switch (wireType) {
    case 0:
      return { number, kind: "varint", value: readVarint(cursor).low | 0 };
    case 1:
      return { number, kind: "fixed64", bytes: take(cursor, 8) };
    case 2:
      return { number, kind: "bytes", bytes: take(cursor, readLength(cursor)) };
    default:
      skip(cursor, number, wireType, 0);
      return { number, kind: "skipped" };
  }
}

function skip(cursor: Cursor, number: number, wireType: number, depth: number): void {
  if (wireType === 0) readVarint(cursor);
  else if (wireType === 1) take(cursor, 8);
  else if (wireType === 2) take(cursor, readLength(cursor));
  else if (wireType === 3) skipGroup(cursor, number, depth + 1);
  else if (wireType === 5) take(cursor, 4);
  else throw malformedMessage(`wire type ${wireType} at byte ${cursor.at}`);
}

function skipGroup(cursor: Cursor, group: number, depth: number): void {
  checkDepth(depth);
  for (;;) {
    const { number, wireType } = readTag(cursor);
    if (wireType !== 4) skip(cursor, number, wireType, depth);
    else if (number === group) return;
    else throw malformedMessage(`group ${group} ended as group ${number}`);
  }
}

function readTag(cursor: Cursor): { number: number; wireType: number } {
  const { low, high } = readVarint(cursor);
  const number = low >>> 3;
  if (high !== 0 || number === 0 || number > MAX_FIELD_NUMBER) throw malformedMessage(`tag before byte ${cursor.at}`);
  return { number, wireType: low & 7 };
}

function readLength(cursor: Cursor): number {
  const { low, high } = readVarint(cursor);
  if (high !== 0) throw malformedMessage(`length before byte ${cursor.at}`);
  return low;
}

function take(cursor: Cursor, length: number): Buffer {
  const end = cursor.at + length;
  if (end > cursor.buffer.length) throw malformedMessage(`ends ${end - cursor.buffer.length} bytes early`);
  const bytes = cursor.buffer.subarray(cursor.at, end);
  cursor.at = end;
  return bytes;
}

/** At most ten bytes: the low 32 bits, and the rest as a number that is only ever compared with 0. */
function readVarint(cursor: Cursor): { low: number; high: number } {
  let low = 0;
  let high = 0;
  for (let index = 0; index < 10; index++) {
    const byte = cursor.buffer[cursor.at++];
    if (byte === undefined) throw malformedMessage("ends within a number");
    const bits = byte & 127;
    if (index < 4) low += bits * 2 ** (7 * index);
    else if (index === 4) {
      low += (bits & 15) * 2 ** 28;
      high = bits >> 4;
    } else high += bits * 2 ** (7 * index - 32);
    if (byte < 128) return { low, high };
  }
  throw malformedMessage("a number longer than ten bytes");
}
