/**
 * What meshroot needs from where a mesh is kept: one object with parts. Behind it are the files of a data directory
 * (stores/files/file-store.ts); test/stores/contract.ts holds what every store has to keep.
 *
 * K1, the one rule with a number here: a write of the trust names the revision that it was computed from, and conflicts where another
 * write came first.
 *
 * A store that replicas share will add parts of its own, which nothing here has yet:
 *   members   the Leases of replicas, and how one is counted out
 *   status    what each MeshRootCertificate's status says
 *   words     operators' words as objects, which the leader obeys once
 *   config    settings that can change while a server runs
 */

import type { Problem } from "../core/errors.ts";
import type { ServiceIdentity } from "../core/identity.ts";
import type { MeshRoot, Role, RootListing, SecretRef } from "../core/roots/mesh-root.ts";

export type Store = {
  /** Where it is, for people. */
  readonly place: string;
  /** Throws MR2002 where there is no store: looking at one must not make it. */
  mustExist(): Promise<void>;
  readonly leadership: Leadership;
  readonly trust: TrustStore;
  readonly evidence: EvidenceStore;
  readonly roots: RootSource;
  readonly rootEditing: RootEditing;
  readonly services: ServiceSource;
  readonly secrets: SecretStore;
  readonly audit: Audit;
  /** Ends what is open, and a leadership that was taken. Watches have been closed before. */
  close(): Promise<void>;
};

export type Leadership = {
  /**
   * Resolves once this process is the one that decides, until the store is closed. Waits for nobody: throws MR2001 while another one
   * does. Makes what is missing. Throws MR2002.
   */
  take(): Promise<void>;
};

/** What is stored, and the number of the write that stored it. */
export type Stored = { readonly revision: number; readonly value: unknown };

/** The trust in force: one object, written by compare-and-swap. Values are opaque to the store. */
export type TrustStore = {
  /** A consistent read, and what it returns is durable. Undefined in a mesh that has never begun. Throws MR2004. */
  read(): Promise<Stored | undefined>;
  /**
   * Replaces revision `expected` (undefined: nothing is there yet); durable when it resolves, with the new revision. Rejects with
   * MR2021 where another write came first: then nothing was written. Any other rejection leaves open whether it was. Revisions
   * rise with every write, also after one whose outcome is not known.
   */
  write(value: object, expected: number | undefined): Promise<number>;
};

/** `value`: anything that JSON can hold, opaque to the store; null removes the row. */
export type EvidenceRow = { readonly key: string; readonly value: unknown };

/** What each proxy may be running, written down before it is acted on (E7). */
export type EvidenceStore = {
  /** The live rows by key. Throws MR2004, also where there is a trust and its rows were lost. */
  read(): Promise<Map<string, unknown>>;
  /** Durable when it resolves; calls made at the same time share one write. Rows of one call, and calls, keep their order. */
  write(rows: readonly EvidenceRow[]): Promise<void>;
  /** Writes something that nobody reads: rejects where nothing could be written now. */
  probe?(): Promise<void>;
};

/** What the controller writes down, and reads back at its start: nothing watches what others write here. */
export type StateStore = Pick<Store, "trust" | "evidence">;

export type Watch = { close(): Promise<void> };

/** `onError`: a read that failed, a watch that broke. The last value stands, and it is tried again. */
type WatchIt<Value> = (onChange: (value: Value) => void, onError?: (error: unknown) => void) => Promise<Watch>;

export type RootSource = {
  /** All roots as they are now; one that can't be read is a problem in the list. Throws MR2002. */
  list(): Promise<RootListing>;
  /** Hands over the complete list, once before it resolves and after every change. */
  readonly watch: WatchIt<RootListing>;
};

export type RootEditing = {
  /** Runs `work` while nobody else edits roots; makes the store if need be. Throws MR2001, MR2002. */
  edit<Result>(work: (roots: RootEditor) => Promise<Result>): Promise<Result>;
};

/** Writes without checking the rules: whoever edits checks them first, on a list read under the same lock. */
export type RootEditor = {
  list(): Promise<RootListing>;
  /** `text`: its manifest, comments and all; default: one made from the root. Throws MR1010 where there is one of that name. */
  create(root: MeshRoot, text?: string): Promise<void>;
  /**
   * `forceUnsafe` sets the reason; without one, a reason that stands there is taken off, so that the gates hold again for this
   * change. Throws MR1009, MR2002.
   */
  setRole(root: MeshRoot, role: Role, options?: { readonly forceUnsafe?: string }): Promise<void>;
  /** Throws MR1009, MR2002. */
  remove(root: MeshRoot): Promise<void>;
};

/** `namespace/service` -> the identities behind it, each once. */
export type Services = ReadonlyMap<string, readonly ServiceIdentity[]>;
/** With problems, `services` is what was last read without any. */
export type ServicesRead = { readonly services: Services; readonly problems: readonly Problem[] };

export type ServiceSource = {
  /** Throws MR2006 where it can't be read at all. */
  read(): Promise<ServicesRead>;
  /** As the watch of roots. */
  readonly watch: WatchIt<ServicesRead>;
};

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

/** What people said and answer for, for whoever looks later. */
export type Audit = { write(fields: object, message: string): void };
