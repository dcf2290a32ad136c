/** What an Envoy has really loaded, in names of MRCs: the proof that a step of a rotation has arrived. */

import { X509Certificate } from "node:crypto";
import { normaliseSerial } from "../../src/core/serial.ts";
import type { EnvoyAdmin, LoadedContext } from "../../src/envoy/admin.ts";

/** Root certificates by the name of their MRC. */
export type KnownRoots = ReadonlyMap<string, X509Certificate>;

export type LoadedMeshContext = {
  /** The roots that it trusts, in the order of `/certs`. */
  readonly trusted: readonly string[];
  /** The root that issued its leaf. */
  readonly leafRoot: string;
};

const UNKNOWN = "(unknown)";
/** OSM's names of the mesh's own secrets, which the rendered bootstraps use. */
const MESH_BUNDLE = /^root-cert-for-mtls-/;

/**
 * Every TLS context between proxies (so not that of the xDS connection). `/certs` proves what is loaded; it has no issuer, so
 * that is read from the secret in `config_dump` with the leaf's serial number, and checked with the root's key.
 */
export async function loadedRoots(admin: EnvoyAdmin, roots: KnownRoots): Promise<LoadedMeshContext[]> {
  const [contexts, secrets] = await Promise.all([admin.certs(), dumpedSecrets(admin)]);
  const leaves = secrets.flatMap(({ chain }) => chain.slice(0, 1));
  return contexts.filter(isMeshContext).map(({ trusted, chain }) => {
    const leaf = leaves.find((candidate) => serialOf(candidate) === chain[0]?.serial);
    return {
      trusted: trusted.map(({ serial }) => nameBySerial(serial, roots)),
      leafRoot: leaf === undefined ? UNKNOWN : issuerOf(leaf, roots),
    };
  });
}

/** The roots in each of the mesh's bundles as `config_dump` shows them: not a proof, but what an operator looks at. */
export async function dumpedRoots(admin: EnvoyAdmin, roots: KnownRoots): Promise<Map<string, string[]>> {
  const bundles = (await dumpedSecrets(admin)).filter(({ name }) => MESH_BUNDLE.test(name));
  return new Map(
    bundles.map(({ name, trusted }) => [
      name,
      trusted.map((certificate) => nameBySerial(serialOf(certificate), roots)).sort(),
    ]),
  );
}

function isMeshContext({ chain }: LoadedContext): boolean {
  return chain.length > 0 && chain[0]?.uris.some((uri) => uri.startsWith("meshroot://")) === false;
}

type DumpedSecret = {
  readonly name: string;
  readonly trusted: readonly X509Certificate[];
  readonly chain: readonly X509Certificate[];
};
type Bytes = { readonly inline_bytes?: string };
type Dump = {
  readonly configs?: readonly {
    readonly name: string;
    readonly secret?: {
      readonly tls_certificate?: { readonly certificate_chain?: Bytes };
      readonly validation_context?: { readonly trusted_ca?: Bytes };
    };
  }[];
};

async function dumpedSecrets(admin: EnvoyAdmin): Promise<DumpedSecret[]> {
  const dump = JSON.parse(await admin.configDump("resource=dynamic_active_secrets")) as Dump;
  return (dump.configs ?? []).map(({ name, secret }) => ({
    name,
    trusted: certificates(secret?.validation_context?.trusted_ca),
    chain: certificates(secret?.tls_certificate?.certificate_chain),
  }));
}

function certificates(source: Bytes | undefined): X509Certificate[] {
  const pem = Buffer.from(source?.inline_bytes ?? "", "base64").toString("utf8");
  const blocks = pem.match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g) ?? [];
  return blocks.map((block) => new X509Certificate(block));
}

function serialOf(certificate: X509Certificate): string {
  return normaliseSerial(certificate.serialNumber);
}

function nameBySerial(serial: string, roots: KnownRoots): string {
  for (const [name, root] of roots) if (serialOf(root) === serial) return name;
  return UNKNOWN;
}

function issuerOf(leaf: X509Certificate, roots: KnownRoots): string {
  for (const [name, root] of roots) if (leaf.verify(root.publicKey)) return name;
  return UNKNOWN;
}
