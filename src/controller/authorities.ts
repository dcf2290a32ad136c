/** The certificate authorities behind the MRCs: loaded once each, asked for leaves, destroyed with their MRC. */

import { MeshrootError, type Problem } from "../core/errors.ts";
import type { SanForm } from "../core/identity.ts";
import type { MeshRoot, ProviderSpec } from "../core/mesh-root.ts";
import { type RootId, rootId, type TrustedRoot } from "../core/trust.ts";
import type { CertificateAuthority, CertificateProvider, Clock, Log } from "./ports.ts";

/** An editor may take a file away and put it back while saving; only what stays away this long was deleted. */
const DELETED_AFTER_MS = 5_000;
const RETRY_MS = 5_000;

export class Authorities {
  /** By name of the MRC. */
  readonly trusted = new Map<string, TrustedRoot>();
  readonly problems = new Map<string, Problem>();
  readonly #byRoot = new Map<RootId, CertificateAuthority>();
  readonly #providers: ReadonlyMap<string, CertificateProvider>;
  readonly #clock: Clock;
  readonly #log: Log;
  readonly #failedAt = new Map<string, number>();
  readonly #missingSince = new Map<string, number>();

  constructor(deps: { providers: readonly CertificateProvider[]; clock: Clock; log: Log }) {
    this.#providers = new Map(deps.providers.map((provider) => [provider.kind, provider]));
    this.#clock = deps.clock;
    this.#log = deps.log;
  }

  /** Loads (or makes) what is not loaded yet. A failure becomes a problem of its root and is tried again, or is thrown. */
  async load(roots: readonly MeshRoot[], throwing: boolean): Promise<void> {
    const now = this.#clock.now();
    for (const root of roots) {
      if (this.trusted.has(root.name) || now < (this.#failedAt.get(root.name) ?? 0) + RETRY_MS) continue;
      try {
        await this.#loadOne(root);
        this.problems.delete(root.name);
        this.#failedAt.delete(root.name);
      } catch (error) {
        if (throwing || !(error instanceof MeshrootError)) throw error;
        this.#failedAt.set(root.name, this.#clock.now());
        if (!this.problems.has(root.name))
          this.#log.error(
            { component: "provider", root: root.name, err: error },
            `root ${root.name}: ${error.message}`,
          );
        this.problems.set(root.name, {
          code: error.code,
          message: `root ${root.name}: ${error.message}`,
          hint: error.hint,
        });
      }
    }
  }

  async #loadOne(root: MeshRoot): Promise<void> {
    const provider = this.#providers.get(root.provider.kind);
    if (provider === undefined) {
      throw new MeshrootError(
        "MR1011",
        `provider ${root.provider.kind} is not available in this version`,
        "use provider tresor",
      );
    }
    const authority = await provider.load(root);
    const form = { trustDomain: root.trustDomain, spiffe: root.spiffeEnabled };
    const id = rootId(authority.fingerprint, form);
    const { fingerprint, serial, certificatePem, notBefore, notAfter } = authority;
    this.#byRoot.set(id, authority);
    this.trusted.set(root.name, {
      id,
      name: root.name,
      fingerprint,
      serial,
      form,
      certificatePem,
      notBefore,
      notAfter,
    });
  }

  canSign(root: RootId, now: number): boolean {
    const authority = this.#byRoot.get(root);
    return authority !== undefined && authority.notBefore <= now && now < authority.notAfter;
  }

  /** Throws MR3004 when this root's key is not here (any more). */
  authority(root: RootId): CertificateAuthority {
    const authority = this.#byRoot.get(root);
    if (authority === undefined) throw this.#unavailable();
    return authority;
  }

  /** The SAN form that leaves of this root carry. Throws as `authority` does. */
  formOf(root: RootId): SanForm {
    const found = [...this.trusted.values()].find((candidate) => candidate.id === root);
    if (found === undefined) throw this.#unavailable();
    return found.form;
  }

  #unavailable(): MeshrootError {
    const hint = "restore its secret, or rotate to another root";
    return new MeshrootError("MR3004", "the key of the signing root is not available", hint);
  }

  /** A file edited by hand may change what must not change once a root was used: MR1005. */
  changedUnderneath(roots: readonly MeshRoot[], specs: ReadonlyMap<string, ProviderSpec>): Problem | undefined {
    for (const root of roots) {
      const spec = specs.get(root.name);
      const form = this.trusted.get(root.name)?.form;
      const sameForm =
        form === undefined || (form.trustDomain === root.trustDomain && form.spiffe === root.spiffeEnabled);
      if (sameForm && (spec === undefined || JSON.stringify(spec) === JSON.stringify(root.provider))) continue;
      return {
        code: "MR1005",
        message: `root ${root.name} was edited: only its role may change`,
        hint: "undo the edit, and create another MeshRootCertificate with the new settings",
      };
    }
    return undefined;
  }

  /**
   * Destroys the authorities of MRCs that are in `specs` and no longer among `roots`, but for the one named `signer` and
   * those that another MRC shares. Returns the names it is done with.
   */
  async destroyDeleted(
    roots: readonly MeshRoot[],
    specs: ReadonlyMap<string, ProviderSpec>,
    signer: string | undefined,
    now: number,
  ): Promise<string[]> {
    const present = new Set(roots.map((root) => root.name));
    const shared = new Set(roots.map((root) => JSON.stringify(root.provider)));
    const done: string[] = [];
    for (const name of present) this.#missingSince.delete(name);
    for (const [name, spec] of specs) {
      if (present.has(name)) continue;
      const since = this.#missingSince.get(name) ?? now;
      this.#missingSince.set(name, since);
      if (now < since + DELETED_AFTER_MS || name === signer) continue;
      if (!shared.has(JSON.stringify(spec))) await this.#providers.get(spec.kind)?.destroy(spec);
      const id = this.trusted.get(name)?.id;
      this.trusted.delete(name);
      if (id !== undefined && ![...this.trusted.values()].some((root) => root.id === id)) this.#byRoot.delete(id);
      this.#missingSince.delete(name);
      done.push(name);
    }
    return done;
  }
}
