/**
 * Puts a root to the proof: a certificate of every kind that the mesh needs is issued under it, with the names that the mesh
 * really has, and verified at both ends of a TLS handshake, as the xDS port and the agents do it (Node's OpenSSL). What Envoy
 * (BoringSSL) refuses beyond that is read from the root (`boringSslProblem`).
 */

import { MeshrootError, type Problem } from "../core/errors.ts";
import { identityName, type ServiceIdentity } from "../core/identity.ts";
import type { Issue, IssueRequest, KeyPair, ProofRequest, ProofVerdict, RootProver } from "../ports/provider.ts";
import { distinctRoots } from "./distinct-roots.ts";
import { type End, handshake } from "./handshake.ts";
import { generateKeyPair, privateKeyPem } from "./keys.ts";
import { parseOne } from "./pem.ts";
import { type Period, serviceLeaf, xdsClient, xdsServer } from "./profiles.ts";
import { type RootFacts, rootFacts } from "./root-facts.ts";
import { boringSslProblem, handshakeProblem, type Tried } from "./root-problems.ts";

export type ProverOptions = {
  /** DNS names of the xDS server's own certificate. */
  readonly serverNames: readonly [string, ...string[]];
  /** The clock that TLS looks at: this machine's, in ms since the epoch. */
  readonly now: () => number;
};

/** Long enough for a handshake; nobody but this process ever sees these certificates or their keys. */
const VALIDITY_MS = 5 * 60_000;
/** Names that share one certificate of the proof: constraints are a matter of each name alone. */
const BATCH = 50;
/** Stands for a proxy that does not exist yet: as long as any uuid. */
const ANY_UUID = "00000000-0000-4000-8000-000000000000";
/** No host name, so that no constraint on those is applied to it. */
const NO_HOST = "meshroot proof";

export function createRootProver(options: ProverOptions): RootProver {
  return {
    apart: (root, other) => distinctRoots(root, other, options.now()),
    async prove(rootPem, issue, request) {
      const root = parseOne(rootPem, "the CA certificate");
      const facts = rootFacts(root);
      const name = `${root.subject || "the root with an empty subject"} (serial ${root.serial})`;
      const problem = boringSslProblem(name, facts);
      if (problem !== undefined) return { carried: [], any: false, problem, complete: true };
      const now = options.now();
      // Neither signs nor is trusted now: whoever wants to sign with it asks again.
      if (now < root.notBefore || now >= root.notAfter) return { carried: [], any: false, complete: false };
      try {
        const keyPair = await generateKeyPair("ec-p256");
        const period = { now, validityMs: VALIDITY_MS };
        const { serverNames } = options;
        return await new Trial({ rootPem, issue, request, facts, name, keyPair, period, serverNames }).run();
      } catch (error) {
        if (error instanceof MeshrootError && (error.code === "MR3002" || error.code === "MR3003"))
          return { carried: [], any: false, complete: false };
        throw error;
      }
    },
  };
}

type TrialDeps = Pick<ProverOptions, "serverNames"> & {
  readonly rootPem: string;
  readonly issue: Issue;
  readonly request: ProofRequest;
  readonly facts: RootFacts;
  readonly name: string;
  /** One key for all of them: only their names and their issuer are tried. */
  readonly keyPair: KeyPair;
  readonly period: Period;
};

/** The proof of one root at one moment. */
class Trial {
  readonly #deps: TrialDeps;
  #own: Promise<End> | undefined;

  constructor(deps: TrialDeps) {
    this.#deps = deps;
  }

  async run(): Promise<ProofVerdict> {
    const any = this.#deps.facts.nameConstraints === undefined;
    // Where names are not constrained, one certificate full of them speaks for all.
    const identities = this.#deps.request.identities.slice(0, any ? BATCH : undefined);
    const problem = (await this.#tryServer()) ?? (identities.length === 0 ? await this.#tryAnyWorkload() : undefined);
    if (problem !== undefined) return { carried: [], any: false, problem, complete: true };
    const carried: ServiceIdentity[] = [];
    for (let at = 0; at < identities.length; at += BATCH) {
      const found = await this.#tryAll(identities.slice(at, at + BATCH), carried);
      if (found !== undefined) return { carried, any: false, problem: found, complete: true };
    }
    return { carried, any, complete: true };
  }

  /** Our own certificate, beside the credential of some proxy: what of that depends on the trust domain alone. */
  async #tryServer(): Promise<Problem | undefined> {
    const { trustDomain } = this.#deps.request.form;
    const uris = [`meshroot://${trustDomain}/proxy`];
    const client = await this.#issue(this.#unnamed([], uris));
    return this.#meet(await this.#server(), client, { what: "an xDS credential", names: uris });
  }

  /** No workload is known yet: it is enough if one could be carried. */
  async #tryAnyWorkload(): Promise<Problem | undefined> {
    const { request, facts } = this.#deps;
    const { trustDomain, spiffe } = request.form;
    const uris = spiffe ? [`spiffe://${trustDomain}/any/any`] : [];
    const within = (facts.nameConstraints?.permittedDns ?? []).filter((base) => base.endsWith(`.${trustDomain}`));
    let first: Problem | undefined;
    for (const base of [`any.${trustDomain}`, ...within]) {
      const dnsNames = [`any.${base}`];
      const end = await this.#issue(this.#unnamed(dnsNames, uris));
      const problem = await this.#meet(end, end, { what: "a workload's certificate", names: [...dnsNames, ...uris] });
      if (problem === undefined) return undefined;
      first ??= problem;
    }
    return first;
  }

  /** The first of them that is not carried, as a problem that names it; the others before it are added to `carried`. */
  async #tryAll(batch: readonly ServiceIdentity[], carried: ServiceIdentity[]): Promise<Problem | undefined> {
    const problem = await this.#tryTogether(batch);
    if (problem === undefined) carried.push(...batch);
    if (problem === undefined || batch.length === 1) return problem;
    const half = batch.length >> 1;
    return (await this.#tryAll(batch.slice(0, half), carried)) ?? this.#tryAll(batch.slice(half), carried);
  }

  async #tryTogether(batch: readonly ServiceIdentity[]): Promise<Problem | undefined> {
    const { form } = this.#deps.request;
    const { period } = this.#deps;
    const { publicKey } = this.#deps.keyPair;
    const leaf = together(batch.map((one) => serviceLeaf(one, form, period, publicKey)));
    const credentials = batch.map((one) => {
      const proxy = { ...one, uuid: ANY_UUID, kind: "sidecar", trustDomain: form.trustDomain } as const;
      return xdsClient(proxy, period, publicKey);
    });
    // Where a certificate has no DNS name, OpenSSL holds a common name that looks like one against the constraints.
    const commonNames = credentials.map((one) => one.commonName).filter((name) => !name.endsWith("."));
    const credential = { ...together(credentials), ...(batch.length === 1 ? {} : { dnsNames: commonNames }) };
    const who = batch.map(identityName).join(", ");
    const end = await this.#issue(leaf);
    const names = [...leaf.dnsNames, ...leaf.uris];
    return (
      (await this.#meet(end, end, { what: `the certificate of ${who}`, names })) ??
      (await this.#meet(await this.#server(), await this.#issue(credential), {
        what: `the xDS credential of ${who}`,
        names: [credential.commonName, ...credential.uris],
      }))
    );
  }

  #unnamed(dnsNames: readonly string[], uris: readonly string[]): IssueRequest {
    const { period } = this.#deps;
    const { publicKey } = this.#deps.keyPair;
    const usages = ["serverAuth", "clientAuth"] as const;
    return { ...xdsServer([NO_HOST], period, publicKey), dnsNames, uris, usages };
  }

  #server(): Promise<End> {
    this.#own ??= this.#issue(xdsServer(this.#deps.serverNames, this.#deps.period, this.#deps.keyPair.publicKey));
    return this.#own;
  }

  async #issue(request: IssueRequest): Promise<End> {
    const { chainPem } = await this.#deps.issue(request);
    return { certPem: chainPem, keyPem: privateKeyPem(this.#deps.keyPair) };
  }

  /** `tried`: the client's certificate, or both ends'; the xDS server's own is named by itself. */
  async #meet(server: End, client: End, tried: Omit<Tried, "by">): Promise<Problem | undefined> {
    const { rootPem, facts, name, serverNames } = this.#deps;
    const { byClient, byServer } = await handshake(server, client, rootPem);
    const own = { what: "the xDS server's own certificate", names: serverNames };
    if (byClient !== undefined)
      return handshakeProblem(name, facts, { ...(server === client ? tried : own), by: "client" }, byClient);
    return byServer === undefined ? undefined : handshakeProblem(name, facts, { ...tried, by: "server" }, byServer);
  }
}

/** One certificate with the names of all; the common name is the first one's. */
function together(requests: readonly IssueRequest[]): IssueRequest {
  const [first] = requests;
  if (first === undefined) throw new Error("invariant: nobody to prove");
  const all = (what: "dnsNames" | "uris") => [...new Set(requests.flatMap((request) => request[what]))];
  return { ...first, dnsNames: all("dnsNames"), uris: all("uris") };
}
