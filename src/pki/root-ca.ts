/** Making a self-signed root. */

import type { KeyPair } from "../ports/provider.ts";
import { type DistinguishedName, encodeName, randomSerial, signCertificate } from "./certificate.ts";
import { keyId } from "./extensions.ts";
import { generateKeyPair, type KeyAlgorithm } from "./keys.ts";
import { certificatePem } from "./pem.ts";
import { BACKDATE_MS } from "./profiles.ts";

export type RootCaOptions = DistinguishedName & {
  readonly algorithm: KeyAlgorithm;
  readonly validityMs: number;
  /** Milliseconds since the epoch. */
  readonly now: number;
  /** What the time may be at the earliest, where the clock is in doubt. Default: `now`. */
  readonly earliest?: number;
};

export type RootCa = { readonly certificatePem: string; readonly keyPair: KeyPair };

/**
 * A new key and its self-signed CA certificate (keyCertSign, cRLSign), back-dated as leaves are. Two roots may share
 * their subject, as Tresor's do: serial, SKI and AKI differ. Throws MR3004.
 */
export async function createRootCa(options: RootCaOptions): Promise<RootCa> {
  const { algorithm, validityMs, now, earliest = now } = options;
  const keyPair = await generateKeyPair(algorithm);
  const name = encodeName(options);
  const id = keyId(keyPair.publicKey);
  const der = await signCertificate(
    {
      serial: randomSerial(),
      issuer: name,
      subject: name,
      notBefore: earliest - BACKDATE_MS,
      notAfter: now + validityMs,
      publicKey: keyPair.publicKey,
      isCa: true,
      keyUsage: ["keyCertSign", "cRLSign"],
      extKeyUsage: [],
      dnsNames: [],
      uris: [],
      subjectKeyId: id,
      authorityKeyId: id,
    },
    keyPair.privateKey,
  );
  return { certificatePem: certificatePem(der), keyPair };
}
