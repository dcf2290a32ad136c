/**
 * What the mesh needs from certificate authorities. A provider knows one kind of them (tresor, vault, certManager); what it can do
 * beyond the port is a capability, which it has or has not. The contract suite is test/providers/contract.ts: where this file is
 * silent, it decides.
 *
 * Who calls is controller/authority-keeper.ts alone. It looks at an authority every 30 s, 5 s after a look that failed, and makes
 * each call of `inspect`, `issue` and `create` through controller/provider-calls.ts.
 */

import type { KeyObject } from "node:crypto";
import type { Problem } from "../core/errors.ts";
import type { SanForm, ServiceIdentity } from "../core/identity.ts";
import type { ProviderSpec } from "../core/roots/mesh-root.ts";

export type KeyPair = { readonly privateKey: KeyObject; readonly publicKey: KeyObject };

/**
 * One certificate to be signed. The caller keeps the private key and decides names, usages and times. An authority adds what an
 * issuer adds (issuer, serial number, key ids, key usage, signature, and an organization if it has one), no other name, and may
 * shorten `notAfter`, never lengthen it.
 */
export type IssueRequest = {
  readonly commonName: string;
  readonly dnsNames: readonly string[];
  readonly uris: readonly string[];
  readonly usages: readonly ("serverAuth" | "clientAuth")[];
  readonly publicKey: KeyObject;
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

/** The root that a certificate authority shows. */
export type RootCertificate = {
  /** Of this certificate, as in `IssuedCertificate`; so are `serial` and the times. */
  readonly fingerprint: string;
  /** As in `TrustedRoot`. Without it, a CA that is reissued with its key counts as another one: that is slower, and safe. */
  readonly issuerId?: string | undefined;
  /** Exactly one certificate. PEM, ends with a newline. */
  readonly certificatePem: string;
  readonly serial: string;
  readonly notBefore: number;
  readonly notAfter: number;
};

/** Whether an authority would sign if it were asked now, as far as it can be told without having something signed. */
export type Health = { readonly kind: "signs" } | { readonly kind: "ails"; readonly problem: Problem };

export type Inspection = { readonly root: RootCertificate; readonly health: Health };

/**
 * The certificate authority behind one MRC. Several calls may be under way at one time.
 *
 * Each call MUST end soon after its signal. The caller waits no longer than its deadline, but counts a call as under way until it
 * has really ended, and has a limit for those. No error and no answer may hold a private key.
 *
 * Errors with the codes MR3002, MR3003, MR3004 and MR3007 are faults of what was asked for, or of the clock. Any other counts
 * against the authority, and several in a row bring a pause; one that is no `MeshrootError` is shown as MR3011.
 */
export type CertificateAuthority = {
  /**
   * What is there now; it may be another root than last time, and may have expired. Makes, mends and replaces nothing. Rejects with
   * MR3001 (corrupt), MR2005 (gone, or not readable) or MR1011 (not reachable).
   */
  inspect(signal: AbortSignal): Promise<Inspection>;
  /**
   * The certificate chains to the root that was inspected last; before a first look, to the one that it would show. Rejects with
   * MR3002 or MR3003 outside of that root's life, and with MR3004 for what it can't sign. The caller checks what comes back against
   * the root that it knows.
   */
  issue(request: IssueRequest, signal: AbortSignal): Promise<IssuedCertificate>;
};

/** A kind of certificate authority. */
export type CertificateProvider = {
  readonly kind: ProviderSpec["kind"];
  /**
   * Asks nobody anything: that begins with `inspect` or `issue`. One spec may be opened several times, and all of those be used at one
   * time. Throws MR1011 for an MRC of another kind.
   */
  open(spec: ProviderSpec): CertificateAuthority;
  /** Undefined: its CAs are made and ended by somebody else, and exist before their MRC. */
  readonly custody?: Custody;
};

/**
 * The capability of a provider that keeps the keys of its CAs in our own store. That store answers soon, so these calls take no signal;
 * nothing ends `has` and `destroy` but they themselves.
 */
export type Custody = {
  /** Something is there under this name, good or bad. */
  has(spec: ProviderSpec): Promise<boolean>;
  /** Makes the CA unless there is one. Safe to race: those who find none agree on one. */
  create(spec: ProviderSpec): Promise<void>;
  /**
   * Makes the private key unrecoverable if the provider made it, and leaves a CA that the operator brought untouched. Doing it
   * twice is no error.
   */
  destroy(spec: ProviderSpec): Promise<void>;
};

/** A certificate under some root, however it is asked for. */
export type Issue = (request: IssueRequest) => Promise<IssuedCertificate>;

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
  prove(rootPem: string, issue: Issue, request: ProofRequest): Promise<ProofVerdict>;
  /** MR1013: why `root` and `other` can't stand in one bundle; undefined where they can. */
  apart(root: NamedRoot, other: NamedRoot): Promise<Problem | undefined>;
};

export type NamedRoot = { readonly name: string; readonly certificatePem: string };
