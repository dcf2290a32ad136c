/** What the controller needs from certificate authorities. Providers implement it. */

import type { KeyObject } from "node:crypto";
import type { Problem } from "../core/errors.ts";
import type { SanForm, ServiceIdentity } from "../core/identity.ts";
import type { MeshRoot, ProviderSpec } from "../core/roots/mesh-root.ts";

export type KeyPair = { readonly privateKey: KeyObject; readonly publicKey: KeyObject };

/**
 * One certificate to be signed. The caller makes the key and decides names and times; an authority adds issuer and
 * signature only, and may shorten `notAfter`, never lengthen it.
 */
export type IssueRequest = {
  readonly commonName: string;
  readonly dnsNames: readonly string[];
  readonly uris: readonly string[];
  readonly usages: readonly ("serverAuth" | "clientAuth")[];
  readonly keyPair: KeyPair;
  /** Milliseconds since the epoch. */
  readonly notBefore: number;
  readonly notAfter: number;
};

export type IssuedCertificate = {
  /** The leaf first, then intermediates if any; never the root. PEM, ends with a newline. */
  readonly chainPem: string;
  /** SHA-256 of the leaf's DER, 64 lower-case hex digits. */
  readonly fingerprint: string;
  /** As `openssl x509 -serial` and Envoy's /certs print it, lower-case hex without leading zeros. */
  readonly serial: string;
  /** What was really signed, milliseconds since the epoch. */
  readonly notBefore: number;
  readonly notAfter: number;
};

/**
 * The certificate authority behind one MRC, loaded and checked.
 *
 * MUST: sign every certificate so that it chains to exactly this root; cap notAfter to the root's; refuse (MR3002) when
 * the root has expired, (MR3003) when it is not valid yet. MUST NOT: change its root during its life (a root that was
 * exchanged underneath is another authority), hand out its private key, or put key material into an error.
 */
export type CertificateAuthority = {
  readonly fingerprint: string;
  /** As in `TrustedRoot`. */
  readonly issuerId?: string | undefined;
  readonly certificatePem: string;
  readonly serial: string;
  readonly notBefore: number;
  readonly notAfter: number;
  issue(request: IssueRequest): Promise<IssuedCertificate>;
};

/**
 * A kind of certificate authority (tresor, vault, certManager).
 *
 * `load` MUST be idempotent and safe to race: two callers that load the same new MRC get the same CA (create, and if
 * somebody was faster, load theirs). It throws MR3001 (corrupt), MR2005 (secret unreadable), MR1011 (not reachable);
 * it never replaces or repairs an existing CA. With `mustExist`, because the mesh has run on this CA before, it makes none
 * either, and throws MR2005 where there is none (any more).
 * `destroy` MUST make the private key unrecoverable by this provider if the provider made it, and leave a CA that the
 * operator brought untouched. Destroying twice is no error.
 */
export type CertificateProvider = {
  readonly kind: ProviderSpec["kind"];
  load(root: MeshRoot, options?: { readonly mustExist?: boolean }): Promise<CertificateAuthority>;
  destroy(spec: ProviderSpec): Promise<void>;
};

/** What certificates under a root will carry: the SAN form, and the identities that the mesh knows. */
export type ProofRequest = { readonly form: SanForm; readonly identities: readonly ServiceIdentity[] };

/**
 * `carried`: identities whose certificates verify; `any`: those of every other would too, because the root constrains no names.
 * `problem`: what a verifier refuses; others may be refused, too. `complete` is false where nothing could be tried, because the
 * root is not valid now.
 */
export type ProofVerdict = {
  readonly carried: readonly ServiceIdentity[];
  readonly any: boolean;
  readonly problem?: Problem;
  readonly complete: boolean;
};

/** Puts roots to the proof before the mesh trusts them, whatever provider they come from. */
export type RootProver = {
  /** Has certificates of every kind issued and verified. Throws what `issue` throws. */
  prove(authority: CertificateAuthority, request: ProofRequest): Promise<ProofVerdict>;
  /** MR1013: why `root` and `other` can't stand in one bundle; undefined where they can. */
  apart(root: NamedRoot, other: NamedRoot): Promise<Problem | undefined>;
};

export type NamedRoot = { readonly name: string; readonly certificatePem: string };
