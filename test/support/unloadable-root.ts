/** A root that Node takes and no Envoy does. */

import { sign, X509Certificate } from "node:crypto";
import { privateKeyPem } from "../../src/pki/keys.ts";
import { certificatePem } from "../../src/pki/pem.ts";
import { createRootCa } from "../../src/pki/root-ca.ts";

/** `30 82 xx xx`: what a SEQUENCE of 256 to 65,535 bytes begins with. */
const HEADER_BYTES = 4;
/** [0] { INTEGER 2 }: X.509 version 3. */
const VERSION_3 = Buffer.from("a003020102", "hex");

/**
 * A CA certificate that says X.509 version 4, which does not exist, signed with its own key: OpenSSL does not care and
 * BoringSSL refuses to parse it (V: Envoy 1.36.4 and 1.40.0, "Failed to load trusted CA certificates").
 */
export async function unloadableRoot(): Promise<{ readonly certificatePem: string; readonly privateKeyPem: string }> {
  const { certificatePem: pem, keyPair } = await createRootCa({
    country: "US",
    locality: "CA",
    organization: "meshroot tests",
    commonName: "unloadable",
    algorithm: "rsa-2048",
    validityMs: 24 * 3_600_000,
    now: Date.now(),
  });
  const der = Buffer.from(new X509Certificate(pem).raw);
  der[der.indexOf(VERSION_3) + VERSION_3.length - 1] = 3;
  const tbsEnd = 2 * HEADER_BYTES + der.readUInt16BE(HEADER_BYTES + 2);
  const signature = sign("sha256", der.subarray(HEADER_BYTES, tbsEnd), keyPair.privateKey);
  signature.copy(der, der.length - signature.length);
  return { certificatePem: certificatePem(der), privateKeyPem: privateKeyPem(keyPair) };
}
