/** What the controller needs from the outside, in its own words. Adapters (stores, providers) implement these. */

import type { KeyObject } from "node:crypto";
import type { ClockSpan } from "../core/clock-check.ts";
import type { Problem } from "../core/errors.ts";
import type { SanForm, ServiceIdentity } from "../core/identity.ts";
import type { MeshRoot, ProviderSpec, SecretRef } from "../core/mesh-root.ts";

/** Wall clock in milliseconds since the epoch, and timers. Tests pass their own. */
export type Clock = {
  now(): number;
  /** Calls back once after `ms` milliseconds; the returned function cancels. */
  after(ms: number, callback: () => void): () => void;
  /** Milliseconds of a clock that nobody sets, to check the wall clock by. */
  monotonic?(): number;
  /** What the time may be, where the clock is checked (checked-clock.ts). */
  span?(): ClockSpan;
};

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

/** An Opaque or TLS secret; `data` values are the raw (not base64) bytes. */
export type Secret = SecretRef & {
  readonly data: Readonly<Record<string, Buffer>>;
  readonly labels?: Readonly<Record<string, string>>;
};

export type SecretStore = {
  read(ref: SecretRef): Promise<Secret | undefined>;
  /** Creates it if there is none; returns what is stored afterwards, which may be somebody else's. */
  createOrLoad(secret: Secret): Promise<Secret>;
  /** Creates or replaces it. */
  write(secret: Secret): Promise<void>;
  /** Removes it; no error when there is none. */
  remove(ref: SecretRef): Promise<void>;
};

/** Label on secrets that meshroot made itself, and so may delete. */
export const MANAGED_BY = { key: "app.kubernetes.io/managed-by", value: "meshroot" } as const;

/** What is written down before it is acted on (E7). Values are opaque to the store. */
export type StateStore = {
  loadTrust(): Promise<unknown | undefined>;
  /** Durable when it resolves. */
  saveTrust(value: object): Promise<void>;
  loadRows(): Promise<Map<string, unknown>>;
  /** Durable when it resolves; calls made at the same time share one write. `null` removes a row. */
  writeRows(rows: readonly { readonly key: string; readonly value: unknown }[]): Promise<void>;
  /** Writes something that nobody reads: rejects where nothing could be written now. */
  probe?(): Promise<void>;
};

/** The part of a logger that the controller uses; pino fits. */
export type Log = {
  debug(fields: object, message: string): void;
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
  error(fields: object, message: string): void;
};
