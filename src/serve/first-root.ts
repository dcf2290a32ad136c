/** The first start of a mesh: its first MeshRootCertificate, as OSM's installer made it. */

import type { Config } from "../config.ts";
import type { RootListing } from "../core/roots/mesh-root.ts";
import type { Clock } from "../ports/clock.ts";
import type { Log } from "../ports/log.ts";
import type { Store } from "../ports/store.ts";

/** Names that OSM v1.3 gave them. */
const FIRST_ROOT = "osm-mesh-root-certificate";
const FIRST_SECRET = "osm-ca-bundle";

/** Writes it if there is no MRC at all and there never was one: an emptied folder is a mistake, not a first start. */
export async function firstRoot(store: Store, config: Config, clock: Clock, log: Log): Promise<void> {
  if (!isEmpty(await store.roots.list()) || (await store.trust.read()) !== undefined) return;
  const { namespace, trustDomain, enableSpiffe: spiffeEnabled } = config;
  const provider = { kind: "tresor", secretRef: { name: FIRST_SECRET, namespace } } as const;
  const root = { name: FIRST_ROOT, namespace, trustDomain, spiffeEnabled, provider, createdAt: clock.now() };
  await store.rootEditing.edit(async (roots) => {
    if (!isEmpty(await roots.list())) return;
    await roots.create({ ...root, role: "active" });
    log.debug({ component: "serve", root: FIRST_ROOT }, "first start: the first MeshRootCertificate was written");
  });
}

/** What can't be read may be a root. */
function isEmpty({ roots, problems }: RootListing): boolean {
  return roots.length === 0 && problems.length === 0;
}
