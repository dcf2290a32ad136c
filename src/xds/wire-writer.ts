/**
 * Builds protobuf messages (protobuf.dev, "Encoding") as trees that know their length, so that a response is written in
 * one pass into one buffer and a big shared value in it is copied once.
 */

/** A message not yet written. Made by `message`; its values may be shared between any number of messages. */
export type Message = { readonly length: number; readonly fields: readonly Field[] };

/** What a length-delimited field can hold. Strings are written as UTF-8. */
export type Value = string | Uint8Array | Message;

export type Field = {
  readonly number: number;
  /** Bytes of the payload, without tag and length. */
  readonly length: number;
  /** Length-delimited, the values one after the other; or a varint. */
  readonly payload: readonly Value[] | number;
};

/** A message of these fields, in this order. */
export function message(...parts: readonly (Field | undefined)[]): Message {
  const fields = parts.filter((part) => part !== undefined);
  return { fields, length: fields.reduce((sum, field) => sum + fieldLength(field), 0) };
}

/** A string that has no presence: left out when empty, as proto3 asks. */
export function text(number: number, value: string): Field | undefined {
  return value === "" ? undefined : bytes(number, value);
}

/** A length-delimited field that is written even when empty: repeated, in a oneof, or a message. */
export function bytes(number: number, ...values: readonly Value[]): Field {
  return { number, payload: values, length: values.reduce((sum, value) => sum + valueLength(value), 0) };
}

/** An int32, enum or bool without presence: left out when 0. */
export function integer(number: number, value: number): Field | undefined {
  return value === 0 ? undefined : { number, payload: value, length: value < 0 ? 10 : varintLength(value) };
}

export function toBuffer(whole: Message): Buffer {
  const target = Buffer.allocUnsafe(whole.length);
  const end = writeMessage(target, 0, whole);
  // What allocUnsafe left in an unwritten byte could be somebody's key.
  if (end !== target.length) throw new Error(`wrote ${end} of ${target.length} bytes`);
  return target;
}

function valueLength(value: Value): number {
  return typeof value === "string" ? Buffer.byteLength(value) : value.length;
}

function fieldLength(field: Field): number {
  const prefix = typeof field.payload === "number" ? 0 : varintLength(field.length);
  return varintLength(field.number * 8) + prefix + field.length;
}

function varintLength(value: number): number {
  let length = 1;
  for (let rest = value; rest > 127; rest = Math.floor(rest / 128)) length++;
  return length;
}

function writeMessage(target: Buffer, start: number, { fields }: Message): number {
  let at = start;
  for (const { number, length, payload } of fields) {
    if (typeof payload === "number") {
      at = writeVarint(target, writeVarint(target, at, number * 8), payload);
    } else {
      at = writeVarint(target, writeVarint(target, at, number * 8 + 2), length);
      for (const value of payload) at = writeValue(target, at, value);
    }
  }
  return at;
}

function writeValue(target: Buffer, at: number, value: Value): number {
  if (typeof value === "string") return at + target.write(value, at);
  if (!(value instanceof Uint8Array)) return writeMessage(target, at, value);
  target.set(value, at);
  return at + value.length;
}

function writeVarint(target: Buffer, start: number, value: number): number {
  let at = start;
  if (value < 0) {
    // A negative int32 is sign-extended to 64 bits, so takes ten bytes.
    let rest = BigInt.asUintN(64, BigInt(value));
    for (; rest > 127n; rest >>= 7n) target[at++] = Number(rest & 127n) | 128;
    target[at++] = Number(rest);
    return at;
  }
  let rest = value;
  for (; rest > 127; rest = Math.floor(rest / 128)) target[at++] = (rest % 128) | 128;
  target[at++] = rest;
  return at;
}
