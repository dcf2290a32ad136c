/**
 * What is proven of each root: that it carries the names of this mesh, lasts long enough for it, and can be told apart from the
 * roots beside it. Asked with every look at its CA; what was proven once is not proven again.
 */

import type { Problem } from "../core/errors.ts";
import { identityName, type ServiceIdentity } from "../core/identity.ts";
import type { MeshRoot } from "../core/roots/mesh-root.ts";
import { tooShort } from "../core/roots/root-life.ts";
import type { RootId, TrustedRoot } from "../core/roots/trust.ts";
import type { Issue, RootProver } from "../ports/provider.ts";

type Proven = {
  /** Identities whose certificates verify under it. */
  readonly carried: Set<string>;
  /** It constrains no names. */
  any: boolean;
  /** What was found for these names, if they are asked for again. */
  last: { readonly names: ServiceNames; readonly problem: Problem | undefined } | undefined;
  /** They could not be tried when they were last asked for, because it is not valid by this machine's clock; a look tries again. */
  untriable: ServiceNames | undefined;
};

/** By `sa.ns`. The same object as long as the names are the same. */
export type ServiceNames = ReadonlyMap<string, ServiceIdentity>;

export type RootProofsDeps = {
  readonly prover: RootProver;
  /** How long a root has to last for this mesh, in ms. */
  readonly neededLifeMs: number;
};

export class RootProofs {
  readonly #deps: RootProofsDeps;
  readonly #proven = new Map<RootId, Proven>();
  /** By the fingerprints of both. */
  readonly #pairs = new Map<string, Problem | undefined>();

  constructor(deps: RootProofsDeps) {
    this.#deps = deps;
  }

  get neededLifeMs(): number {
    return this.#deps.neededLifeMs;
  }

  /** Whether this root has shown that it carries all these names, as far as it can show it now. */
  covers({ id }: TrustedRoot, names: ServiceNames): boolean {
    const proven = this.#proven.get(id);
    if (proven?.untriable === names) return true;
    if (proven?.last === undefined || proven.last.problem !== undefined) return false;
    return proven.last.names === names || proven.any || [...names.keys()].every((name) => proven.carried.has(name));
  }

  /** Why this root can't carry these names, as far as it can be tried now. Throws what its authority throws. */
  async problemWith(root: TrustedRoot, issue: Issue, names: ServiceNames): Promise<Problem | undefined> {
    const proven = this.#proven.get(root.id) ?? {
      carried: new Set<string>(),
      any: false,
      last: undefined,
      untriable: undefined,
    };
    this.#proven.set(root.id, proven);
    if (proven.last?.names === names) return proven.last.problem;
    const isFirst = proven.last === undefined;
    const open = [...names].flatMap(([name, identity]) => (proven.carried.has(name) ? [] : [identity]));
    let problem: Problem | undefined;
    if (isFirst || (open.length > 0 && !proven.any)) {
      const verdict = await this.#deps.prover.prove(root.certificatePem, issue, { form: root.form, identities: open });
      for (const identity of verdict.carried) proven.carried.add(identityName(identity));
      proven.any = verdict.any;
      problem = verdict.problem;
      proven.untriable = verdict.complete || problem !== undefined ? undefined : names;
      if (proven.untriable !== undefined) return undefined;
    }
    for (const name of proven.carried) if (!names.has(name)) proven.carried.delete(name);
    proven.last = { names, problem };
    return problem;
  }

  /** The same for one identity alone, before something is issued for it. */
  async problemFor(root: TrustedRoot, issue: Issue, identity: ServiceIdentity): Promise<Problem | undefined> {
    const proven = this.#proven.get(root.id);
    if (proven?.any === true || proven?.carried.has(identityName(identity)) === true) return undefined;
    const request = { form: root.form, identities: [identity] };
    return (await this.#deps.prover.prove(root.certificatePem, issue, request)).problem;
  }

  /** MR3008, unless its operator has forced it. */
  lifeProblem(root: TrustedRoot, declared: MeshRoot | undefined, now: number): Problem | undefined {
    if (declared?.forceUnsafe !== undefined || declared?.acceptShortLife !== undefined) return undefined;
    return tooShort(root, now, this.#deps.neededLifeMs);
  }

  /** MR1013 for the first of `others` that can't be told apart from this root. */
  async twin(root: TrustedRoot, others: readonly TrustedRoot[]): Promise<Problem | undefined> {
    for (const other of others) {
      if (other.fingerprint === root.fingerprint) continue;
      const key = `${root.fingerprint} ${other.fingerprint}`;
      if (!this.#pairs.has(key)) this.#pairs.set(key, await this.#deps.prover.apart(root, other));
      const problem = this.#pairs.get(key);
      if (problem !== undefined) return problem;
    }
    return undefined;
  }
}
