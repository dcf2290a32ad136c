import assert from "node:assert/strict";
import { test } from "node:test";
import type { Role } from "../../../src/core/roots/mesh-root.ts";
import { stepOf } from "../../../src/core/rotation/rotation-steps.ts";
import { root } from "../../support/roots.ts";

test("names the row of the step table, the older root being the old one", () => {
  const rows: [Role | undefined, Role | undefined, number | undefined, string, string][] = [
    ["active", undefined, 1, "old", "old"],
    ["active", "passive", 2, "old", "old new"],
    ["active", "active", 3, "old new", "old new"],
    ["passive", "active", 4, "new", "old new"],
    ["inactive", "active", 5, "new", "new"],
    [undefined, "active", 1, "new", "new"],
    [undefined, undefined, undefined, "", ""],
    ["passive", "passive", undefined, "", "old new"],
  ];
  for (const [older, newer, step, signs, validates] of rows) {
    const roots = [
      ...(newer === undefined ? [] : [root("new", newer, { createdAt: 2 })]),
      ...(older === undefined ? [] : [root("old", older, { createdAt: 1 })]),
    ];
    const row = stepOf(roots);
    assert.deepEqual([row.step, row.signs.join(" "), row.validates.join(" ")], [step, signs, validates]);
  }
});

test("leaves roots aside that were retired long ago or are not in use yet", () => {
  const roots = [
    root("first", "inactive", { createdAt: 1 }),
    root("second", "active", { createdAt: 2 }),
    root("third", "passive", { createdAt: 3 }),
    root("fourth", "inactive", { createdAt: 4 }),
  ];
  assert.deepEqual(stepOf(roots).old, { name: "second", role: "active" });
  assert.equal(stepOf(roots).step, 2);
  assert.equal(stepOf([root("a", "active", { createdAt: 1 }), root("b", "inactive", { createdAt: 2 })]).step, 1);
});
