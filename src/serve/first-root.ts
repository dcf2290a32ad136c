/** The first start of a mesh: its first MeshRootCertificate, as OSM's installer made it. */

import type { Config } from "../config.ts";
import type { Clock } from "../ports/clock.ts";
import type { Log } from "../ports/log.ts";
import type { StateStore } from "../ports/store.ts";
import type { RootFiles } from "../stores/files/root-files.ts";

/** Names that OSM gave them (osm-compatibility.md). */
const FIRST_ROOT = "osm-mesh-root-certificate";
const FIRST_SECRET = "osm-ca-bundle";

/** Writes it if there is no MRC at all and there never was one: an emptied folder is a mistake, not a first start. */
export async function firstRoot(
  files: RootFiles,
  state: StateStore,
  config: Config,
  clock: Clock,
  log: Log,
): Promise<void> {
  const { roots, problems } = await files.list();
  if (roots.length > 0 || problems.length > 0 || (await state.loadTrust()) !== undefined) return;
  const { namespace, trustDomain, enableSpiffe: spiffeEnabled } = config;
  const provider = { kind: "tresor", secretRef: { name: FIRST_SECRET, namespace } } as const;
  await files.create({
    name: FIRST_ROOT,
    namespace,
    role: "active",
    trustDomain,
    spiffeEnabled,
    provider,
    createdAt: clock.now(),
  });
  log.debug({ component: "serve", root: FIRST_ROOT }, "first start: the first MeshRootCertificate was written");
}
