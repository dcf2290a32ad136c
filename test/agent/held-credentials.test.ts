import assert from "node:assert/strict";
import { test } from "node:test";
import { inUniqueBytes } from "../../src/agent/held-credentials.ts";

const PEM = "-----BEGIN CERTIFICATE-----\nMII=\n-----END CERTIFICATE-----\n";

function oneComment(text: string): void {
  const [comment, ...rest] = text.split("\n");
  assert.match(comment ?? "", /^meshroot [0-9a-f]{16}$/);
  assert.equal(rest.join("\n"), PEM);
}

test("E2: PEM without a comment line of ours gets one", () => {
  oneComment(inUniqueBytes(PEM));
});

test("E2: PEM that is put back again and again has one comment line, each time another", () => {
  const once = inUniqueBytes(PEM);
  const twice = inUniqueBytes(once);
  assert.notEqual(once, twice);
  oneComment(twice);
});
