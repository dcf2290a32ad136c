/** envoy.type.matcher.v3 as CSDS uses it. */

import assert from "node:assert/strict";
import { test } from "node:test";
import type { NodeMatcher, StringMatcher, ValueMatcher } from "../../src/ops/client-status-messages.ts";
import { type Json, nodeMatcher } from "../../src/ops/node-matcher.ts";

const plain = { ignore_case: false };

function id(node_id: StringMatcher): NodeMatcher {
  return { node_id, node_metadatas: [] };
}

function value(matcher: ValueMatcher): (found: Json) => boolean {
  const matches = nodeMatcher([
    { node_id: null, node_metadatas: [{ path: [{ key: "a" }, { key: "b" }], value: matcher }] },
  ]);
  return (found) => matches({ id: "x", metadata: { a: { b: found } } });
}

test("strings: exact, prefix, suffix, contains, with and without case; a regex matches the whole", () => {
  const matches = (matcher: StringMatcher, text: string) => nodeMatcher([id(matcher)])({ id: text, metadata: {} });
  for (const [matcher, yes, no] of [
    [{ match_pattern: "exact", exact: "cart-1" }, "cart-1", "cart-10"],
    [{ match_pattern: "prefix", prefix: "cart" }, "cart-1", "a-cart"],
    [{ match_pattern: "suffix", suffix: "-1" }, "cart-1", "cart-1a"],
    [{ match_pattern: "contains", contains: "art" }, "cart-1", "Art"],
    [{ match_pattern: "safe_regex", safe_regex: { regex: "cart-\\d|till" } }, "cart-1", "cart-12"],
  ] as const) {
    assert.ok(matches({ ...plain, ...matcher }, yes), JSON.stringify(matcher));
    assert.ok(!matches({ ...plain, ...matcher }, no), JSON.stringify(matcher));
  }
  // RegExp would need 2^40 steps.
  const slow = { match_pattern: "safe_regex", safe_regex: { regex: "(.+)+x" } } as const;
  assert.ok(!matches({ ...plain, ...slow }, "a".repeat(40)));
  assert.ok(matches({ ignore_case: true, match_pattern: "contains", contains: "ART" }, "cart"));
  assert.ok(!matches({ ignore_case: false, match_pattern: "contains", contains: "ART" }, "cart"));
});

test("values: null, numbers, truth, presence, lists and alternatives", () => {
  const number = (
    double_match:
      | { match_pattern: "exact"; exact: number }
      | { match_pattern: "range"; range: { start: number; end: number } },
  ): ValueMatcher => ({
    match_pattern: "double_match",
    double_match,
  });
  const range = value(number({ match_pattern: "range", range: { start: 1, end: 3 } }));
  assert.deepEqual([0.9, 1, 2.9, 3, "2"].map(range), [false, true, true, false, false], "start counts, end does not");
  assert.deepEqual([1, 2].map(value(number({ match_pattern: "exact", exact: 1 }))), [true, false]);
  assert.deepEqual([null, 0].map(value({ match_pattern: "null_match" })), [true, false]);
  assert.deepEqual([true, false, "true"].map(value({ match_pattern: "bool_match", bool_match: true })), [
    true,
    false,
    false,
  ]);
  assert.ok(value({ match_pattern: "present_match", present_match: true })(null), "null is there");
  const one = number({ match_pattern: "exact", exact: 1 });
  const two = number({ match_pattern: "exact", exact: 2 });
  const either = value({ match_pattern: "or_match", or_match: { value_matchers: [one, two] } });
  assert.deepEqual([1, 2, 3].map(either), [true, true, false]);
  const someOne = value({ match_pattern: "list_match", list_match: { match_pattern: "one_of", one_of: one } });
  assert.deepEqual([[3, 1], [3], 1].map(someOne), [true, false, false]);
});

test("a path ends in nothing where a part of it is missing, an own property of no object, or within a list", () => {
  const inherited: NodeMatcher = {
    node_id: null,
    node_metadatas: [{ path: [{ key: "toString" }], value: { match_pattern: "present_match", present_match: true } }],
  };
  assert.ok(!nodeMatcher([inherited])({ id: "x", metadata: {} }));
  const deep = value({ match_pattern: "present_match", present_match: true });
  assert.ok(deep(0));
  assert.ok(
    !nodeMatcher([
      {
        node_id: null,
        node_metadatas: [
          { path: [{ key: "a" }, { key: "0" }], value: { match_pattern: "present_match", present_match: true } },
        ],
      },
    ])({ id: "x", metadata: { a: ["b"] } }),
  );
});

test("no matcher takes everybody; one that says nothing is MR4004, whatever nodes there are", () => {
  assert.ok(nodeMatcher([])({ id: "", metadata: {} }));
  assert.ok(nodeMatcher([{ node_id: null, node_metadatas: [] }])({ id: "", metadata: {} }));
  for (const matcher of [
    id({ ignore_case: false }),
    id({ ...plain, match_pattern: "safe_regex", safe_regex: { regex: "(" } }),
    { node_id: null, node_metadatas: [{ path: [], value: { match_pattern: "null_match" } }] },
    { node_id: null, node_metadatas: [{ path: [{ key: "a" }], value: null }] },
    { node_id: null, node_metadatas: [{ path: [{ key: "a" }], value: {} }] },
  ] satisfies NodeMatcher[])
    assert.throws(() => nodeMatcher([matcher]), { code: "MR4004" });
});
