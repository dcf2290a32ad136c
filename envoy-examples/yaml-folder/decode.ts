/** JSON to a message, with errors that say where: `endpoints[0].lb_endpoints[1]: … key "endpoin" is unknown`. */

import { type DescMessage, fromJson, type JsonValue, type Message, type Registry } from "@bufbuild/protobuf";
import { isObject } from "./references.ts";

/** Throws Error. Its message quotes no value of `json`, which may be a private key. */
export function decode(schema: DescMessage, json: JsonValue, registry: Registry): Message {
  try {
    return fromJson(schema, json, { registry });
  } catch (error) {
    const path = faultyPath(schema, json, registry).join("");
    const message = (error as Error).message.replace(
      / from JSON: (?!key "[^"]*" is unknown|\S+ is not in the type).*$/s,
      "",
    );
    throw new Error(path === "" ? message : `${path.slice(1)}: ${message}`);
  }
}

/** Steps to the innermost field that can't be decoded. */
function faultyPath(schema: DescMessage, json: JsonValue | undefined, registry: Registry): string[] {
  if (!isObject(json)) return [];
  if (schema.typeName === "google.protobuf.Any") {
    const { "@type": url, ...rest } = json;
    const inner = registry.getMessage(String(url).replace(/^.*\//, ""));
    return inner === undefined ? [] : faultyPath(inner, rest, registry);
  }
  const fails = (key: string, value: JsonValue): boolean => {
    try {
      fromJson(schema, { [key]: value }, { registry });
      return false;
    } catch {
      return true;
    }
  };
  const [key, value] = Object.entries(json).find(([name, one]) => fails(name, one)) ?? [];
  const field = schema.fields.find(({ name, jsonName }) => name === key || jsonName === key);
  if (key === undefined || field === undefined) return [];
  const within = (one: JsonValue | undefined) =>
    field.message === undefined ? [] : faultyPath(field.message, one, registry);
  if (Array.isArray(value)) {
    const index = value.findIndex((one) => fails(key, [one]));
    return [`.${key}`, ...(index < 0 ? [] : [`[${index}]`, ...within(value[index])])];
  }
  if (field.fieldKind === "map" && isObject(value)) {
    const [name, one] = Object.entries(value).find(([each, of]) => fails(key, { [each]: of })) ?? [];
    return [`.${key}`, ...(name === undefined ? [] : [`[${JSON.stringify(name)}]`, ...within(one)])];
  }
  return [`.${key}`, ...within(value)];
}
