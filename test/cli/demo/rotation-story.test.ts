import assert from "node:assert/strict";
import { test } from "node:test";
import { IN_PART, loadedNames } from "../../../src/cli/demo/rotation-story.ts";
import type { LoadedContext } from "../../../src/envoy/admin.ts";

function context(...serials: string[]): LoadedContext {
  const rest = { dnsNames: [], uris: [], notBefore: 0, notAfter: 0, path: "<inline>" };
  return { trusted: serials.map((serial) => ({ serial, ...rest })), chain: [] };
}

test("a root counts as loaded only when every context of an Envoy has it", () => {
  const nameOf = new Map([
    ["1", "old"],
    ["2", "new"],
  ]);
  const names = (...contexts: LoadedContext[]) => loadedNames(contexts, nameOf);
  assert.deepEqual(names(context("1", "2"), context("2", "1")), ["new", "old"]);
  assert.deepEqual(names(context("1", "2"), context("1")), [`new${IN_PART}`, "old"]);
  assert.deepEqual(names(context("2"), context("1")), [`new${IN_PART}`, `old${IN_PART}`]);
  assert.deepEqual(names(context("1"), context()), [`old${IN_PART}`]);
  assert.deepEqual(names(context("1", "fedcba9876")), ["old", "unknown fedcba98"]);
  assert.deepEqual(names(), []);
});
