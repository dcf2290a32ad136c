/** The second half of a rotation as an operator sees it, and an operator's words, on the server under test. */

import { requestOperation } from "../../src/access/admin-client.ts";
import type { OperatorAction } from "../../src/controller/operator.ts";
import type { Hold } from "../../src/core/rotation/holds.ts";
import { FIRST, type TestServer, until } from "./server.ts";

export const NEXT = "next";

/** Steps 2 to 4: the roles ask for `next` as the signer. Nothing is waited for but that it was read. */
export async function askForNext(server: TestServer, more: { readonly trustDomain?: string } = {}): Promise<void> {
  await server.createRoot(NEXT, more);
  await until("next is trusted", () => server.running.status().trusted.includes(NEXT));
  await server.setRole(NEXT, "active");
  await server.setRole(FIRST, "passive");
  await until("step 4 is read", () =>
    server.running.status().roots.some(({ name, role }) => name === FIRST && role === "passive"),
  );
}

/** The hold with this reason, at the signer's gate unless said otherwise; waits for it. */
export async function holdOf(server: TestServer, reason: Hold["reason"], gate: Hold["gate"] = "signer"): Promise<Hold> {
  const find = () => server.running.status().holds.find((hold) => hold.reason === reason && hold.gate === gate);
  await until(`a hold ${reason}: ${JSON.stringify(server.running.status().holds)}`, () => find() !== undefined);
  return find() as Hold;
}

export async function signerMoves(server: TestServer): Promise<void> {
  await until(
    `the signer moves: ${JSON.stringify(server.running.status().holds)}`,
    () => server.running.status().signer === NEXT,
  );
}

/** Rejects with what the server answers. */
export async function say(server: TestServer, action: OperatorAction, name: string): Promise<void> {
  await requestOperation(server.config.dataDir, { action, name, reason: "test" });
}
