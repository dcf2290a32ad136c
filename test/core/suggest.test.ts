import assert from "node:assert/strict";
import { test } from "node:test";
import { closest } from "../../src/core/suggest.ts";

test("proposes the word that was meant, and nothing far-fetched", () => {
  const words = ["issuerName", "issuerKind", "issuerGroup"];
  assert.equal(closest("IssuerName", words), "issuerName");
  assert.equal(closest("issuer-kind", words), "issuerKind");
  assert.equal(closest("isuserGroup", words), "issuerGroup");
  assert.equal(closest("banana", words), undefined);
  assert.equal(closest("rol", ["role", "provider"]), "role");
  assert.equal(closest("", ["role"]), undefined);
});
