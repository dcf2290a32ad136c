/** The certificate authorities behind the MRCs: loaded once each, asked for leaves, destroyed with their MRC. */

import { MeshrootError, type Problem, raise } from "../core/errors.ts";
import type { SanForm, ServiceIdentity } from "../core/identity.ts";
import { isInUse, type MeshRoot, type ProviderSpec } from "../core/roots/mesh-root.ts";
import { signerEndsSoon } from "../core/roots/root-life.ts";
import { type RootId, rootId, type TrustedRoot, type TrustInForce } from "../core/roots/trust.ts";
import type { Clock } from "../ports/clock.ts";
import type { Log } from "../ports/log.ts";
import type { CertificateAuthority, CertificateProvider } from "../ports/provider.ts";
import type { RootProofs, ServiceNames } from "./root-proofs.ts";

/** An editor may take a file away and put it back while saving; only what stays away this long was deleted. */
const DELETED_AFTER_MS = 5_000;
const RETRY_MS = 5_000;
const NO_NAMES: ServiceNames = new Map();

/** What the mesh has run on until now. */
export type Known = { readonly specs: ReadonlyMap<string, ProviderSpec>; readonly trust: TrustInForce };

export class Authorities {
  /** By name of the MRC. */
  readonly trusted = new Map<string, TrustedRoot>();
  readonly problems = new Map<string, Problem & { readonly root: string }>();
  readonly #byRoot = new Map<RootId, CertificateAuthority>();
  readonly #providers: ReadonlyMap<string, CertificateProvider>;
  readonly #clock: Clock;
  readonly #log: Log;
  readonly #failedAt = new Map<string, number>();
  readonly #missingSince = new Map<string, number>();

  /** By id: what is wrong with a root in force, that would keep it from getting there today. */
  readonly unfit = new Map<RootId, Problem>();
  readonly #proofs: RootProofs;

  constructor(deps: { providers: readonly CertificateProvider[]; proofs: RootProofs; clock: Clock; log: Log }) {
    this.#proofs = deps.proofs;
    this.#providers = new Map(deps.providers.map((provider) => [provider.kind, provider]));
    this.#clock = deps.clock;
    this.#log = deps.log;
  }

  /**
   * Loads (or, unless it is `known`, makes) what is not loaded yet. A failure becomes a problem of its root and is tried
   * again; without anything known, on the first start of a mesh, it is thrown.
   */
  async load(roots: readonly MeshRoot[], known: Known | undefined, names: ServiceNames = NO_NAMES): Promise<void> {
    const now = this.#clock.now();
    for (const root of roots) {
      // By the distance: a clock that was set back puts no try off.
      const sinceFailed = Math.abs(now - (this.#failedAt.get(root.name) ?? 0));
      if (sinceFailed < RETRY_MS) continue;
      try {
        if (!this.trusted.has(root.name)) await this.#loadOne(root, known);
        if (isInUse(root)) await this.#prove(root, roots, known?.trust, names);
        this.problems.delete(root.name);
        this.#failedAt.delete(root.name);
      } catch (error) {
        if (known === undefined || !(error instanceof MeshrootError)) throw error;
        this.#failedAt.set(root.name, this.#clock.now());
        const { code, hint } = error;
        const message = named(root.name, error.message.slice(code.length + 1));
        if (this.problems.get(root.name)?.message !== message)
          this.#log.error({ component: "provider", root: root.name, code, hint }, `${code} ${message}`);
        this.problems.set(root.name, { code, message, hint, root: root.name });
      }
    }
  }

  /**
   * Nothing enters a bundle that could not carry this mesh: one that is not in force yet is let go of again, and refused. What is
   * in force stays there, and is called unfit. Throws what is wrong with the former.
   */
  async #prove(root: MeshRoot, roots: readonly MeshRoot[], trust: TrustInForce | undefined, names: ServiceNames) {
    const record = this.trusted.get(root.name);
    const authority = record && this.#byRoot.get(record.id);
    if (record === undefined || authority === undefined) return;
    const isInForce = trust?.mesh.includes(record.id) === true;
    try {
      const problem =
        (await this.#proofs.problemWith(record, authority, names)) ??
        (isInForce ? undefined : this.#proofs.lifeProblem(record, root, this.#clock.now())) ??
        (isInForce ? undefined : await this.#proofs.twin(record, this.#besides(root, roots, trust)));
      if (isInForce && problem !== undefined) this.unfit.set(record.id, problem);
      else this.unfit.delete(record.id);
      if (!isInForce) raise(problem && { ...problem, message: named(root.name, problem.message) });
    } catch (error) {
      // A CA that can't be reached for the proof is no reason to doubt a root that the mesh runs on.
      if (isInForce && error instanceof MeshrootError) return;
      this.#letGo(root.name);
      throw error;
    }
  }

  /** The roots that it would stand beside: those in force, and those in use that come before it. */
  #besides(root: MeshRoot, roots: readonly MeshRoot[], trust: TrustInForce | undefined): TrustedRoot[] {
    const before = roots.slice(0, roots.indexOf(root)).filter(isInUse);
    return [...Object.values(trust?.roots ?? {}), ...before.flatMap(({ name }) => this.trusted.get(name) ?? [])];
  }

  #letGo(name: string): void {
    const id = this.trusted.get(name)?.id;
    this.trusted.delete(name);
    if (id !== undefined && ![...this.trusted.values()].some((root) => root.id === id)) this.#byRoot.delete(id);
  }

  /** As `load` would, for a root whose CA exists already, and without keeping anything. Throws why it would be refused. */
  async examine(root: MeshRoot, trust: TrustInForce | undefined, names: ServiceNames): Promise<void> {
    const authority = await this.#providerOf(root).load(root, { mustExist: true });
    const record = recordOf(root, authority);
    const isInForce = trust?.mesh.includes(record.id) === true;
    if (isInForce) return;
    const problem = await this.#proofs.problemWith(record, authority, names);
    raise(problem && { ...problem, message: named(root.name, problem.message) });
    raise(this.#proofs.lifeProblem(record, root, this.#clock.now()));
    raise(await this.#proofs.twin(record, Object.values(trust?.roots ?? {})));
  }

  /** Why nothing may be issued for this identity under this root (MR3007, MR3006). Throws as `authority` does. */
  async refusalOf(identity: ServiceIdentity, id: RootId): Promise<Problem | undefined> {
    const record = [...this.trusted.values()].find((root) => root.id === id);
    return record && this.#proofs.problemFor(record, this.authority(id), identity);
  }

  /** Why the signer should not move to this root, although it could sign. */
  unfitToSign(root: TrustedRoot, declared: MeshRoot | undefined, now: number): Problem | undefined {
    return this.unfit.get(root.id) ?? this.#proofs.lifeProblem(root, declared, now);
  }

  /** MR3009: this root, the signer, ends before the mesh could rotate away from it in peace. */
  endsSoon(signer: TrustedRoot, now: number): Problem | undefined {
    return signerEndsSoon(signer, now, this.#proofs.neededLifeMs);
  }

  async #loadOne(root: MeshRoot, known: Known | undefined): Promise<void> {
    const provider = this.#providerOf(root);
    const mustExist = known?.specs.has(root.name) === true;
    const before = Object.values(known?.trust.roots ?? {}).find((record) => record.name === root.name)?.form;
    if (mustExist && before !== undefined && !sameForm(before, root)) throw MeshrootError.from(edited(root.name));
    const authority = await provider.load(root, { mustExist });
    const record = recordOf(root, authority);
    this.#byRoot.set(record.id, authority);
    this.trusted.set(root.name, record);
  }

  #providerOf({ provider: { kind } }: MeshRoot): CertificateProvider {
    const provider = this.#providers.get(kind);
    if (provider !== undefined) return provider;
    throw new MeshrootError("MR1011", `provider ${kind} is not available in this version`, "Use provider tresor.");
  }

  /** Why nothing can be signed under this root now; undefined where it can. */
  signingProblem({ id, name }: Pick<TrustedRoot, "id" | "name">, now: number): Problem | undefined {
    const authority = this.#byRoot.get(id);
    const at = (ms: number) => new Date(ms).toISOString();
    if (authority === undefined) {
      const hint = `Put its manifest back, or give another root the role active and let it take over.`;
      return this.problems.get(name) ?? { code: "MR3004", message: `root ${name}: its key is not available`, hint };
    }
    if (now >= authority.notAfter) {
      const hint = `Create another root (\`meshroot root create\`), make it active once proxies trust it, and retire this one.`;
      return { code: "MR3002", message: `root ${name} expired at ${at(authority.notAfter)}`, hint };
    }
    if (now < authority.notBefore) {
      const hint = `Check this machine's clock (it says ${at(now)}); if it is right, wait or rotate to another root.`;
      return { code: "MR3003", message: `root ${name} is not valid before ${at(authority.notBefore)}`, hint };
    }
    return undefined;
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
    const hint = "Restore its secret, or rotate to another root.";
    return new MeshrootError("MR3004", "the key of the signing root is not available", hint);
  }

  /** A file edited by hand may change what must not change once a root was used: MR1005. */
  changedUnderneath(roots: readonly MeshRoot[], specs: ReadonlyMap<string, ProviderSpec>): Problem | undefined {
    for (const root of roots) {
      const spec = specs.get(root.name);
      const form = this.trusted.get(root.name)?.form;
      const isSameForm = form === undefined || sameForm(form, root);
      if (isSameForm && (spec === undefined || sameSpec(spec, root.provider))) continue;
      return edited(root.name);
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
    const done: string[] = [];
    for (const name of present) this.#missingSince.delete(name);
    for (const [name, spec] of specs) {
      if (present.has(name)) continue;
      const since = Math.min(this.#missingSince.get(name) ?? now, now);
      this.#missingSince.set(name, since);
      if (now < since + DELETED_AFTER_MS || name === signer) continue;
      if (!roots.some(({ provider }) => sameSpec(spec, provider))) await this.#providers.get(spec.kind)?.destroy(spec);
      this.#letGo(name);
      this.#missingSince.delete(name);
      done.push(name);
    }
    return done;
  }
}

function recordOf(root: MeshRoot, authority: CertificateAuthority): TrustedRoot {
  const form = { trustDomain: root.trustDomain, spiffe: root.spiffeEnabled };
  const { fingerprint, issuerId, serial, certificatePem, notBefore, notAfter } = authority;
  const id = rootId(fingerprint, form);
  return { id, name: root.name, fingerprint, issuerId, serial, form, certificatePem, notBefore, notAfter };
}

/** Planning asks this once per root and plan, mostly of one and the same object. */
function sameSpec(a: ProviderSpec, b: ProviderSpec): boolean {
  return a === b || JSON.stringify(a) === JSON.stringify(b);
}

/** Says which root it is about, where it does not say so itself. */
function named(root: string, message: string): string {
  return message.startsWith(`root ${root}`) ? message : `root ${root}: ${message}`;
}

function sameForm(form: SanForm, root: MeshRoot): boolean {
  return form.trustDomain === root.trustDomain && form.spiffe === root.spiffeEnabled;
}

function edited(name: string): Problem {
  return {
    code: "MR1005",
    message: `root ${name} was edited: only its role may change`,
    hint: "Undo the edit, and create another MeshRootCertificate with the new settings.",
  };
}
