/** A SecretStore in memory. As a real store does, it awaits before it acts, so that callers can race. */

import type { SecretRef } from "../../src/core/roots/mesh-root.ts";
import type { Secret, SecretStore } from "../../src/ports/store.ts";

export type MemorySecretStore = SecretStore & {
  /** What is stored, by `namespace/name`. */
  readonly secrets: Map<string, Secret>;
  /** Every call that would change something, in order: `createOrLoad ns/name`. */
  readonly writes: string[];
};

export function memorySecretStore(initial: readonly Secret[] = []): MemorySecretStore {
  const nameOf = (ref: SecretRef): string => `${ref.namespace}/${ref.name}`;
  const secrets = new Map(initial.map((secret) => [nameOf(secret), secret]));
  const writes: string[] = [];
  return {
    secrets,
    writes,
    async read(ref) {
      await Promise.resolve();
      return secrets.get(nameOf(ref));
    },
    async createOrLoad(secret) {
      await Promise.resolve();
      writes.push(`createOrLoad ${nameOf(secret)}`);
      const stored = secrets.get(nameOf(secret)) ?? secret;
      secrets.set(nameOf(secret), stored);
      return stored;
    },
    async write(secret) {
      await Promise.resolve();
      writes.push(`write ${nameOf(secret)}`);
      secrets.set(nameOf(secret), secret);
    },
    async remove(ref) {
      await Promise.resolve();
      writes.push(`remove ${nameOf(ref)}`);
      secrets.delete(nameOf(ref));
    },
  };
}
