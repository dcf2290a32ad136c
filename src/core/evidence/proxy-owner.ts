/** A proxy's uuid belongs to one identity: its leaf and key must never be had under another's. */

import type { Problem } from "../errors.ts";
import { identityName, isUuid, type ServiceIdentity } from "../identity.ts";
import type { Ledger } from "./ledger-state.ts";

/** MR4010: `uuid` is of another identity than `wanted`, as the ledger knows, or `others` does. */
export function ownerProblem(
  ledger: Ledger,
  uuid: string,
  wanted: ServiceIdentity,
  others?: ReadonlyMap<string, string>,
): Problem | undefined {
  const row = ledger.proxies.get(uuid);
  const owner = row === undefined ? others?.get(uuid) : identityName(row.identity);
  if (owner === undefined || owner === identityName(wanted)) return undefined;
  return {
    code: "MR4010",
    message: `proxy ${uuid} is ${owner}, and can't be ${identityName(wanted)}`,
    hint: "Each proxy has a uuid of its own: leave it away, and `meshroot proxy bootstrap` makes one.",
  };
}

/** MR5002: what was given as a uuid is none. */
export function uuidProblem(uuid: string): Problem | undefined {
  if (isUuid(uuid)) return undefined;
  return {
    code: "MR5002",
    message: "uuid is not a uuid",
    hint: "Give 32 hexadecimal digits in lower case, as in 00000000-0000-4000-8000-000000000000, or none: then one is made.",
  };
}
