/** envoy.type.matcher.v3.NodeMatcher: which clients a CSDS request asks about. */

import { RE2JS } from "re2js";
import { MeshrootError } from "../core/errors.ts";
import type { NodeMatcher, StringMatcher, StructMatcher, ValueMatcher } from "./client-status-messages.ts";

/** Plain JSON: google.protobuf.Struct as its JSON form is. */
export type Json = null | boolean | number | string | readonly Json[] | { readonly [key: string]: Json };

type Node = { readonly id: string; readonly metadata: { readonly [key: string]: Json } };

/**
 * True for a node that one of the matchers takes, and where there is none. One matcher takes a node whose id and whose every
 * metadata matcher agree. Throws MR4004 on a matcher that can't be understood, whatever the nodes are.
 */
export function nodeMatcher(matchers: readonly NodeMatcher[]): (node: Node) => boolean {
  if (matchers.length === 0) return () => true;
  const compiled = matchers.map(({ node_id, node_metadatas }) => {
    const id = node_id === null ? () => true : stringMatcher(node_id);
    const metadata = node_metadatas.map(structMatcher);
    return (node: Node) => id(node.id) && metadata.every((matches) => matches(node.metadata));
  });
  return (node) => compiled.some((matches) => matches(node));
}

function structMatcher({ path, value }: StructMatcher): (metadata: Json) => boolean {
  if (path.length === 0 || value === null) throw unusable("a metadata matcher needs a path and a value");
  const matches = valueMatcher(value);
  return (metadata) => {
    let found: Json | undefined = metadata;
    for (const { key = "" } of path) found = fieldOf(found, key);
    return matches(found);
  };
}

function fieldOf(value: Json | undefined, key: string): Json | undefined {
  if (typeof value !== "object" || value === null || Array.isArray(value)) return undefined;
  return Object.hasOwn(value, key) ? (value as { readonly [key: string]: Json })[key] : undefined;
}

function valueMatcher(matcher: ValueMatcher): (value: Json | undefined) => boolean {
  switch (matcher.match_pattern) {
    case "null_match":
      return (value) => value === null;
    case "double_match": {
      const number = matcher.double_match;
      if (number.match_pattern === "exact") return (value) => value === number.exact;
      if (number.match_pattern !== "range") throw unusable("double_match needs exact or range");
      const { start, end } = number.range;
      return (value) => typeof value === "number" && value >= start && value < end;
    }
    case "string_match": {
      const matches = stringMatcher(matcher.string_match);
      return (value) => typeof value === "string" && matches(value);
    }
    case "bool_match":
      return (value) => value === matcher.bool_match;
    case "present_match":
      return (value) => (value !== undefined) === matcher.present_match;
    case "list_match": {
      if (matcher.list_match.match_pattern !== "one_of") throw unusable("list_match needs one_of");
      const matches = valueMatcher(matcher.list_match.one_of);
      return (value) => Array.isArray(value) && value.some(matches);
    }
    case "or_match": {
      const either = matcher.or_match.value_matchers.map(valueMatcher);
      return (value) => either.some((matches) => matches(value));
    }
    default:
      throw unusable("a metadata value matcher says nothing");
  }
}

function stringMatcher(matcher: StringMatcher): (text: string) => boolean {
  const fold = matcher.ignore_case ? (text: string) => text.toLowerCase() : (text: string) => text;
  switch (matcher.match_pattern) {
    case "exact":
      return (text) => fold(text) === fold(matcher.exact);
    case "prefix":
      return (text) => fold(text).startsWith(fold(matcher.prefix));
    case "suffix":
      return (text) => fold(text).endsWith(fold(matcher.suffix));
    case "contains":
      return (text) => fold(text).includes(fold(matcher.contains));
    case "safe_regex": {
      const expression = regex(matcher.safe_regex.regex);
      return (text) => expression.testExact(text);
    }
    default:
      throw unusable("a string matcher says nothing");
  }
}

/**
 * RE2, as Envoy has it: it has to match the whole text; `ignore_case` is not for it. Not a RegExp, which some expressions keep
 * busy for years, and everybody else with it.
 */
function regex(source: string): RE2JS {
  try {
    return RE2JS.compile(source);
  } catch (error) {
    throw unusable(`safe_regex ${JSON.stringify(source)}: ${(error as Error).message}`);
  }
}

function unusable(what: string): MeshrootError {
  return new MeshrootError(
    "MR4004",
    `the node matcher can't be used: ${what}`,
    "See envoy.type.matcher.v3.NodeMatcher; without node_matchers every client is listed.",
  );
}
