/** A provider's CA in one step: made where it may be and was not, looked at, ready to sign. */

import type { MeshRoot } from "../../src/core/roots/mesh-root.ts";
import type { LocalAuthority } from "../../src/pki/local-authority.ts";
import type { CertificateProvider } from "../../src/ports/provider.ts";

/** `mustExist`: as for a root that the mesh has run on, of which nothing is ever made anew. */
export async function loadAuthority(
  provider: CertificateProvider,
  root: MeshRoot,
  { mustExist = false } = {},
): Promise<LocalAuthority> {
  const { signal } = new AbortController();
  const authority = provider.open(root.provider);
  if (!mustExist) await provider.custody?.create(root.provider);
  const { root: shown } = await authority.inspect(signal);
  return { ...shown, issue: (request) => authority.issue(request, signal) };
}
