/** google.protobuf.Struct, the type of a node's metadata, as plain values. What they say is shown to people. */

import { foreignText } from "../core/foreign-text.ts";
import { checkDepth, readFields, readString } from "./wire-reader.ts";

export type PlainValue = null | boolean | number | string | readonly PlainValue[] | PlainObject;
export type PlainObject = { readonly [key: string]: PlainValue };

/** Throws MR4002 on malformed bytes. A key of any name is an own property (`__proto__` too). */
export function decodeStruct(bytes: Buffer): PlainObject {
  return structAt(bytes, 0);
}

function structAt(bytes: Buffer, depth: number): PlainObject {
  checkDepth(depth);
  const entries = new Map<string, PlainValue>();
  for (const field of readFields(bytes)) {
    if (field.number !== 1 || field.kind !== "bytes") continue;
    let key = "";
    let value: PlainValue = null;
    for (const part of readFields(field.bytes)) {
      if (part.kind !== "bytes") continue;
      if (part.number === 1) key = shownText(part.bytes);
      if (part.number === 2) value = valueAt(part.bytes, depth + 1);
    }
    entries.set(key, value);
  }
  return Object.fromEntries(entries);
}

function valueAt(bytes: Buffer, depth: number): PlainValue {
  checkDepth(depth);
  let value: PlainValue = null;
  for (const field of readFields(bytes)) {
    if (field.kind === "fixed64" && field.number === 2) value = field.bytes.readDoubleLE();
    else if (field.kind === "varint" && field.number === 4) value = field.value !== 0;
    else if (field.kind !== "bytes") continue;
    else if (field.number === 3) value = shownText(field.bytes);
    else if (field.number === 5) value = structAt(field.bytes, depth + 1);
    else if (field.number === 6) value = listAt(field.bytes, depth + 1);
  }
  return value;
}

function listAt(bytes: Buffer, depth: number): PlainValue[] {
  checkDepth(depth);
  const values: PlainValue[] = [];
  for (const field of readFields(bytes)) {
    if (field.kind === "bytes" && field.number === 1) values.push(valueAt(field.bytes, depth + 1));
  }
  return values;
}

function shownText(bytes: Buffer): string {
  return foreignText(readString(bytes), bytes.length);
}
