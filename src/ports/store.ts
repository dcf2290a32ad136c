/** What the controller needs from a store. */

import type { SecretRef } from "../core/roots/mesh-root.ts";

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
