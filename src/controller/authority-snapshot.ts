/** What is known of the MRCs' certificate authorities at one moment. Planning asks this, and waits for nobody. */

import type { Problem } from "../core/errors.ts";
import { isInUse, type MeshRoot } from "../core/roots/mesh-root.ts";
import { signerEndsSoon } from "../core/roots/root-life.ts";
import type { RootId, TrustedRoot, TrustInForce } from "../core/roots/trust.ts";
import type { KeptState } from "./kept-authority.ts";
import type { RootProofs } from "./root-proofs.ts";

/** One MRC's authority as it was seen last. */
export type Sighting = {
  readonly root: MeshRoot;
  readonly state: KeptState;
  /** As in `KeptAuthority`. */
  readonly ailment: Problem | undefined;
  /** A look has begun just now. */
  readonly isFresh: boolean;
  /** As far as it can be tried with the names that the mesh has now, it was. */
  readonly isTried: boolean;
  /** It was shown that it carries them. */
  readonly carries: boolean;
};

export class AuthoritySnapshot {
  readonly #sightings: ReadonlyMap<string, Sighting>;
  readonly #proofs: RootProofs;
  /** Roots that may be trusted, by name of their MRC. */
  readonly trusted: ReadonlyMap<string, TrustedRoot>;

  constructor(sightings: ReadonlyMap<string, Sighting>, proofs: RootProofs) {
    this.#sightings = sightings;
    this.#proofs = proofs;
    this.trusted = new Map(
      [...sightings].flatMap(([name, { state }]) => (state.kind === "kept" ? [[name, state.record] as const] : [])),
    );
  }

  /** A root in use is being looked at that may be fit for a bundle in a moment. */
  isAboutToKnow(trust: TrustInForce): boolean {
    return [...this.#sightings.values()].some(({ root, state, isFresh, isTried }) => {
      const isKnown = state.kind === "kept" && (isTried || trust.mesh.includes(state.record.id));
      return isFresh && isInUse(root) && !isKnown;
    });
  }

  /** It has been tried, as far as that goes now, whether this root carries the names that the mesh has now. */
  isTried(name: string): boolean {
    return this.#sightings.get(name)?.isTried === true;
  }

  /** It has shown that it does. */
  carries(name: string): boolean {
    return this.#sightings.get(name)?.carries === true;
  }

  /** Why a root may not be used. */
  refusal(name: string): Problem | undefined {
    const { state, isFresh } = this.#sightings.get(name) ?? {};
    if (state?.kind === "refused") return state.problem;
    return state?.kind === "unseen" && isFresh === false ? notSeenYet(name) : undefined;
  }

  /** The same, or why a root that may be used can't sign now. */
  problem(name: string): Problem | undefined {
    return this.refusal(name) ?? this.#sightings.get(name)?.ailment;
  }

  get problems(): readonly (Problem & { readonly root: string })[] {
    return [...this.#sightings.keys()].flatMap((name) => {
      const problem = this.problem(name);
      return problem === undefined ? [] : [{ ...problem, root: name }];
    });
  }

  /** Why nothing will be signed under this root unless somebody does something; undefined where something can. */
  signingProblem({ id, name, notBefore, notAfter }: TrustedRoot, now: number): Problem | undefined {
    if (this.#behind(id) === undefined) return this.refusal(name) ?? keyMissing(name);
    if (now >= notAfter) return expired(name, notAfter);
    if (now < notBefore) return notValidYet(name, notBefore, now);
    const ailment = this.ailment(id);
    return ailment?.code === "MR3010" ? ailment : undefined;
  }

  /** Why this root's CA can't sign at the moment, or can't be had; it may pass by itself. */
  ailment(id: RootId): Problem | undefined {
    return this.#behind(id)?.ailment;
  }

  /** What is wrong with a root in force, that would keep it from getting there today. */
  unfit(id: RootId): Problem | undefined {
    const state = this.#behind(id)?.state;
    return state?.kind === "kept" ? state.unfit : undefined;
  }

  /** Why the signer should not move to this root, although it could sign. */
  unfitToSign(root: TrustedRoot, declared: MeshRoot | undefined, now: number): Problem | undefined {
    return this.unfit(root.id) ?? this.#proofs.lifeProblem(root, declared, now);
  }

  /** MR3009: this root, the signer, ends before the mesh could rotate away from it in peace. */
  endsSoon(signer: TrustedRoot, now: number): Problem | undefined {
    return signerEndsSoon(signer, now, this.#proofs.neededLifeMs);
  }

  #behind(id: RootId): Sighting | undefined {
    return behind(this.#sightings.values(), id);
  }
}

/** The authority behind a root: of one CA behind two MRCs, one that can sign. */
export function behind<One extends Pick<Sighting, "state" | "ailment">>(
  all: Iterable<One>,
  id: RootId,
): One | undefined {
  const found = [...all].filter(({ state }) => state.kind === "kept" && state.record.id === id);
  return found.find(({ ailment }) => ailment === undefined) ?? found[0];
}

function notSeenYet(name: string): Problem {
  return {
    code: "MR3011",
    message: `root ${name}: its certificate authority has not answered yet`,
    hint: "Check that it runs and can be reached from here. Rotations between other roots go on.",
  };
}

function keyMissing(name: string): Problem {
  const hint = "Put its manifest back, or give another root the role active and let it take over.";
  return { code: "MR3004", message: `root ${name}: its key is not available`, hint };
}

function expired(name: string, notAfter: number): Problem {
  const hint =
    "Create another root (`meshroot root create`), make it active once proxies trust it, and retire this one.";
  return { code: "MR3002", message: `root ${name} expired at ${iso(notAfter)}`, hint };
}

function notValidYet(name: string, notBefore: number, now: number): Problem {
  const hint = `Check this machine's clock (it says ${iso(now)}); if it is right, wait or rotate to another root.`;
  return { code: "MR3003", message: `root ${name} is not valid before ${iso(notBefore)}`, hint };
}

function iso(ms: number): string {
  return new Date(ms).toISOString();
}
