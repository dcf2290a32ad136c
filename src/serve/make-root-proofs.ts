/** The proof of roots as this server needs it: its own names, and the lives of what it issues. */

import type { Config } from "../config.ts";
import { RootProofs } from "../controller/root-proofs.ts";
import { neededRootLife } from "../core/roots/root-life.ts";
import { createRootProver } from "../pki/prove-root.ts";
import { XDS_SERVER_NAMES } from "./certificate-maker.ts";

export function rootProofs(config: Pick<Config, "leafValidityMs" | "xdsCertValidityMs">): RootProofs {
  // TLS looks at this machine's clock, whatever ours says.
  const prover = createRootProver({ serverNames: XDS_SERVER_NAMES, now: Date.now });
  return new RootProofs({ prover, neededLifeMs: neededRootLife(config) });
}
