/** The other direction of mesh-root-parse.ts: a root as the manifest that OSM and kubectl know. */

import {
  ACCEPT_SHORT_LIFE_ANNOTATION,
  FORCE_UNSAFE_ANNOTATION,
  MESH_ROOT_API_VERSION,
  MESH_ROOT_KIND,
  type MeshRoot,
  type ProviderSpec,
} from "./mesh-root.ts";

export type MeshRootManifest = {
  readonly apiVersion: typeof MESH_ROOT_API_VERSION;
  readonly kind: typeof MESH_ROOT_KIND;
  readonly metadata: {
    readonly annotations?: Readonly<Record<string, string>>;
    readonly creationTimestamp: string;
    readonly name: string;
    readonly namespace: string;
  };
  readonly spec: Readonly<Record<string, unknown>>;
};

/** The manifest of a root; `parseMeshRoot` reads it back. */
export function meshRootManifest(root: MeshRoot): MeshRootManifest {
  return {
    apiVersion: MESH_ROOT_API_VERSION,
    kind: MESH_ROOT_KIND,
    metadata: {
      ...annotationsOf(root),
      creationTimestamp: creationTimestamp(root.createdAt),
      name: root.name,
      namespace: root.namespace,
    },
    spec: {
      role: root.role,
      provider: providerManifest(root.provider),
      spiffeEnabled: root.spiffeEnabled,
      trustDomain: root.trustDomain,
    },
  };
}

function annotationsOf({ forceUnsafe, acceptShortLife }: MeshRoot): { annotations?: Record<string, string> } {
  const annotations = {
    ...(forceUnsafe === undefined ? {} : { [FORCE_UNSAFE_ANNOTATION]: forceUnsafe }),
    ...(acceptShortLife === undefined ? {} : { [ACCEPT_SHORT_LIFE_ANNOTATION]: acceptShortLife }),
  };
  return Object.keys(annotations).length === 0 ? {} : { annotations };
}

/**
 * RFC 3339 in UTC, `ms` since the epoch. Kubernetes writes no fractions but reads them; without them, which of two roots
 * made within a second is the older one would be left to their names.
 */
export function creationTimestamp(ms: number): string {
  return new Date(ms).toISOString().replace(".000Z", "Z");
}

function providerManifest(provider: ProviderSpec): Record<string, unknown> {
  switch (provider.kind) {
    case "tresor":
      return { tresor: { ca: { secretRef: provider.secretRef } } };
    case "vault": {
      const { host, port, protocol, role, tokenSecretKeyRef } = provider;
      return { vault: { host, port, protocol, role, token: { secretKeyRef: tokenSecretKeyRef } } };
    }
    case "certManager": {
      const { issuerName, issuerKind, issuerGroup } = provider;
      return { certManager: { issuerName, issuerKind, issuerGroup } };
    }
  }
}
