/** Defects at the seams: what providers and stores may do, and what is made of it. Each names its test file. */

import type { Sabotage } from "./sabotages.ts";

const KEEPER = "test/controller/authority-keeper.test.ts";
const CALLS = "test/controller/provider-calls.test.ts";
const HANGING = "test/serve/hanging-provider.test.ts";

export const SABOTAGES_OF_SEAMS: readonly (Sabotage & { readonly caughtBy: string })[] = [
  {
    name: "a root that has changed underneath signs on",
    rule: "changed underneath",
    file: "src/controller/kept-authority.ts",
    from: "if (first !== undefined && !before.some(({ fingerprint }) => fingerprint === shown.fingerprint))",
    to: "if (first !== undefined && before.length > 9)",
    caughtBy: KEEPER,
  },
  {
    name: "a root that came back under its name is taken for one that changed",
    rule: "changed underneath",
    file: "src/controller/kept-authority.ts",
    from: "!before.some(({ fingerprint }) => fingerprint === shown.fingerprint)",
    to: "first.fingerprint !== shown.fingerprint",
    caughtBy: KEEPER,
  },
  {
    name: "a look at an inactive root counts as its proof",
    rule: "proof",
    file: "src/controller/kept-authority.ts",
    from: "this.#triedFor = wasInUse && isInUse(this.root) ? around.names : undefined;",
    to: "this.#triedFor = around.names;",
    caughtBy: KEEPER,
  },
  {
    name: "a root that once was kept is kept, whatever the proof says",
    rule: "proof",
    file: "src/controller/kept-authority.ts",
    from: "if (refusal === undefined) return",
    to: 'if (refusal === undefined || this.state.kind === "kept") return',
    caughtBy: KEEPER,
  },
  {
    name: "a root that has left the bundle comes back on its record",
    rule: "proof",
    file: "src/controller/availability.ts",
    from: "trust.mesh.map((id) => rootOf(trust, id))",
    to: "Object.values(trust.roots)",
    caughtBy: KEEPER,
  },
  {
    name: "what a CA could not be asked counts as carried",
    rule: "proof",
    file: "src/controller/known-roots.ts",
    from: "(this.#authorities.snapshot.carries(root.name)",
    to: "(this.#authorities.snapshot.isTried(root.name)",
    caughtBy: KEEPER,
  },
  {
    name: "a CA that the mesh has run on is made anew",
    rule: "never made anew",
    file: "src/controller/kept-authority.ts",
    from: "if (!wasUsed && custody !== undefined)",
    to: "if (custody !== undefined)",
    caughtBy: KEEPER,
  },
  {
    name: "one miss is an ailment",
    rule: "health",
    file: "src/controller/kept-authority.ts",
    from: "this.#failures < 2 ? this.state",
    to: "this.#failures < 1 ? this.state",
    caughtBy: KEEPER,
  },
  {
    name: "who answers first counts, of two that can't be told apart",
    rule: "A3",
    file: "src/controller/kept-authority.ts",
    from: "    await earlier;\n",
    to: "",
    caughtBy: KEEPER,
  },
  {
    name: "a call to a CA has all the time",
    rule: "D12",
    file: "src/controller/provider-calls.ts",
    from: "        this.#failed(late);\n        reject(late);\n",
    to: "        this.#failed(late);\n",
    caughtBy: CALLS,
  },
  {
    name: "a failing CA has no peace",
    rule: "breaker",
    file: "src/controller/provider-calls.ts",
    from: "    if (this.#failures < BREAKS_AFTER) return;\n",
    to: "    if (this.#failures < 9_999) return;\n",
    caughtBy: CALLS,
  },
  {
    name: "a plan waits for a CA as long as that takes",
    rule: "D12",
    file: "src/controller/authority-snapshot.ts",
    from: "return isFresh && isInUse(root) && !isKnown;",
    to: "return isInUse(root) && !isKnown;",
    caughtBy: HANGING,
  },
  {
    name: "the signer moves to a CA that ails",
    rule: "health",
    file: "src/controller/known-roots.ts",
    from: "(root.id === trust.signer || this.#authorities.snapshot.ailment(root.id) === undefined)",
    to: "true",
    caughtBy: HANGING,
  },
  {
    name: "a proxy whose leaf could not be made is tried again and again at once",
    rule: "throttle",
    file: "src/core/back-off.ts",
    from: "return Math.max(baseMs / 10, Math.floor(ceilingMs * random));",
    to: "return 0;",
    caughtBy: CALLS,
  },
];
