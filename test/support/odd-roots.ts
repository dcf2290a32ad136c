/** Roots as operators bring them, made by the openssl command: each kind that failed, and each that has to stay good. */

import { createPrivateKey, X509Certificate } from "node:crypto";
import type { LocalAuthority } from "../../src/pki/local-authority.ts";
import { localAuthority } from "../../src/pki/local-authority.ts";
import { certificatePem } from "../../src/pki/pem.ts";
import { systemClock } from "../../src/serve/system-clock.ts";
import { openssl } from "./openssl.ts";

export type OddRoot = { readonly certificatePem: string; readonly keyPem: string };

export type OddOptions = {
  /** Lines of the extension section; default those of a plain CA. */
  readonly extensions?: readonly string[];
  readonly subject?: string;
  readonly serial?: string;
  /** As openssl's `genpkey` takes them; default P-256. */
  readonly key?: readonly string[];
  /** In place of a new key. */
  readonly keyPem?: string;
  /** Further arguments of `openssl req`. */
  readonly more?: readonly string[];
};

export const CA = ["basicConstraints=critical,CA:TRUE", "keyUsage=critical,keyCertSign,cRLSign"];
export const SKI = "subjectKeyIdentifier=hash";

export const ec = (curve: string) => ["-algorithm", "EC", "-pkeyopt", `ec_paramgen_curve:${curve}`];
export const rsa = (bits: number) => ["-algorithm", "RSA", "-pkeyopt", `rsa_keygen_bits:${bits}`];

/** Valid for ten years. */
export function oddRoot(options: OddOptions = {}): OddRoot {
  const { extensions = [...CA, SKI], subject = "/CN=odd", serial, more = [] } = options;
  const keyPem = options.keyPem ?? openssl(["genpkey", ...(options.key ?? ec("P-256"))]);
  const sections = ["[req]", "distinguished_name=dn", "prompt=no", "x509_extensions=x", "[dn]", "[names]", "O=Other"];
  const config = `${[...sections, "[x]", ...extensions].join("\n")}\n`;
  const number = serial === undefined ? [] : ["-set_serial", serial];
  const args = ["req", "-x509", "-new", "-key", "key.pem", "-config", "c.cnf", "-days", "3650", "-subj", subject];
  const pem = openssl([...args, ...number, ...more], { "key.pem": keyPem, "c.cnf": config });
  return { certificatePem: pem, keyPem };
}

/** A CA certificate that `issuer` has signed. */
export function intermediate(issuer: OddRoot, subject = "/CN=intermediate"): OddRoot {
  const keyPem = openssl(["genpkey", ...ec("P-256")]);
  const request = openssl(["req", "-new", "-key", "key.pem", "-subj", subject], { "key.pem": keyPem });
  const signing = ["x509", "-req", "-in", "r.csr", "-CA", "ca.crt", "-CAkey", "ca.key", "-days", "1000"];
  const pem = openssl([...signing, "-set_serial", "7", "-extfile", "x.cnf"], {
    "r.csr": request,
    "ca.crt": issuer.certificatePem,
    "ca.key": issuer.keyPem,
    "x.cnf": `${[...CA, SKI].join("\n")}\n`,
  });
  return { certificatePem: pem, keyPem };
}

/** The same root with other bytes in its DER, of the same length; its own signature, which nobody looks at, is then wrong. */
export function patched(root: OddRoot, from: string, to: string): OddRoot {
  const hex = new X509Certificate(root.certificatePem).raw.toString("hex");
  if (!hex.includes(from)) throw new Error(`no ${from} in it`);
  return { ...root, certificatePem: certificatePem(Buffer.from(hex.replaceAll(from, to), "hex")) };
}

/** What it signs has its length in one byte more than it needs. */
export function longLength(root: OddRoot): OddRoot {
  const der = new X509Certificate(root.certificatePem).raw;
  // 30 82 xx xx, twice: a SEQUENCE of 256 to 65,535 bytes, and in it the first one that is signed.
  const header = Buffer.of(0x30, 0x82, 0, 0);
  header.writeUInt16BE(der.length - 3, 2);
  const bytes = Buffer.concat([header, Buffer.of(0x30, 0x83, 0), der.subarray(6)]);
  return { ...root, certificatePem: certificatePem(bytes) };
}

export function authorityOf({ certificatePem: pem, keyPem }: OddRoot): LocalAuthority {
  return localAuthority({ certificatePem: pem, privateKey: createPrivateKey(keyPem), clock: systemClock });
}
