/**
 * Keeps the certificate authorities behind the MRCs: it looks at each of them in the background, with deadlines, and asks them for
 * certificates. Planning reads the snapshot of what was seen last, and waits for none of them.
 */

import { MeshrootError, type Problem, raise } from "../core/errors.ts";
import type { SanForm, ServiceIdentity } from "../core/identity.ts";
import { isInUse, type MeshRoot, type ProviderSpec, sameSpec } from "../core/roots/mesh-root.ts";
import type { RootId, TrustedRoot, TrustInForce } from "../core/roots/trust.ts";
import type { Clock } from "../ports/clock.ts";
import type { Log } from "../ports/log.ts";
import type { CertificateProvider, IssuedCertificate, IssueRequest } from "../ports/provider.ts";
import { AuthoritySnapshot, behind, type Sighting } from "./authority-snapshot.ts";
import { edited, KeptAuthority, type KeptState, type Known, recordOf, sameForm, withName } from "./kept-authority.ts";
import { KeyDestruction } from "./key-destruction.ts";
import { Listeners } from "./listeners.ts";
import { ProviderCalls, problemOf } from "./provider-calls.ts";
import type { RootProofs, ServiceNames } from "./root-proofs.ts";

/** For so long a plan waits for a first look; a CA that takes longer is planned without. */
const FIRST_LOOK_MS = 1_000;
const NO_NAMES: ServiceNames = new Map();

export type AuthorityKeeperDeps = {
  readonly providers: readonly CertificateProvider[];
  readonly proofs: RootProofs;
  readonly clock: Clock;
  readonly log: Log;
  /** In [0, 1). */
  readonly random?: () => number;
};

export class AuthorityKeeper {
  readonly #deps: Required<AuthorityKeeperDeps>;
  readonly #providers: ReadonlyMap<string, CertificateProvider>;
  readonly #kept = new Map<string, KeptAuthority>();
  /** Of MRCs whose provider is not there. */
  readonly #unopened = new Map<string, { readonly root: MeshRoot; readonly problem: Problem }>();
  readonly #destruction: KeyDestruction;
  readonly #listeners = new Listeners();
  #names = NO_NAMES;

  constructor(deps: AuthorityKeeperDeps) {
    this.#deps = { random: Math.random, ...deps };
    this.#destruction = new KeyDestruction({ ...deps, done: () => this.#listeners.tell() });
    this.#providers = new Map(deps.providers.map((provider) => [provider.kind, provider]));
  }

  /** Called whenever a look has found something else than the one before, or a key is destroyed. Returns the way to end it. */
  subscribe(listener: () => void): () => void {
    return this.#listeners.add(listener);
  }

  /**
   * These are the MRCs from now on. Looks that are due begin; `known`: what the mesh has run on, and so is not made; `names`: what
   * roots in use have to carry. Asked before every plan.
   */
  follow(roots: readonly MeshRoot[], known: Known | undefined, names: ServiceNames = NO_NAMES): void {
    const now = this.#deps.clock.now();
    this.#names = names;
    const earlier: Promise<unknown>[] = [];
    for (const root of roots) {
      const kept = this.#keep(root, known);
      if (kept === undefined) continue;
      if (kept.isDue(now, names)) {
        const besides = () => this.#besides(root, known?.trust);
        const around = { known, names, besides, earlier: this.#atMost(FIRST_LOOK_MS, Promise.all([...earlier])) };
        // What keeps a mesh from its first start is thrown there.
        const isThrown = known === undefined && isInUse(root);
        const wasTried = kept.isTriedFor(names);
        kept.look(around, (before) => {
          if (!isThrown) this.#complain(kept, before);
          // A plan may have waited for the proof alone.
          const isTried = !wasTried && kept.isTriedFor(this.#names);
          if (isTried || JSON.stringify(kept.state) !== JSON.stringify(before)) this.#listeners.tell();
        });
      }
      if (kept.state.kind === "unseen" && kept.looking !== undefined && isInUse(root)) earlier.push(kept.looking);
    }
    const declared = new Set(roots.map(({ name }) => name));
    // One that was refused was never part of the mesh; of all others the key is destroyed first.
    for (const [name, { state }] of this.#kept)
      if (!declared.has(name) && state.kind !== "kept") this.#kept.delete(name);
    for (const name of this.#unopened.keys()) if (!declared.has(name)) this.#unopened.delete(name);
  }

  /** Resolves when none of these roots is being looked at, or after `ms`. */
  async settled(ms: number, which: (root: MeshRoot) => boolean = () => true): Promise<void> {
    await this.#atMost(ms, Promise.all([...this.#kept.values()].map(({ root, looking }) => which(root) && looking)));
  }

  async #atMost(ms: number, what: Promise<unknown>): Promise<void> {
    let cancel = () => {};
    const late = new Promise<void>((resolve) => {
      cancel = this.#deps.clock.after(ms, resolve);
    });
    await Promise.race([what, late]);
    cancel();
  }

  /** What is known now. */
  get snapshot(): AuthoritySnapshot {
    const now = this.#deps.clock.now();
    const seen = [...this.#kept].map(([name, kept]): [string, Sighting] => {
      const { root, state, ailment, looking, startedAt } = kept;
      const isFresh = looking !== undefined && Math.abs(now - startedAt) < FIRST_LOOK_MS;
      const [isTried, carries] = [kept.isTriedFor(this.#names), kept.carries(this.#names)];
      return [name, { root, state, ailment, isFresh, isTried, carries }];
    });
    const unopened = [...this.#unopened].map(([name, { root, problem }]): [string, Sighting] => {
      const state: KeptState = { kind: "refused", problem };
      return [name, { root, state, ailment: undefined, isFresh: false, isTried: false, carries: false }];
    });
    return new AuthoritySnapshot(new Map([...seen, ...unopened]), this.#deps.proofs);
  }

  /** Whether a certificate can be asked for now, or it is better to ask a little later. */
  isReady(id: RootId): boolean {
    return this.#keptFor(id)?.calls.isReady ?? true;
  }

  /** Throws MR3004 when this root's key is not here (any more). */
  record(id: RootId): TrustedRoot {
    const state = this.#keptFor(id)?.state;
    if (state?.kind === "kept") return state.record;
    throw keyMissing();
  }

  /** The SAN form that leaves of this root carry. Throws as `record` does. */
  formOf(id: RootId): SanForm {
    return this.record(id).form;
  }

  /** Throws as `record` does, MR3010 for a root that has changed underneath, MR3011, and what the authority throws. */
  async issue(id: RootId, request: IssueRequest): Promise<IssuedCertificate> {
    const kept = this.#keptFor(id);
    if (kept?.state.kind !== "kept") throw keyMissing();
    const { ailment } = kept.state;
    if (ailment?.code === "MR3010") throw MeshrootError.from(ailment);
    return kept.issue(request);
  }

  #keptFor(id: RootId): KeptAuthority | undefined {
    return behind(this.#kept.values(), id);
  }

  /** Why nothing may be issued for this identity under this root (MR3007, MR3006). Throws as `issue` does. */
  async refusalOf(identity: ServiceIdentity, id: RootId): Promise<Problem | undefined> {
    return this.#deps.proofs.problemFor(this.record(id), (request) => this.issue(id, request), identity);
  }

  /** Whether there is a CA to examine. One that is not there yet will be made, and then it is a good one. */
  async hasCa({ provider: spec }: MeshRoot): Promise<boolean> {
    const provider = this.#providers.get(spec.kind);
    return (await provider?.custody?.has(spec)) ?? provider !== undefined;
  }

  /** As a look would, for a root whose CA exists already, and without keeping anything. Throws why it would be refused. */
  async examine(root: MeshRoot, trust: TrustInForce | undefined, names: ServiceNames): Promise<void> {
    const { clock, proofs, random } = this.#deps;
    const authority = this.#providerOf(root).open(root.provider);
    const calls = new ProviderCalls({ clock, random, who: `root ${root.name}` });
    const record = recordOf(root, (await calls.run((signal) => authority.inspect(signal))).root);
    if (trust?.mesh.includes(record.id) === true) return;
    const issue = (request: IssueRequest) => calls.run((signal) => authority.issue(request, signal));
    const problem = await proofs.problemWith(record, issue, names);
    raise(problem && { ...problem, message: withName(root.name, problem.message) });
    raise(proofs.lifeProblem(record, root, clock.now()));
    raise(await proofs.twin(record, Object.values(trust?.roots ?? {})));
  }

  /** A file edited by hand may change what must not change once a root was used: MR1005. */
  changedUnderneath(roots: readonly MeshRoot[], specs: ReadonlyMap<string, ProviderSpec>): Problem | undefined {
    const found = roots.find((root) => {
      const spec = specs.get(root.name);
      const state = this.#kept.get(root.name)?.state;
      const isSameForm = state?.kind !== "kept" || sameForm(state.record.form, root);
      return !isSameForm || (spec !== undefined && !sameSpec(spec, root.provider));
    });
    return found && edited(found.name);
  }

  /**
   * Has the key behind a deleted MRC destroyed in the background. True when that is done; `isShared`: another MRC needs it, so it
   * only leaves this name.
   */
  destroy(name: string, spec: ProviderSpec, isShared: boolean): boolean {
    if (isShared) this.#destruction.forget(name);
    else if (!this.#destruction.of(name, spec, this.#providers.get(spec.kind)?.custody)) return false;
    this.#kept.delete(name);
    return true;
  }

  /** True, once, for a root that came back too late, while its key was being destroyed: it is a new one, with nothing behind it. */
  hasLost(name: string): boolean {
    return this.#destruction.isOver(name) && this.#kept.delete(name);
  }

  #keep(root: MeshRoot, known: Known | undefined): KeptAuthority | undefined {
    const before = this.#kept.get(root.name);
    // Once it was used, its settings stay: an edit is a problem of its own.
    const isEdited = before !== undefined && !known?.specs.has(root.name) && !sameRoot(before.root, root);
    if (before !== undefined && !isEdited) {
      before.declare(root);
      return before;
    }
    try {
      const kept = new KeptAuthority(root, { ...this.#deps, provider: this.#providerOf(root) });
      this.#kept.set(root.name, kept);
      this.#unopened.delete(root.name);
      return kept;
    } catch (error) {
      this.#kept.delete(root.name);
      const problem = problemOf(error, `root ${root.name}`);
      const said = { ...problem, message: withName(root.name, problem.message) };
      if (this.#unopened.get(root.name)?.problem.message !== said.message) this.#say(root.name, said);
      this.#unopened.set(root.name, { root, problem: said });
      return undefined;
    }
  }

  #complain({ state, root }: KeptAuthority, before: KeptState): void {
    const problem = problemIn(state);
    if (problem !== undefined && problem.message !== problemIn(before)?.message) this.#say(root.name, problem);
  }

  #say(root: string, { code, message, hint }: Problem): void {
    this.#deps.log.error({ component: "provider", root, code, hint }, `${code} ${message}`);
  }

  /** The roots that it would stand beside: those in force, and others in use. */
  #besides(root: MeshRoot, trust: TrustInForce | undefined): TrustedRoot[] {
    const others = [...this.#kept.values()].filter((kept) => kept.root.name !== root.name && isInUse(kept.root));
    return [
      ...Object.values(trust?.roots ?? {}),
      ...others.flatMap(({ state }) => (state.kind === "kept" ? [state.record] : [])),
    ];
  }

  #providerOf({ provider: { kind } }: MeshRoot): CertificateProvider {
    const provider = this.#providers.get(kind);
    if (provider !== undefined) return provider;
    throw new MeshrootError("MR1011", `provider ${kind} is not available in this version`, "Use provider tresor.");
  }
}

function problemIn(state: KeptState): Problem | undefined {
  if (state.kind === "refused") return state.problem;
  return state.kind === "kept" ? state.ailment : undefined;
}

function keyMissing(): MeshrootError {
  const hint = "Restore its secret, or rotate to another root.";
  return new MeshrootError("MR3004", "the key of the signing root is not available", hint);
}

function sameRoot(a: MeshRoot, b: MeshRoot): boolean {
  return a.trustDomain === b.trustDomain && a.spiffeEnabled === b.spiffeEnabled && sameSpec(a.provider, b.provider);
}
