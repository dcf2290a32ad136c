/**
 * Whether the Envoy of this proxy has loaded a set of credentials, by its own `/certs` (evidence.md C3).
 *
 * What it proves: the context whose leaf carries this proxy's uuid holds exactly this leaf and these roots. `/certs` shows no
 * more of a root than serial number and times, so that two CAs may share the former (roots that share all are refused beside
 * each other: MR1013). Envoy before 1.40 lists only the first root of a bundle (`listsWholeBundle`); bundles are written newest root
 * first, so there it proves the newest root, which is what growth of trust needs, and nothing about the others: neither
 * that an older root is still held nor that one that left the bundle is gone.
 */

import type { ProxyIdentity } from "../core/identity.ts";
import { parseProxyUri } from "../core/identity.ts";
import { type EnvoyAdmin, type LoadedCertificate, type LoadedContext, listsWholeBundle } from "../envoy/admin.ts";
import { parseBundle } from "../pki/pem.ts";
import type { HeldCredentials } from "./held-credentials.ts";

/** `refusals`: how many reloads of the two secrets Envoy says have failed since it started. */
export type Proof =
  | { readonly loaded: true }
  | { readonly loaded: false; readonly why: string; readonly refusals?: number };

const LOADED: Proof = { loaded: true };

/** Never throws: an Envoy that does not answer is a proof that is missing. */
export async function proofOf(admin: EnvoyAdmin, identity: ProxyIdentity, held: HeldCredentials): Promise<Proof> {
  try {
    const why = await missing(admin, identity, held);
    return why === undefined ? LOADED : { loaded: false, why, refusals: await refusals(admin) };
  } catch (error) {
    return { loaded: false, why: (error as Error).message };
  }
}

/** V (1.36.4, 1.40.0): it rises when files that changed could not be made into a context. Throws MR5004. */
export async function refusals(admin: EnvoyAdmin): Promise<number> {
  const stats = await admin.stats("(tls_sds|validation_context_sds)\\.key_rotation_failed$");
  return [...stats.values()].reduce<number>((sum, value) => sum + (typeof value === "number" ? value : 0), 0);
}

async function missing(admin: EnvoyAdmin, { uuid }: ProxyIdentity, held: HeldCredentials): Promise<string | undefined> {
  const mine = (await admin.certs()).filter(({ chain }) =>
    chain[0]?.uris.some((uri) => parseProxyUri(uri)?.uuid === uuid),
  );
  if (mine.length === 0)
    return `Envoy at ${admin.address} shows no context with an xDS certificate of this proxy: is it this proxy's Envoy?`;
  const leaf = parseBundle(held.certPem).certificates[0]?.serial;
  const roots = parseBundle(held.caPem).certificates.map(shownAs);
  const other = mine.find(({ chain }) => chain[0]?.serial !== leaf);
  if (other !== undefined) return `Envoy still shows the certificate with serial ${other.chain[0]?.serial}`;
  const short = mine.filter((context) => !holdsAll(context, roots));
  if (short.length === 0) return undefined;
  if (short.every((context) => holdsFirst(context, roots)) && !listsWholeBundle(await admin.version()))
    return undefined;
  return "Envoy still shows the bundle from before";
}

/** How `/certs` tells one root from another. */
function shownAs({
  serial,
  notBefore,
  notAfter,
}: Pick<LoadedCertificate, "serial" | "notBefore" | "notAfter">): string {
  return `${serial} ${notBefore} ${notAfter}`;
}

/** As often as they are there: one that is shown twice is not two. */
function holdsAll({ trusted }: LoadedContext, roots: readonly string[]): boolean {
  return trusted.map(shownAs).sort().join() === roots.toSorted().join();
}

function holdsFirst({ trusted: [first, ...more] }: LoadedContext, roots: readonly string[]): boolean {
  return first !== undefined && more.length === 0 && shownAs(first) === roots[0];
}
