/** What Envoys count when certificates or trust are the trouble, which no load brings about. */

import type { EnvoyAdmin } from "../../envoy/admin.ts";
import { XDS_CLUSTER } from "../../envoy/secret-sources.ts";

/** Certificates that did not verify, and connections for which a secret was missing (Envoy docs: TLS and listener statistics). */
const STATS = "fail_verify_(no_cert|error|san|cert_hash)$|context_secrets_not_ready$";

/** All since the Envoys started, between proxies. Undefined when one of them can't be asked. */
export async function countRefusals(admins: readonly Pick<EnvoyAdmin, "stats">[]): Promise<number | undefined> {
  try {
    const stats = await Promise.all(admins.map((admin) => admin.stats(STATS)));
    return stats
      .flatMap((found) => [...found])
      .filter(([name]) => !name.startsWith(`cluster.${XDS_CLUSTER}.`))
      .reduce((sum, [, value]) => sum + Number(value), 0);
  } catch {
    return undefined;
  }
}
