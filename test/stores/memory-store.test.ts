/** The stores of the model mesh and of the tests keep what the real ones keep. */

import { memorySecretStore } from "../support/memory-secret-store.ts";
import { MemoryState } from "../support/model/memory-state.ts";
import { secretContract, stateContract } from "./contract.ts";

stateContract("in memory", async () => {
  const memory = new MemoryState();
  return { state: memory.open(), replica: memory.open(), failTrust: (how) => memory.fail(how) };
});

secretContract("in memory", async () => {
  const secrets = memorySecretStore();
  return { secrets, replica: secrets };
});
