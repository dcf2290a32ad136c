/** Our own check of a secret before any proxy sees it (R80): a failing one is withheld, not sent. */

import { createPrivateKey, type KeyObject } from "node:crypto";
import type { Problem } from "../core/errors.ts";
import { type ParsedCertificate, parseBundle } from "./pem.ts";

const ENVOY_CURVES = new Set(["prime256v1", "secp384r1", "secp521r1"]);
const MIN_RSA_BITS = 2048;

export type LeafToCheck = {
  /** Leaf first, then intermediates. */
  readonly chainPem: string;
  readonly privateKeyPem: string;
  /** The root that it has to chain to, one certificate. */
  readonly rootPem: string;
  /** Milliseconds since the epoch. */
  readonly now: number;
};

/**
 * What is wrong with a leaf, if anything: MR3005 for PEM that can't be read, MR4003 for a chain that Envoy or its peers
 * would refuse. The root may have expired; nothing else may. The message never repeats key material.
 */
export function checkLeaf({ chainPem, privateKeyPem, rootPem, now }: LeafToCheck): Problem | undefined {
  const chain = parseBundle(chainPem);
  const [root, ...more] = parseBundle(rootPem).certificates;
  const [leaf] = chain.certificates;
  if (chain.problems[0] !== undefined) return chain.problems[0];
  if (leaf === undefined) return unreadable("the chain holds no certificate");
  if (root === undefined || more.length > 0) return unreadable("the root is not exactly one certificate");
  let key: KeyObject;
  try {
    key = createPrivateKey(privateKeyPem);
  } catch {
    return unreadable("the private key is not an unencrypted PEM key");
  }
  if (!leaf.x509.checkPrivateKey(key)) return withheld(leaf, "does not match its private key");
  return weakKey(leaf) ?? outOfTime(leaf, now) ?? brokenChain(chain.certificates, root, now);
}

/**
 * What is wrong with a trust bundle, if anything, as MR3005 (unreadable) or MR4003 (empty, or a certificate that is no
 * CA). Expired roots pass: a peer's leaf decides.
 */
export function checkBundle(pem: string): Problem | undefined {
  const { certificates, problems } = parseBundle(pem);
  if (problems[0] !== undefined) return problems[0];
  if (certificates.length === 0) {
    const hint = "An empty bundle would make proxies trust nobody: give at least one root.";
    return { code: "MR4003", message: "the trust bundle is empty", hint };
  }
  const other = certificates.find((certificate) => !certificate.isCa);
  if (other === undefined) return undefined;
  const hint = "Put CA certificates only into a trust bundle.";
  return { code: "MR4003", message: `${describe(other)} in the trust bundle is not a CA`, hint };
}

function weakKey(leaf: ParsedCertificate): Problem | undefined {
  const { asymmetricKeyType: type, asymmetricKeyDetails: details } = leaf.x509.publicKey;
  const curve = details?.namedCurve ?? "unnamed curve";
  const bits = details?.modulusLength ?? 0;
  if (type === "ec" ? ENVOY_CURVES.has(curve) : type === "rsa" && bits >= MIN_RSA_BITS) return undefined;
  const what = type === "ec" ? curve : type === "rsa" ? `RSA-${bits}` : `${type}`;
  return withheld(
    leaf,
    `has a key that Envoy refuses (${what}; it takes P-256, P-384, P-521, RSA from ${MIN_RSA_BITS})`,
  );
}

function outOfTime(certificate: ParsedCertificate, now: number): Problem | undefined {
  if (now >= certificate.notAfter) return withheld(certificate, `expired at ${iso(certificate.notAfter)}`);
  if (now < certificate.notBefore) return withheld(certificate, `is not valid before ${iso(certificate.notBefore)}`);
  return undefined;
}

function brokenChain(chain: readonly ParsedCertificate[], root: ParsedCertificate, now: number): Problem | undefined {
  const [leaf] = chain;
  if (leaf?.isCa === true) return withheld(leaf, "is a CA: a proxy that holds it could sign for anybody");
  // A chain that ends in the root itself is longer than need be, and still good.
  const path = chain.filter((certificate) => certificate.fingerprint !== root.fingerprint);
  for (const [index, certificate] of path.entries()) {
    const issuer = path[index + 1] ?? root;
    if (!isIssuedBy(certificate, issuer)) return withheld(certificate, `was not issued by ${describe(issuer)}`);
    if (issuer.pathLength !== undefined && index > issuer.pathLength)
      return withheld(certificate, `stands deeper below ${describe(issuer)} than that one's path length allows`);
    const problem = issuer === root ? undefined : outOfTime(issuer, now);
    if (problem !== undefined) return problem;
  }
  return undefined;
}

/**
 * checkIssued compares the names, AKI with SKI (roots share their subject) and the issuer's key usage, as Envoy's chain
 * building does; it doesn't look at the signature.
 */
function isIssuedBy(certificate: ParsedCertificate, issuer: ParsedCertificate): boolean {
  return issuer.isCa && certificate.x509.checkIssued(issuer.x509) && certificate.x509.verify(issuer.x509.publicKey);
}

const HINT = "It was not sent; look at the provider that issued it, and at the MeshRootCertificate's status.";

function withheld(certificate: ParsedCertificate, what: string): Problem {
  return { code: "MR4003", message: `${describe(certificate)} ${what}`, hint: HINT };
}

function unreadable(message: string): Problem {
  return { code: "MR3005", message, hint: HINT };
}

function describe(certificate: ParsedCertificate): string {
  return `${certificate.subject} (serial ${certificate.serial})`;
}

function iso(ms: number): string {
  return new Date(ms).toISOString();
}
