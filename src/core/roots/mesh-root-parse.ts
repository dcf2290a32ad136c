/** Reads an OSM v1alpha2 MeshRootCertificate object. */

import type { Problem } from "../errors.ts";
import { isDnsLabel, isDnsName } from "../identity.ts";
import {
  booleanField,
  type Fields,
  integerField,
  isObject,
  malformed,
  type ObjectReader,
  objectField,
  openObject,
  textField,
  wordField,
} from "../object-reader.ts";
import {
  ACCEPT_SHORT_LIFE_ANNOTATION,
  DEFAULT_TRUST_DOMAIN,
  FORCE_UNSAFE_ANNOTATION,
  MESH_ROOT_API_VERSION,
  MESH_ROOT_KIND,
  type MeshRoot,
  type ProviderSpec,
  ROLES,
  type Role,
  type SecretRef,
} from "./mesh-root.ts";
import { roleOf, saysRole, saysRoleElsewhere, strayAtTop, strayInSpec } from "./mesh-root-strays.ts";

export type ParsedMeshRoot = { readonly root: MeshRoot } | { readonly problems: readonly Problem[] };

export type ParseOptions = {
  /** Milliseconds since the epoch; used where the object has no `metadata.creationTimestamp`. */
  readonly createdAt: number;
  readonly defaultNamespace: string;
};

const PROVIDERS = ["tresor", "vault", "certManager"] as const;

/**
 * Reads one MRC. Either the root, or everything that is wrong with the object: MR1001 not an MRC, MR1002 unknown field,
 * MR1003 missing or malformed field, MR1004 not exactly one provider. Defaults are OSM's: trustDomain `cluster.local`,
 * spiffeEnabled false. `metadata` and `status` belong to Kubernetes: what else they hold is not looked at.
 */
export function parseMeshRoot(object: unknown, options: ParseOptions): ParsedMeshRoot {
  const stranger = notAMeshRoot(object);
  if (stranger !== undefined) return { problems: [stranger] };

  const problems: Problem[] = [];
  const fields = isObject(object) ? object : {};
  const hasRole = saysRole(fields.spec);
  const known = ["apiVersion", "kind", "metadata", "spec", "status"];
  const whole = openObject("", object, known, problems, strayAtTop(hasRole));
  const metadata = readMetadata(whole, options);
  const spec = objectField(whole, "spec", ["role", "trustDomain", "spiffeEnabled", "provider"], strayInSpec(hasRole));
  const root = {
    ...metadata,
    role: readRole(spec, saysRoleElsewhere(fields)),
    trustDomain: textField(spec, "trustDomain", "a DNS name", isDnsName, DEFAULT_TRUST_DOMAIN),
    spiffeEnabled: booleanField(spec, "spiffeEnabled", false),
    provider: readProvider(spec),
  };
  const { provider } = root;
  return problems.length > 0 || provider === undefined ? { problems } : { root: { ...root, provider } };
}

/** One that stands in the wrong place is reported already; a word that it does not know may be known to us. */
function readRole(spec: ObjectReader, isElsewhere: boolean): Role {
  const { role } = spec.fields;
  if ((role === undefined || role === null) && isElsewhere) return "inactive";
  const meant = roleOf(role);
  if (typeof role !== "string" || meant === undefined || meant === role) return wordField(spec, "role", ROLES);
  malformed(
    spec.problems,
    "spec.role",
    `${JSON.stringify(role)} is not one of ${ROLES.join(", ")}, did you mean ${meant}?`,
    `Write \`role: ${meant}\`.`,
  );
  return meant;
}

function notAMeshRoot(object: unknown): Problem | undefined {
  const fields: Fields = isObject(object) ? object : {};
  if (fields.kind === MESH_ROOT_KIND && fields.apiVersion === MESH_ROOT_API_VERSION) return undefined;
  const found = isObject(object)
    ? `apiVersion ${String(fields.apiVersion)}, kind ${String(fields.kind)}`
    : `a document that is ${object === null ? "empty" : "not an object"}`;
  return {
    code: "MR1001",
    message: `not a ${MESH_ROOT_KIND}: found ${found}`,
    hint:
      fields.kind === "Secret"
        ? "A Secret belongs into a file of its own beside the folder of roots: secrets/NAMESPACE/NAME.yaml."
        : `Begin the manifest with \`apiVersion: ${MESH_ROOT_API_VERSION}\` and \`kind: ${MESH_ROOT_KIND}\`.`,
  };
}

function readMetadata(
  whole: ObjectReader,
  options: ParseOptions,
): Pick<MeshRoot, "name" | "namespace" | "createdAt" | "forceUnsafe" | "acceptShortLife"> {
  const { problems } = whole;
  const fields = whole.fields.metadata;
  if (!isObject(fields)) {
    malformed(problems, "metadata", "is missing", "Add `metadata:` with at least `name: …`.");
    return { name: "", namespace: "", createdAt: options.createdAt };
  }
  const metadata: ObjectReader = { path: "metadata", fields, problems, misspelt: new Set() };
  const name = textField(metadata, "name", "a DNS name", isDnsName);
  const namespace = textField(metadata, "namespace", "a DNS label", isDnsLabel, options.defaultNamespace);
  const time = textField(metadata, "creationTimestamp", "an RFC 3339 time", isTime, "");
  const forceUnsafe = readReason(fields.annotations, FORCE_UNSAFE_ANNOTATION, "the gates hold", problems);
  const acceptShortLife = readReason(fields.annotations, ACCEPT_SHORT_LIFE_ANNOTATION, "its life counts", problems);
  return {
    name,
    namespace,
    createdAt: time === "" ? options.createdAt : Date.parse(time),
    ...(forceUnsafe === undefined ? {} : { forceUnsafe }),
    ...(acceptShortLife === undefined ? {} : { acceptShortLife }),
  };
}

function isTime(text: string): boolean {
  return /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)$/.test(text) && !Number.isNaN(Date.parse(text));
}

/** The override is audited by its reason, so one without a reason is refused rather than taken for a yes. */
function readReason(annotations: unknown, name: string, without: string, problems: Problem[]): string | undefined {
  const reason = isObject(annotations) ? annotations[name] : undefined;
  if (reason === undefined) return undefined;
  if (typeof reason === "string" && reason.trim() !== "") return reason;
  malformed(
    problems,
    `metadata.annotations["${name}"]`,
    "gives no reason",
    `Write the reason as a text, or remove the annotation so that ${without}.`,
  );
  return undefined;
}

function readProvider(spec: ObjectReader): ProviderSpec | undefined {
  const before = spec.problems.length;
  const provider = objectField(spec, "provider", PROVIDERS);
  const given = PROVIDERS.filter((kind) => provider.fields[kind] !== undefined && provider.fields[kind] !== null);
  const [kind] = given;
  if (given.length !== 1 || kind === undefined) {
    // A misspelt or missing provider is already reported; a second complaint about it would only confuse.
    const reported = spec.problems.length > before || spec.misspelt.has("provider");
    if (reported && given.length === 0) return undefined;
    spec.problems.push({
      code: "MR1004",
      message: `spec.provider: ${given.length === 0 ? "no provider" : `${given.length} providers (${given.join(", ")})`}`,
      hint: `Give exactly one of ${PROVIDERS.join(", ")}.`,
    });
    return undefined;
  }
  const read = READERS[kind](provider);
  return spec.problems.length > before ? undefined : read;
}

const READERS: Readonly<Record<ProviderSpec["kind"], (provider: ObjectReader) => ProviderSpec>> = {
  tresor: (provider) => {
    const ca = objectField(objectField(provider, "tresor", ["ca"]), "ca", ["secretRef"]);
    return { kind: "tresor", secretRef: readSecretRef(objectField(ca, "secretRef", ["name", "namespace"])) };
  },
  vault: (provider) => {
    const vault = objectField(provider, "vault", ["host", "port", "protocol", "role", "token"]);
    const token = objectField(vault, "token", ["secretKeyRef"]);
    const keyRef = objectField(token, "secretKeyRef", ["name", "namespace", "key"]);
    return {
      kind: "vault",
      host: textField(vault, "host", "a DNS name or an IPv4 address", isDnsName),
      port: integerField(vault, "port", 1, 65_535),
      protocol: wordField(vault, "protocol", ["http", "https"]),
      role: textField(vault, "role", "the name of a Vault role", isName),
      tokenSecretKeyRef: {
        ...readSecretRef(keyRef),
        key: textField(keyRef, "key", "a key of the secret", isSecretKey),
      },
    };
  },
  certManager: (provider) => {
    const fields = ["issuerName", "issuerKind", "issuerGroup"];
    const certManager = objectField(provider, "certManager", fields);
    return {
      kind: "certManager",
      issuerName: textField(certManager, "issuerName", "the name of an issuer (a DNS name)", isDnsName),
      issuerKind: wordField(certManager, "issuerKind", ["Issuer", "ClusterIssuer"]),
      issuerGroup: textField(certManager, "issuerGroup", "an API group (a DNS name)", isDnsName),
    };
  },
};

function readSecretRef(reader: ObjectReader): SecretRef {
  return {
    name: textField(reader, "name", "the name of a secret (a DNS name)", isDnsName),
    namespace: textField(reader, "namespace", "a DNS label", isDnsLabel),
  };
}

/** Vault allows many characters in a role; what it can't be is empty, padded or the rest of a pasted JSON line. */
function isName(text: string): boolean {
  return text !== "" && text.trim() === text && !text.endsWith(",") && !text.includes("/");
}

/** Keys of a Kubernetes Secret's data. */
function isSecretKey(text: string): boolean {
  return text.length <= 253 && /^[-._a-zA-Z0-9]+$/.test(text);
}
