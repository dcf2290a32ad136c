/** Deliberate defects in how proxies leave the ledger, and in how those are met that come back all the same (E13). */

import type { Sabotage } from "./sabotages.ts";

const QUERIES = "src/core/evidence/ledger-queries.ts";
const RETIREMENT = "src/core/evidence/retirement.ts";
const STRANGERS = "src/core/evidence/strangers.ts";

export const SABOTAGES_OF_ABSENCE: readonly Sabotage[] = [
  {
    name: "a proxy retires once its leaf has expired",
    rule: "E13",
    file: RETIREMENT,
    from: "Math.max(row.credentialsUntil ?? row.lastContactAt + credentialMs, row.stranger?.leafUntil ?? 0)",
    to: "Math.max(0 * credentialMs, row.stranger?.leafUntil ?? 0)",
    also: [
      {
        file: RETIREMENT,
        from: "if (isLeaf(content)) until =",
        to: 'if (content.kind === "leaf") until =',
      },
    ],
  },
  {
    name: "whoever is away retires",
    rule: "E13",
    file: RETIREMENT,
    from: "!counts(row, then, policy) && validUntil(row, credentialMs) <= then",
    to: "counts(row, then, policy) !== undefined && validUntil(row, 0 * credentialMs) !== then",
  },
  {
    name: "a process without a row gets its leaf first",
    rule: "E10",
    file: QUERIES,
    from: '  if (row.stranger !== undefined) return false;\n  const asked = askedNames(row, "envoy");\n',
    to: '  const asked = askedNames(row, "envoy");\n',
  },
  {
    name: "a process without a row is taken for a new one",
    rule: "E13",
    file: STRANGERS,
    from: "held.filter((one) => !isKnown(one) || (isStrange && !hasSlot(one)));",
    to: "held.filter((one) => !isKnown(one) && !hasSlot(one) && at < 0);",
    also: [{ file: STRANGERS, from: '"envoy" || !isStrange', to: '"envoy" || isStrange || !isStrange' }],
  },
  {
    name: "of a process without a row only what it has come to ask for counts",
    rule: "E13",
    file: STRANGERS,
    from: "if (now >= row.session.presentSince + RESUBSCRIBED_AFTER_MS) row.stranger",
    to: "if (now >= row.session.presentSince + 0 * RESUBSCRIBED_AFTER_MS) row.stranger",
  },
  {
    name: "a bundle that nobody knows holds every root",
    rule: "E13",
    file: QUERIES,
    from: "return !isLeaf(content) && content.roots.includes(root);",
    to: "return isUnknown(content) || (!isLeaf(content) && content.roots.includes(root));",
    also: [
      {
        file: QUERIES,
        from: "  if (row.stranger !== undefined) return false;\n  return meshSlots",
        to: "  return meshSlots",
      },
    ],
    caughtBy: "test/core/evidence/retirement.test.ts",
  },
  {
    name: "a leaf that nobody knows is under no root",
    rule: "E13",
    file: "src/core/evidence/content.ts",
    from: "return leaf.root === root || isUnknown(leaf);",
    to: "return leaf.root === root;",
    also: [
      {
        file: QUERIES,
        from: "  if (row.stranger !== undefined && row.stranger.leafUntil > now) return true;\n",
        to: "",
      },
    ],
    caughtBy: "test/core/evidence/retirement.test.ts",
  },
  {
    name: "a process that would come back unrecognised retires",
    rule: "E13",
    file: "src/core/evidence/retirement.ts",
    from: "  if (forgotten !== undefined || showsLeaf) return true;\n",
    to: "  if (forgotten !== undefined || showsLeaf || slots.size > 0) return true;\n",
    caughtBy: "test/core/evidence/retirement.test.ts",
  },
];
