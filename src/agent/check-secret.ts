/** What the agent checks before it lets a secret near its Envoy; what fails is refused in words, and nothing is written. */

import { createPrivateKey, type KeyObject } from "node:crypto";
import { XDS_BUNDLE, XDS_LEAF } from "../core/evidence/secret-names.ts";
import type { ProxyIdentity } from "../core/identity.ts";
import { checkBundle } from "../pki/check.ts";
import { parseBundle } from "../pki/pem.ts";
import { xdsIdentity } from "../pki/xds-identity.ts";
import type { DecodedSecret } from "../secrets/secret-codec.ts";
import type { HeldCredentials } from "./held-credentials.ts";

/** The half of a set that a secret replaces. */
export type CredentialChange = Pick<HeldCredentials, "certPem" | "keyPem"> | Pick<HeldCredentials, "caPem">;

/** `now` in ms since the epoch. A string is why the secret is refused; it never repeats key material. */
export function changeOf(secret: DecodedSecret, identity: ProxyIdentity, now: number): CredentialChange | string {
  if (secret.name === XDS_LEAF && secret.kind === "tlsCertificate") {
    const { chainPem, privateKeyPem } = secret;
    const problem = wrongLeaf(chainPem, privateKeyPem, identity, now);
    return problem === undefined ? { certPem: chainPem, keyPem: privateKeyPem } : `${XDS_LEAF}: ${problem}`;
  }
  if (secret.name === XDS_BUNDLE && secret.kind === "validationContext") {
    const problem = checkBundle(secret.trustedCaPem);
    return problem === undefined ? { caPem: secret.trustedCaPem } : `${XDS_BUNDLE}: ${problem.message}`;
  }
  return `the agent did not ask for ${JSON.stringify(secret.name)} as a ${secret.kind}`;
}

function wrongLeaf(chainPem: string, keyPem: string, identity: ProxyIdentity, now: number): string | undefined {
  const { certificates, problems } = parseBundle(chainPem);
  const [leaf] = certificates;
  if (problems[0] !== undefined) return problems[0].message;
  if (leaf === undefined) return "the chain holds no certificate";
  const found = xdsIdentity(leaf.x509);
  if (found === undefined) return "the certificate is no xDS certificate of meshroot (C1)";
  if (found.uuid !== identity.uuid) return `the certificate is another proxy's (${found.uuid})`;
  // The trust domain may change in a rotation; who the workload is does not.
  if (found.serviceAccount !== identity.serviceAccount || found.namespace !== identity.namespace)
    return `the certificate is for ${found.serviceAccount}.${found.namespace}`;
  // The server's clock may be ahead for a while: what it refuses once it is back must not replace what it takes now.
  if (now < leaf.notBefore)
    return `the certificate is not valid before ${new Date(leaf.notBefore).toISOString()}: look at the clocks of both machines`;
  if (now >= leaf.notAfter) return `the certificate expired at ${new Date(leaf.notAfter).toISOString()}`;
  let key: KeyObject;
  try {
    key = createPrivateKey(keyPem);
  } catch {
    return "the private key is not an unencrypted PEM key";
  }
  return leaf.x509.checkPrivateKey(key) ? undefined : "certificate and private key do not belong together";
}
