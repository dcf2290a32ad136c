/** Roots for tests: `root("a", "active")` and the seed's manifests. */

import type { MeshRoot, Role } from "../../src/core/roots/mesh-root.ts";

export function root(name: string, role: Role, more: Partial<MeshRoot> = {}): MeshRoot {
  return {
    name,
    namespace: "osm-system",
    role,
    trustDomain: "cluster.local",
    spiffeEnabled: false,
    provider: { kind: "tresor", secretRef: { name: `${name}-ca`, namespace: "osm-system" } },
    createdAt: Date.parse("2026-01-01T00:00:00Z"),
    ...more,
  };
}

/** A Tresor manifest with the comment and the odd spacing that people leave in their files. */
export function manifest(name: string, role: Role, more = ""): string {
  return `# The root called ${name}
apiVersion: config.openservicemesh.io/v1alpha2
kind: MeshRootCertificate
metadata:
  name: ${name}
  namespace: osm-system   # where meshroot looks
spec:
  role:   ${role}  # changed by the rotation
  provider:
    tresor: { ca: { secretRef: { name: ${name}-ca, namespace: "osm-system" } } }

  spiffeEnabled: false
  trustDomain: cluster.local
${more}`;
}
