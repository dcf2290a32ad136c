/** Certificates from @peculiar/x509, so that tests of Envoy don't lean on our own issuing code. */

import "reflect-metadata";
import { webcrypto } from "node:crypto";
import * as x509 from "@peculiar/x509";

const ALGORITHM = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" } as const;
const DAY_MS = 86_400_000;

export type TestRoot = { readonly certPem: string; readonly serial: string; readonly keys: CryptoKeyPair };
export type TestLeaf = { readonly certPem: string; readonly keyPem: string; readonly serial: string };
type CryptoKeyPair = webcrypto.CryptoKeyPair;

let nextSerial = 0x10_00;

export async function makeTestRoot(commonName: string): Promise<TestRoot> {
  const keys = await makeKeys();
  const certificate = await x509.X509CertificateGenerator.createSelfSigned({
    ...times(),
    serialNumber: newSerial(),
    name: `CN=${commonName}`,
    keys,
    signingAlgorithm: ALGORITHM,
    extensions: [
      new x509.BasicConstraintsExtension(true, undefined, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.keyCertSign | x509.KeyUsageFlags.cRLSign, true),
    ],
  });
  return { certPem: pem(certificate), serial: serialOf(certificate), keys };
}

/** A leaf for client and server use. */
export async function makeTestLeaf(
  root: TestRoot,
  names: { readonly dns?: readonly string[]; readonly uris?: readonly string[] },
): Promise<TestLeaf> {
  const keys = await makeKeys();
  const issuer = new x509.X509Certificate(root.certPem);
  const dns = (names.dns ?? []).map((value) => ({ type: "dns" as const, value }));
  const uris = (names.uris ?? []).map((value) => ({ type: "url" as const, value }));
  const certificate = await x509.X509CertificateGenerator.create({
    ...times(),
    serialNumber: newSerial(),
    subject: `CN=${names.dns?.[0] ?? "leaf"}`,
    issuer: issuer.subject,
    publicKey: keys.publicKey,
    signingKey: root.keys.privateKey,
    signingAlgorithm: ALGORITHM,
    extensions: [
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.digitalSignature, true),
      new x509.ExtendedKeyUsageExtension([x509.ExtendedKeyUsage.serverAuth, x509.ExtendedKeyUsage.clientAuth]),
      new x509.SubjectAlternativeNameExtension([...dns, ...uris]),
    ],
  });
  const pkcs8 = await webcrypto.subtle.exportKey("pkcs8", keys.privateKey);
  const keyPem = `${x509.PemConverter.encode(pkcs8, "PRIVATE KEY")}\n`;
  return { certPem: pem(certificate), keyPem, serial: serialOf(certificate) };
}

function makeKeys(): Promise<CryptoKeyPair> {
  return webcrypto.subtle.generateKey(ALGORITHM, true, ["sign", "verify"]) as Promise<CryptoKeyPair>;
}

function times(): { notBefore: Date; notAfter: Date } {
  return { notBefore: new Date(Date.now() - DAY_MS), notAfter: new Date(Date.now() + DAY_MS) };
}

/** Different in every test process too: Envoys of parallel tests never share a serial by accident. */
function newSerial(): string {
  nextSerial++;
  return `0a${process.pid.toString(16).padStart(8, "0")}${nextSerial.toString(16).padStart(6, "0")}`;
}

function serialOf(certificate: x509.X509Certificate): string {
  return certificate.serialNumber.toLowerCase().replace(/^0+/, "");
}

function pem(certificate: x509.X509Certificate): string {
  return `${certificate.toString("pem")}\n`;
}
