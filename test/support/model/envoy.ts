/**
 * A simulated Envoy: what it stores, what its TLS contexts run, and how it answers (evidence.md, last section but one).
 * It knows nothing of the server's code: it sees bytes only.
 */

import { type DecodedSecret, decodeSecret } from "../../../src/secrets/secret-codec.ts";

/** How long a handshake begun before an ACK may still finish with what was loaded before (E11): Envoy's connect_timeout. */
export const CONNECT_TIMEOUT_MS = 5_000;

export type LoadedLeaf = {
  readonly kind: "leaf";
  readonly version: string;
  readonly root: string;
  readonly san: string;
  readonly notAfter: number;
};
export type LoadedBundle = {
  readonly kind: "bundle";
  readonly version: string;
  readonly roots: readonly string[];
  /** Empty: this context matches no SAN. */
  readonly sans: readonly string[];
};
export type Loaded = LoadedLeaf | LoadedBundle;

/** One TLS context. Handshakes that begin in [since, until) use it. */
export type Context = {
  readonly leaf: LoadedLeaf;
  readonly bundle: LoadedBundle;
  readonly since: number;
  until: number;
};

/** The context whose matchers are its own. */
export const OWN = "own";

/** Which secrets a context is made of. The outbound one is missing in a proxy that only serves. */
export type ContextShape = { readonly leaf: string; readonly bundle: string };

export class SimulatedEnvoy {
  readonly shapes: Readonly<Record<string, ContextShape>>;
  readonly contexts = new Map<string, Context[]>();
  /** The last bytes per name, refused or not; kept over reconnects (X1). */
  readonly stored = new Map<string, { readonly bytes: string; readonly content: Loaded }>();
  /** What it reports on reconnect. */
  readonly accepted = new Map<string, string>();
  /** Contents (by version) that it can't load at present. */
  readonly poisoned = new Set<string>();
  /** SANs that its own configuration matches in the context called `own`, beside the bundle. */
  ownSans: readonly string[] = [];
  /** Rises whenever a context changes. */
  changes = 0;
  #poisonNext = 0;

  constructor(shapes: Readonly<Record<string, ContextShape>>) {
    this.shapes = shapes;
  }

  /** Takes one secret; returns Envoy's error text, or undefined: accepted. */
  take(version: string, any: Buffer, asked: readonly string[], now: number): string | undefined {
    const bytes = any.toString("latin1");
    const secret = decodeSecret(any);
    const { name } = secret;
    // It came late: nobody asks for it any more.
    if (!asked.includes(name)) return undefined;
    if (this.stored.get(name)?.bytes !== bytes) {
      const content = contentOf(secret, version);
      if (this.#poisonNext > 0) {
        this.#poisonNext -= 1;
        this.poisoned.add(version);
      }
      // Stored before it is applied: what is refused stays, and goes live when its companion is replaced (X7).
      this.stored.set(name, { bytes, content });
      const error = this.rebuild(now, name);
      if (error !== undefined) return error;
    }
    this.accepted.set(name, version);
    return undefined;
  }

  /** Builds the contexts that use `name` (all without it) from what is stored. The first that fails ends it. */
  rebuild(now: number, name?: string): string | undefined {
    for (const [key, shape] of Object.entries(this.shapes)) {
      if (name !== undefined && name !== shape.leaf && name !== shape.bundle) continue;
      const leaf = this.stored.get(shape.leaf)?.content;
      const bundle = this.stored.get(shape.bundle)?.content;
      // With one half only nothing is looked at, however bad it is (X6).
      if (leaf?.kind !== "leaf" || bundle?.kind !== "bundle") continue;
      if (this.poisoned.has(bundle.version)) return "Failed to load trusted CA certificates from <inline>";
      if (this.poisoned.has(leaf.version)) return "Failed to load private key from <inline>";
      const loaded = key === OWN ? { ...bundle, sans: [...bundle.sans, ...this.ownSans] } : bundle;
      const list = (this.contexts.get(key) ?? []).filter((context) => context.until > now - CONNECT_TIMEOUT_MS);
      const current = list.at(-1);
      this.changes += 1;
      if (current !== undefined) current.until = now;
      this.contexts.set(key, [...list, { leaf, bundle: loaded, since: now, until: Number.POSITIVE_INFINITY }]);
    }
    return undefined;
  }

  /** So many contents to come can't be loaded, until it is mended. */
  poison(contents: number): void {
    this.#poisonNext = contents;
  }

  mend(): void {
    this.poisoned.clear();
    this.#poisonNext = 0;
  }

  /** A new process: nothing is left but its identity. */
  restart(): void {
    this.changes += 1;
    for (const part of [this.contexts, this.stored, this.accepted]) part.clear();
    this.mend();
  }

  /** A context is no longer configured, and one of its secrets no longer asked for. */
  drop(context: string, name: string): void {
    this.changes += 1;
    this.contexts.delete(context);
    this.stored.delete(name);
    this.accepted.delete(name);
  }

  /** A removal is acknowledged and the old value kept. */
  remove(name: string): void {
    this.accepted.delete(name);
  }

  live(key: string): Context | undefined {
    return this.contexts.get(key)?.at(-1);
  }
}

/** The fake certificates of this model say in plain words what a real one says in ASN.1. */
export function leafText(leaf: { root: string; san: string; notAfter: number; serial: string }): string {
  return `LEAF ${leaf.root} ${leaf.san} ${leaf.notAfter} ${leaf.serial}\n`;
}

export function rootText(fingerprint: string): string {
  return `ROOT ${fingerprint}\n`;
}

/** What a secret means to whoever loads it. */
export function contentOf(secret: DecodedSecret, version: string): Loaded {
  if (secret.kind === "tlsCertificate") {
    const [, root = "", san = "", notAfter = ""] = /^LEAF (\S+) (\S+) (\d+) /m.exec(secret.chainPem) ?? [];
    return { kind: "leaf", version, root, san, notAfter: Number(notAfter) };
  }
  if (secret.kind !== "validationContext") throw new Error(`model: a secret of kind ${secret.kind}`);
  const roots = [...secret.trustedCaPem.matchAll(/^ROOT (\S+)$/gm)].map((match) => match[1] ?? "");
  return { kind: "bundle", version, roots, sans: secret.sans.map((san) => `${san.type}:${san.value}`) };
}
