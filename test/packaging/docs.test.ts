/** Documents that list what the code knows are complete. */

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { test } from "node:test";

const read = (path: string) => readFile(new URL(`../../${path}`, import.meta.url), "utf8");

test("docs/waiting.md has every reason of a hold", async () => {
  const [source, document] = await Promise.all([read("src/core/rotation/holds.ts"), read("docs/waiting.md")]);
  const union = /export type HoldReason =([^;]+);/.exec(source)?.[1] ?? "";
  const reasons = [...union.matchAll(/"(\w+)"/g)].map(([, reason = ""]) => reason);
  assert.ok(reasons.length >= 11);
  for (const reason of reasons) assert.match(document, new RegExp(`^\\| .*\`${reason}\`.* \\|`, "m"), reason);
});
