/**
 * A provider whose CAs are somebody else's, as Vault's and cert-manager's are: they are there before their MRC, answer after a
 * while, hang, fail, and may have another root from one moment to the next.
 */

import { MeshrootError } from "../../src/core/errors.ts";
import type { ProviderSpec } from "../../src/core/roots/mesh-root.ts";
import type { KeyAlgorithm } from "../../src/pki/keys.ts";
import { type LocalAuthority, localAuthority } from "../../src/pki/local-authority.ts";
import { createRootCa } from "../../src/pki/root-ca.ts";
import type { Clock } from "../../src/ports/clock.ts";
import type { CertificateProvider, Health } from "../../src/ports/provider.ts";

/** prompt: answers at once. slow: when it is let. hangs: never, not even at its signal's end. deaf: at its signal's end. */
export type Mood = "prompt" | "slow" | "hangs" | "deaf" | "fails";

const YEAR_MS = 365 * 86_400_000;

/** One CA, in a mood of its own. */
export class ScriptedCa {
  mood: Mood = "prompt";
  health: Health = { kind: "signs" };
  /** It says that it signs, and does not where this is false. */
  signs = true;
  /** Calls in the order in which they came, and how many of them are not answered yet. */
  readonly calls: ("inspect" | "issue")[] = [];
  pending = 0;
  #root: LocalAuthority;
  #waiting: (() => void)[] = [];
  readonly #make: () => Promise<LocalAuthority>;

  private constructor(root: LocalAuthority, make: () => Promise<LocalAuthority>) {
    this.#root = root;
    this.#make = make;
  }

  static async create(clock: Clock, algorithm: KeyAlgorithm = "ec-p256"): Promise<ScriptedCa> {
    const make = async () => {
      const life = { validityMs: YEAR_MS, now: clock.now() };
      const made = await createRootCa({ commonName: "scripted", organization: "Test", algorithm, ...life });
      return localAuthority({ certificatePem: made.certificatePem, privateKey: made.keyPair.privateKey, clock });
    };
    return new ScriptedCa(await make(), make);
  }

  get root(): LocalAuthority {
    return this.#root;
  }

  /** Behind our back. */
  async changeRoot(): Promise<void> {
    this.#root = await this.#make();
  }

  putBack(root: LocalAuthority): void {
    this.#root = root;
  }

  /** Answers what waits, and is prompt from now on. */
  recover(): void {
    this.mood = "prompt";
    for (const resolve of this.#waiting.splice(0)) resolve();
  }

  async answer<Value>(
    call: "inspect" | "issue",
    signal: AbortSignal,
    value: () => Value | Promise<Value>,
  ): Promise<Value> {
    this.calls.push(call);
    this.pending += 1;
    try {
      if (this.mood === "hangs") await new Promise(() => undefined);
      if (this.mood === "slow") await new Promise<void>((resolve) => this.#waiting.push(resolve));
      if (this.mood === "deaf")
        await new Promise((_, reject) => signal.addEventListener("abort", () => reject(signal.reason)));
      if (this.mood === "fails" || (call === "issue" && !this.signs))
        throw new MeshrootError("MR1011", "the CA does not answer: ECONNREFUSED", "Start it.");
      return await value();
    } finally {
      this.pending -= 1;
    }
  }
}

/** `cas` by the `role` of an MRC of kind vault: the spec of `scriptedSpec`. */
export function scriptedProvider(cas: ReadonlyMap<string, ScriptedCa>): CertificateProvider {
  return {
    kind: "vault",
    open(spec) {
      const ca = spec.kind === "vault" ? cas.get(spec.role) : undefined;
      if (ca === undefined) throw new MeshrootError("MR1011", `no scripted CA for ${spec.kind}`, "Give it one.");
      return {
        inspect: (signal) =>
          ca.answer("inspect", signal, () => {
            const { issue: _, ...root } = ca.root;
            return { root, health: ca.health };
          }),
        issue: (request, signal) => ca.answer("issue", signal, () => ca.root.issue(request)),
      };
    },
  };
}

export function scriptedSpec(name: string): ProviderSpec {
  const tokenSecretKeyRef = { name: "token", namespace: "osm-system", key: "token" };
  return { kind: "vault", host: "vault.test", port: 8200, protocol: "https", role: name, tokenSecretKeyRef };
}
