/** Our own look at what we are about to send (R80): a secret that fails is withheld, because Envoy may store it unseen. */

import { createPrivateKey, X509Certificate } from "node:crypto";
import type { Problem } from "../core/errors.ts";
import { inspectCertificate } from "./inspect.ts";
import { parseBundle } from "./pem.ts";

/** BoringSSL takes these curves and RSA from 2048 bits. */
const CURVES = new Set(["prime256v1", "secp384r1", "secp521r1"]);

/** MR4003 with the first thing that is wrong; undefined: Envoy can use it and peers that trust `rootPem` accept it. */
export function checkLeaf(leaf: {
  readonly chainPem: string;
  readonly privateKeyPem: string;
  readonly rootPem: string;
  /** Milliseconds since the epoch. */
  readonly now: number;
}): Problem | undefined {
  const wrong = (what: string): Problem => ({
    code: "MR4003",
    message: `a certificate was issued that can't be used: ${what}`,
    hint: "look at the provider of the signing root; the proxies keep what they have",
  });
  const { certificates, problems } = parseBundle(leaf.chainPem);
  const [first] = certificates;
  if (first === undefined || problems.length > 0) return wrong("its chain can't be read");
  const certificate = new X509Certificate(first.pem);
  if (!certificate.checkPrivateKey(createPrivateKey(leaf.privateKeyPem))) return wrong("it does not match its private key");
  const { asymmetricKeyType: type, asymmetricKeyDetails: details } = certificate.publicKey;
  if (type === "ec" && !CURVES.has(details?.namedCurve ?? "")) return wrong(`Envoy does not take the curve ${details?.namedCurve}`);
  if (type === "rsa" && (details?.modulusLength ?? 0) < 2048) return wrong("Envoy takes RSA keys from 2048 bits only");
  if (first.notAfter <= leaf.now) return wrong("it has expired");
  const root = new X509Certificate(leaf.rootPem);
  const links = [...certificates.map(({ pem }) => new X509Certificate(pem)), root];
  for (const [index, issuer] of links.entries()) {
    const subject = links[index - 1];
    if (subject === undefined) continue;
    const issuerId = inspectCertificate(issuer).subjectKeyId;
    const named = inspectCertificate(subject).authorityKeyId;
    const sameKey = issuerId === undefined || named === undefined || issuerId === named;
    if (!sameKey || !subject.checkIssued(issuer) || !subject.verify(issuer.publicKey)) return wrong("it was not signed by its root");
  }
  return undefined;
}

/** MR3005 when a trust bundle is empty, or holds what can't be read or is no CA. Expired roots may stand in it (F5). */
export function checkBundle(pem: string): Problem | undefined {
  const { certificates, problems } = parseBundle(pem);
  const hint = "give every root a CA certificate in PEM";
  if (certificates.length === 0) return { code: "MR3005", message: "the trust bundle holds no certificate", hint };
  const stranger = certificates.find(({ isCa }) => !isCa);
  if (stranger !== undefined) return { code: "MR3005", message: `${stranger.subject} is not a CA certificate`, hint };
  return problems[0];
}
