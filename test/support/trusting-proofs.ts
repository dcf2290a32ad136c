/** For tests whose certificate authorities are made up: every root carries every name, for as long as it likes. */

import { RootProofs } from "../../src/controller/root-proofs.ts";
import type { Problem } from "../../src/core/errors.ts";
import type { NamedRoot } from "../../src/ports/provider.ts";

type Apart = (root: NamedRoot, other: NamedRoot) => Problem | undefined;

export function trustingProofs(apart: Apart = () => undefined): RootProofs {
  return new RootProofs({
    prover: {
      prove: async () => ({ carried: [], any: true, complete: true }),
      apart: async (root, other) => apart(root, other),
    },
    neededLifeMs: 0,
  });
}
