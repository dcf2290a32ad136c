/** The contract on CAs that are somebody else's, as Vault's and cert-manager's are. */

import { settableClock } from "../support/pki.ts";
import { root as meshRoot } from "../support/roots.ts";
import { ScriptedCa, scriptedProvider, scriptedSpec } from "../support/scripted-provider.ts";
import { providerContract } from "./contract.ts";

providerContract("scripted", async () => {
  const clock = settableClock();
  const cas = new Map([
    ["first", await ScriptedCa.create(clock)],
    ["second", await ScriptedCa.create(clock, "rsa-2048")],
  ]);
  return {
    provider: scriptedProvider(cas),
    replica: scriptedProvider(cas),
    clock,
    root: meshRoot("first", "active", { provider: scriptedSpec("first") }),
    otherRoot: meshRoot("second", "passive", { provider: scriptedSpec("second") }),
  };
});
