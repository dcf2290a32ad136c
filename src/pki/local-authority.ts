/** A certificate authority whose key is in our hands. */

import { createHash, type KeyObject, X509Certificate } from "node:crypto";
import { type Problem, raise } from "../core/errors.ts";
import { fingerprintOf } from "../core/fingerprint.ts";
import { normaliseSerial } from "../core/serial.ts";
import type { Clock } from "../ports/clock.ts";
import type { Issue, IssuedCertificate, IssueRequest, RootCertificate } from "../ports/provider.ts";
import { encodeName, randomSerial, signatureFor, signCertificate } from "./certificate.ts";
import { type KeyUsage, keyId } from "./extensions.ts";
import { subjectDer } from "./inspect.ts";
import { certificatePem, type ParsedCertificate, parseOne } from "./pem.ts";

/** Organization in the leaves of OSM v1.3. */
export const DEFAULT_ORGANIZATION = "Open Service Mesh";

export type AuthorityOptions = {
  /** Exactly one certificate. */
  readonly certificatePem: string;
  readonly privateKey: KeyObject;
  readonly clock: Pick<Clock, "now">;
  /** Organization in the subject of what it issues. */
  readonly organization?: string | undefined;
};

/** A root, and the way to have something signed under it. */
export type LocalAuthority = RootCertificate & { readonly issue: Issue };

/**
 * Signs what chains to exactly this root, within its life (MR3002, MR3003). Throws MR3005 when the PEM isn't one certificate, MR3001 when it is no CA or the key
 * isn't its key. An expired root makes an authority all the same, because peers may still trust it: only issuing fails.
 */
export function localAuthority(options: AuthorityOptions): LocalAuthority {
  const { privateKey, clock, organization = DEFAULT_ORGANIZATION } = options;
  const root = parseOne(options.certificatePem, "the CA certificate");
  raise(caProblem(root, privateKey));
  const issuer = subjectDer(root.x509);
  // What AKI has to repeat is what the root says of itself; only a root without SKI leaves the choice to us.
  const authorityKeyId = root.subjectKeyId ?? keyId(root.x509.publicKey);

  async function issue(request: IssueRequest): Promise<IssuedCertificate> {
    raise(issueProblem(request, root, clock.now()));
    const { publicKey } = request;
    const notAfter = Math.min(request.notAfter, root.notAfter);
    const der = await signCertificate(
      {
        serial: randomSerial(),
        issuer,
        subject: encodeName({ organization, commonName: request.commonName }),
        notBefore: request.notBefore,
        notAfter,
        publicKey,
        isCa: false,
        keyUsage: leafKeyUsage(publicKey),
        extKeyUsage: request.usages,
        dnsNames: request.dnsNames,
        uris: request.uris,
        subjectKeyId: keyId(publicKey),
        authorityKeyId,
      },
      privateKey,
    );
    const leaf = new X509Certificate(der);
    return {
      chainPem: certificatePem(der),
      fingerprint: fingerprintOf(leaf),
      serial: normaliseSerial(leaf.serialNumber),
      notBefore: leaf.validFromDate.getTime(),
      notAfter: leaf.validToDate.getTime(),
    };
  }

  const { fingerprint, serial, notBefore, notAfter, pem } = root;
  const spki = root.x509.publicKey.export({ type: "spki", format: "der" });
  const issuerId = createHash("sha256").update(issuer).update(spki).update(authorityKeyId).digest("hex");
  return { fingerprint, issuerId, certificatePem: pem, serial, notBefore, notAfter, issue };
}

function caProblem(root: ParsedCertificate, key: KeyObject): Problem | undefined {
  if (!root.isCa) {
    const hint = "Give a certificate with basicConstraints CA:TRUE and, where it has key usages, keyCertSign.";
    return { code: "MR3001", message: `${root.subject} is not a CA certificate`, hint };
  }
  if (!root.x509.checkPrivateKey(key)) {
    const hint = "Give certificate and private key of one and the same CA.";
    return { code: "MR3001", message: `the private key does not belong to the certificate of ${root.subject}`, hint };
  }
  if (signatureFor(key) === undefined) {
    const hint = "Make a CA with an RSA, P-256, P-384 or P-521 key; another key needs another root certificate.";
    const { namedCurve } = key.asymmetricKeyDetails ?? {};
    const kind = namedCurve === undefined ? `of type ${key.asymmetricKeyType}` : `on the curve ${namedCurve}`;
    const message = `the CA key is ${kind}, which Envoy does not verify`;
    return { code: "MR3001", message, hint };
  }
  return undefined;
}

function issueProblem(request: IssueRequest, root: ParsedCertificate, now: number): Problem | undefined {
  const name = `root ${root.subject} (serial ${root.serial})`;
  const at = (ms: number): string => new Date(ms).toISOString();
  if (now >= root.notAfter) {
    const hint = "Make a new root and rotate to it; this one can be trusted but not sign any more.";
    return { code: "MR3002", message: `${name} expired at ${at(root.notAfter)}`, hint };
  }
  if (now < root.notBefore) {
    const hint = "Check this machine's clock, or wait until then before the root becomes active.";
    return { code: "MR3003", message: `${name} is not valid before ${at(root.notBefore)}`, hint };
  }
  if (Math.min(request.notAfter, root.notAfter) <= request.notBefore) {
    const hint = "Ask for a validity that is longer than zero.";
    return { code: "MR3004", message: `a certificate for ${request.commonName} would end before it begins`, hint };
  }
  // Both kinds of SAN are IA5String; anything above would be cut to a byte and become another name.
  const odd = [...request.dnsNames, ...request.uris].find((text) => !/^[\x21-\x7e]+$/.test(text));
  if (odd !== undefined) {
    const hint = "Use printable ASCII without spaces in trust domains, namespaces and host names.";
    return { code: "MR3004", message: `${JSON.stringify(odd)} can't be a subject alternative name`, hint };
  }
  return undefined;
}

/** An EC key doesn't encipher keys: RFC 8813 3 forbids to say so, where OSM's RSA leaves need it. */
function leafKeyUsage(publicKey: KeyObject): readonly KeyUsage[] {
  return publicKey.asymmetricKeyType === "rsa" ? ["digitalSignature", "keyEncipherment"] : ["digitalSignature"];
}
