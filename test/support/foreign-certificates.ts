/** Certificates that our own code would never make, from @peculiar/x509: the CAs and leaves of careless operators. */

import "reflect-metadata";
import { KeyObject, webcrypto } from "node:crypto";
import * as x509 from "@peculiar/x509";
import type { KeyPair } from "../../src/ports/provider.ts";
import { DAY_MS, NOW } from "./pki.ts";

type CryptoKeyPair = webcrypto.CryptoKeyPair;

const P256 = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" } as const;
const ALGORITHMS = {
  p256: P256,
  ed25519: { name: "Ed25519" },
  rsa1024: {
    name: "RSASSA-PKCS1-v1_5",
    hash: "SHA-256",
    modulusLength: 1024,
    publicExponent: Uint8Array.of(1, 0, 1),
  },
} as const;

export type Foreign = {
  readonly pem: string;
  readonly keyPair: KeyPair;
  readonly name: x509.Name;
  readonly webKeys: CryptoKeyPair;
};

/** `extensions` are all that it carries. Without `issuer` it is self-signed. */
export async function foreignCertificate(options: {
  readonly extensions?: readonly x509.Extension[];
  readonly algorithm?: keyof typeof ALGORITHMS;
  readonly name?: x509.JsonNameParams;
  readonly issuer?: Foreign;
  readonly notBefore?: number;
  readonly notAfter?: number;
}): Promise<Foreign> {
  const { extensions = [], algorithm = "p256", issuer } = options;
  const name = new x509.Name(options.name ?? [{ CN: ["foreign"] }]);
  const webKeys = (await webcrypto.subtle.generateKey(ALGORITHMS[algorithm], true, [
    "sign",
    "verify",
  ])) as CryptoKeyPair;
  const certificate = await x509.X509CertificateGenerator.create({
    serialNumber: "0123",
    subject: name,
    issuer: issuer?.name ?? name,
    notBefore: new Date(options.notBefore ?? NOW - DAY_MS),
    notAfter: new Date(options.notAfter ?? NOW + 30 * DAY_MS),
    publicKey: webKeys.publicKey,
    signingKey: (issuer?.webKeys ?? webKeys).privateKey,
    signingAlgorithm: issuer === undefined ? ALGORITHMS[algorithm] : P256,
    extensions: [...extensions],
  });
  const keyPair = { privateKey: KeyObject.from(webKeys.privateKey), publicKey: KeyObject.from(webKeys.publicKey) };
  return { pem: `${certificate.toString("pem")}\n`, keyPair, name, webKeys };
}

const CERT_SIGN = new x509.KeyUsagesExtension(x509.KeyUsageFlags.keyCertSign | x509.KeyUsageFlags.cRLSign, true);

export const EXTENSIONS = {
  ca: new x509.BasicConstraintsExtension(true, undefined, true),
  caWithPathLength0: new x509.BasicConstraintsExtension(true, 0, true),
  certSign: CERT_SIGN,
  cannotSign: new x509.KeyUsagesExtension(x509.KeyUsageFlags.digitalSignature, true),
  subjectKeyId: new x509.SubjectKeyIdentifierExtension("0102030405060708"),
} as const;
