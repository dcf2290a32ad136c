/** One MRC's certificate authority as it was seen last, and the next look at it. */

import { MeshrootError, type Problem } from "../core/errors.ts";
import type { SanForm } from "../core/identity.ts";
import type { MeshRoot, ProviderSpec } from "../core/roots/mesh-root.ts";
import { isInUse } from "../core/roots/mesh-root.ts";
import { rootId, type TrustedRoot, type TrustInForce } from "../core/roots/trust.ts";
import type { Clock } from "../ports/clock.ts";
import type {
  CertificateAuthority,
  CertificateProvider,
  Inspection,
  IssuedCertificate,
  IssueRequest,
  RootCertificate,
} from "../ports/provider.ts";
import { ProviderCalls, problemOf } from "./provider-calls.ts";
import type { RootProofs, ServiceNames } from "./root-proofs.ts";

/** What the mesh has run on until now. */
export type Known = { readonly specs: ReadonlyMap<string, ProviderSpec>; readonly trust: TrustInForce };

export type KeptState =
  | { readonly kind: "unseen" }
  /** The mesh may not use it. */
  | { readonly kind: "refused"; readonly problem: Problem }
  | {
      readonly kind: "kept";
      readonly record: TrustedRoot;
      /** It is in force, and would not get there today. */
      readonly unfit?: Problem | undefined;
      /** It can't be had, or would not sign, or is another one now. */
      readonly ailment?: Problem | undefined;
    };

/** What a look needs to know of the mesh. */
export type LookAround = {
  readonly known: Known | undefined;
  readonly names: ServiceNames;
  /** The roots that it would stand beside in a bundle, known only when the look is nearly done. */
  readonly besides: () => readonly TrustedRoot[];
  /** First looks are decided in the order of the list: of two that can't be told apart, the first counts. */
  readonly earlier: Promise<unknown>;
};

/** Between two looks at one that is well, and after one that failed. */
const RECHECK_MS = 30_000;
const RETRY_MS = 5_000;
/** A key of RSA-4096 takes half a second, and three times that by chance: minutes, where we have a tenth of a CPU. */
const MAKING_MS = 120_000;

export type KeptDeps = {
  readonly clock: Clock;
  readonly random: () => number;
  readonly proofs: RootProofs;
  readonly provider: CertificateProvider;
};

export class KeptAuthority {
  state: KeptState = { kind: "unseen" };
  root: MeshRoot;
  readonly calls: ProviderCalls;
  /** When the last look began. */
  startedAt: number;
  readonly #deps: KeptDeps;
  readonly #authority: CertificateAuthority;
  #looking: Promise<void> | undefined;
  #lookedAt = Number.NEGATIVE_INFINITY;
  #failures = 0;
  /** It was seen, and not as it should be: the next look comes soon. */
  #isInDoubt = false;
  /** The names that its last look in use was about. Undefined: its role has been inactive since, and nobody has asked. */
  #triedFor: ServiceNames | undefined;

  constructor(root: MeshRoot, deps: KeptDeps) {
    this.root = root;
    this.#deps = deps;
    this.startedAt = deps.clock.now();
    this.#authority = deps.provider.open(root.provider);
    this.calls = new ProviderCalls({ clock: deps.clock, random: deps.random, who: `root ${root.name}` });
  }

  /** Why it can't sign at the moment, or can't be had; it may pass by itself. Undefined, too, where it may not be used at all. */
  get ailment(): Problem | undefined {
    return this.state.kind === "kept" ? (this.state.ailment ?? this.calls.problem) : undefined;
  }

  /** The look that is under way. */
  get looking(): Promise<void> | undefined {
    return this.#looking;
  }

  isDue(now: number, names: ServiceNames): boolean {
    if (this.#looking !== undefined) return false;
    // By the distance: a clock that was set back puts no look off.
    const passed = Math.abs(now - this.#lookedAt);
    if (this.#failures > 0 || this.#isInDoubt) return passed >= RETRY_MS;
    return passed >= RECHECK_MS || (isInUse(this.root) && !this.isTriedFor(names));
  }

  /** Its manifest now. Whatever its role was before, it has to pass again once it is back from inactive: others may be there. */
  declare(root: MeshRoot): void {
    this.root = { ...root, provider: this.root.provider };
    if (!isInUse(root)) this.#triedFor = undefined;
  }

  /** Nothing is left to try with these names: it may enter a bundle. */
  isTriedFor(names: ServiceNames): boolean {
    return this.#triedFor !== undefined && (this.#triedFor === names || this.carries(names));
  }

  /** It was shown that it carries them. */
  carries(names: ServiceNames): boolean {
    return this.state.kind === "kept" && this.#deps.proofs.covers(this.state.record, names);
  }

  /** `done` is called when the look has ended. It never rejects. */
  look(around: LookAround, done: (before: KeptState) => void): void {
    const before = this.state;
    const { clock } = this.#deps;
    const wasInUse = isInUse(this.root);
    this.startedAt = clock.now();
    this.#isInDoubt = false;
    this.#looking = this.#see(around)
      .then((seen) => {
        this.#failures = 0;
        this.#triedFor = wasInUse && isInUse(this.root) ? around.names : undefined;
        this.state = seen;
      })
      .catch((error: unknown) => {
        this.#failures += 1;
        this.state = this.#afterFailure(problemOf(error, `root ${this.root.name}`));
      })
      .finally(() => {
        this.#looking = undefined;
        this.#lookedAt = clock.now();
        done(before);
      });
  }

  /** What once was kept is missed for a moment only, when a file is written anew or a connection breaks. */
  #afterFailure(problem: Problem): KeptState {
    const named = { ...problem, message: withName(this.root.name, problem.message) };
    if (this.state.kind !== "kept") return { kind: "refused", problem: named };
    return this.#failures < 2 ? this.state : { ...this.state, ailment: named };
  }

  issue(request: IssueRequest): Promise<IssuedCertificate> {
    return this.calls.run((signal) => this.#authority.issue(request, signal));
  }

  async #see({ known, names, besides, earlier }: LookAround): Promise<KeptState> {
    const { root } = this;
    const wasUsed = known?.specs.has(root.name) === true;
    // More than one where a deleted root came back under its name: the old one may be on the xDS port for a while.
    const before = wasUsed ? Object.values(known?.trust.roots ?? {}).filter(({ name }) => name === root.name) : [];
    const [first] = before;
    if (first !== undefined && !before.some(({ form }) => sameForm(form, root)))
      throw MeshrootError.from(edited(root.name));
    const { root: shown, health } = await this.#inspect(wasUsed);
    await earlier;
    if (first !== undefined && !before.some(({ fingerprint }) => fingerprint === shown.fingerprint))
      return this.#changed(first, shown);
    const record = recordOf(root, shown);
    const ailment = health.kind === "ails" ? health.problem : undefined;
    if (!isInUse(root)) return { kind: "kept", record, ailment };
    if (known?.trust.mesh.includes(record.id) === true)
      return { kind: "kept", record, ailment, unfit: await this.#unfit(record, names) };
    const refusal = await this.#refusal(record, names, besides);
    if (refusal === undefined) return { kind: "kept", record, ailment };
    this.#isInDoubt = true;
    return { kind: "refused", problem: { ...refusal, message: withName(root.name, refusal.message) } };
  }

  /** A CA that the mesh has run on is never made anew, whatever is missing of it. */
  async #inspect(wasUsed: boolean): Promise<Inspection> {
    const { custody } = this.#deps.provider;
    if (!wasUsed && custody !== undefined) await this.calls.run(() => custody.create(this.root.provider), MAKING_MS);
    return this.calls.run((signal) => this.#authority.inspect(signal));
  }

  /** The trust in force stays, and nothing is signed by a root that nobody has agreed to. */
  #changed(before: TrustedRoot, shown: RootCertificate): KeptState {
    const ailment = changed(before, shown);
    this.#isInDoubt = true;
    return this.state.kind === "kept" ? { ...this.state, ailment } : { kind: "refused", problem: ailment };
  }

  /** Why it does not enter a bundle: nothing does that could not carry this mesh. */
  async #refusal(record: TrustedRoot, names: ServiceNames, besides: LookAround["besides"]) {
    const { proofs, clock } = this.#deps;
    return (
      (await proofs.problemWith(record, (request) => this.issue(request), names)) ??
      proofs.lifeProblem(record, this.root, clock.now()) ??
      (await proofs.twin(record, besides()))
    );
  }

  /** What is in force stays there, and is called unfit. */
  async #unfit(record: TrustedRoot, names: ServiceNames): Promise<Problem | undefined> {
    try {
      return await this.#deps.proofs.problemWith(record, (request) => this.issue(request), names);
    } catch (error) {
      // A CA that can't be reached for the proof is no reason to doubt a root that the mesh runs on.
      if (!(error instanceof MeshrootError)) throw error;
      this.#isInDoubt = true;
      return this.state.kind === "kept" ? this.state.unfit : undefined;
    }
  }
}

export function recordOf(root: MeshRoot, shown: RootCertificate): TrustedRoot {
  const form = { trustDomain: root.trustDomain, spiffe: root.spiffeEnabled };
  const { fingerprint, issuerId, serial, certificatePem, notBefore, notAfter } = shown;
  const id = rootId(fingerprint, form);
  return { id, name: root.name, fingerprint, issuerId, serial, form, certificatePem, notBefore, notAfter };
}

/** Says which root it is about, where it does not say so itself. */
export function withName(root: string, message: string): string {
  return message.startsWith(`root ${root}`) ? message : `root ${root}: ${message}`;
}

export function sameForm(form: SanForm, root: MeshRoot): boolean {
  return form.trustDomain === root.trustDomain && form.spiffe === root.spiffeEnabled;
}

/** MR1005. */
export function edited(name: string): Problem {
  return {
    code: "MR1005",
    message: `root ${name} was edited: only its role may change`,
    hint: "Undo the edit, and create another MeshRootCertificate with the new settings.",
  };
}

function changed(before: TrustedRoot, shown: RootCertificate): Problem {
  return {
    code: "MR3010",
    message: `root ${before.name} has changed underneath: the mesh runs on ${before.fingerprint.slice(0, 12)}, its certificate authority shows ${shown.fingerprint.slice(0, 12)}`,
    hint: "Put the old CA back. To move to the new one, create another MeshRootCertificate for it and rotate.",
  };
}
