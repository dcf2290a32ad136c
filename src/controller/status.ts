/** What people and tools see of the mesh: one value, made afresh for each question. Holds no key. */

import type { Problem } from "../core/errors.ts";
import { answersFor, rootsOf } from "../core/evidence/assumptions.ts";
import {
  type AbsentPolicy,
  counts,
  countsUntil,
  isConnected,
  leaves,
  type SyncState,
  syncState,
  trusts,
} from "../core/evidence/ledger-queries.ts";
import type { AssumedFor, ProxyRow } from "../core/evidence/ledger-state.ts";
import { identityName } from "../core/identity.ts";
import type { MeshRoot } from "../core/roots/mesh-root.ts";
import { rootOf, type TrustInForce } from "../core/roots/trust.ts";
import type { Hold } from "../core/rotation/holds.ts";
import type { RotationController } from "./rotation-controller.ts";
import { undeliverable } from "./unknown-names.ts";

type ComponentState = "issuing" | "validating" | "unused";

export type RootStatus = {
  readonly name: string;
  readonly namespace: string;
  /** Undefined: the MRC was deleted, its root is still in force somewhere. */
  readonly role: MeshRoot["role"] | undefined;
  readonly provider: string | undefined;
  readonly trustDomain: string;
  readonly spiffeEnabled: boolean;
  readonly fingerprint: string;
  readonly serial: string;
  /** RFC 3339. */
  readonly notAfter: string;
  readonly createdAt: string | undefined;
  readonly state: ComponentState;
  readonly signing: boolean;
  readonly validating: boolean;
  /** Proxies that count; of those, how many trust this root in all that they may run. */
  readonly proxies: { readonly total: number; readonly trusting: number };
  readonly componentStatuses: {
    readonly xdsControlPlane: ComponentState;
    readonly sidecar: ComponentState;
    readonly bootstrap: ComponentState;
  };
};

export type ProxyStatus = {
  readonly proxy: string;
  readonly identity: string;
  readonly kind: string;
  readonly node: string | undefined;
  readonly connected: boolean;
  readonly sync: SyncState;
  /** Names of the roots whose leaves it may present. */
  readonly signedBy: readonly string[];
  /** Names of the roots that it trusts in all that it may run. */
  readonly trusts: readonly string[];
  readonly versions: Readonly<Record<string, string>>;
  readonly lastContact: string;
  readonly leafExpires: string | undefined;
  readonly counts: boolean;
  readonly countsUntil: string | undefined;
  readonly error: string | undefined;
  /** Names that it asks for and can't be given: they do not exist, or are not its own. No gate waits for them. */
  readonly unknownNames: readonly string[];
  /** An operator answers for this proxy (E8, C5): what for, and about which roots, by name. */
  readonly assumed: AssumedStatus | undefined;
  /** An operator says that its process is gone: it counts again once it returns (E13). */
  readonly forgotten: OperatorWord | undefined;
  readonly xdsCredentialRoot: string | undefined;
};

/** `at`: RFC 3339. */
export type OperatorWord = { readonly reason: string; readonly at: string };
export type AssumedStatus = OperatorWord & { readonly for: readonly AssumedFor[]; readonly roots: readonly string[] };

export type MeshStatus = {
  /** False: no server runs; this is what was last written down. */
  readonly live: boolean;
  readonly generation: number;
  readonly signer: string;
  readonly trusted: readonly string[];
  readonly roots: readonly RootStatus[];
  readonly holds: readonly Hold[];
  readonly problems: readonly string[];
  /** What needs somebody although nothing waits for it: every command prints it. */
  readonly warnings: readonly Problem[];
  /** Roots whose certificate authority could not be had. */
  readonly authorityProblems: readonly (Problem & { readonly root: string })[];
  readonly proxies: readonly ProxyStatus[];
};

export type StatusDeps = {
  readonly live: boolean;
  readonly controller: Pick<
    RotationController,
    "trust" | "holds" | "roots" | "ledger" | "loadedRoots" | "authorityProblems" | "signerEndsSoon"
  >;
  readonly absentPolicy: AbsentPolicy;
  readonly wanted: (proxy: string, name: string) => string | undefined;
  readonly nodeOf: (proxy: string) => string | undefined;
  readonly now: () => number;
};

export function meshStatus(deps: StatusDeps): MeshStatus {
  const { controller } = deps;
  const { trust, holds, roots, ledger } = controller;
  return {
    live: deps.live,
    generation: trust.generation,
    signer: rootOf(trust, trust.signer).name,
    trusted: trust.mesh.map((id) => rootOf(trust, id).name),
    roots: rootStatuses(deps, trust, roots.roots),
    holds,
    problems: roots.problems.map(({ source, problem }) => `${source}: ${problem.code} ${problem.message}`),
    warnings: controller.signerEndsSoon === undefined ? [] : [controller.signerEndsSoon],
    authorityProblems: controller.authorityProblems,
    proxies: [...ledger.proxies.values()].map((row) => proxyStatus(deps, trust, row)),
  };
}

function rootStatuses(deps: StatusDeps, trust: TrustInForce, listed: readonly MeshRoot[]): RootStatus[] {
  const { controller, absentPolicy } = deps;
  const now = deps.now();
  const counting = [...controller.ledger.proxies.values()].filter((row) => counts(row, now, absentPolicy));
  const loaded = [...controller.loadedRoots.values(), ...Object.values(trust.roots)];
  const known = new Map(loaded.map((root) => [root.id, root]));
  const state = (issuing: boolean, validating: boolean): ComponentState =>
    issuing ? "issuing" : validating ? "validating" : "unused";
  return [...known.values()].map((root) => {
    const mrc = listed.find((candidate) => candidate.name === root.name);
    const signing = trust.signer === root.id;
    const validating = trust.mesh.includes(root.id);
    const onXds = trust.xds.includes(root.id);
    return {
      name: root.name,
      namespace: mrc?.namespace ?? "",
      role: mrc?.role,
      provider: mrc?.provider.kind,
      trustDomain: root.form.trustDomain,
      spiffeEnabled: root.form.spiffe,
      fingerprint: root.fingerprint,
      serial: root.serial,
      notAfter: new Date(root.notAfter).toISOString(),
      createdAt: mrc && new Date(mrc.createdAt).toISOString(),
      state: state(signing, validating),
      signing,
      validating,
      proxies: {
        total: counting.length,
        trusting: counting.filter((row) => validating && trusts(row, root.id)).length,
      },
      componentStatuses: {
        xdsControlPlane: state(trust.xdsServer === root.id, onXds),
        sidecar: state(signing, validating),
        bootstrap: state(signing, onXds),
      },
    };
  });
}

function proxyStatus(deps: StatusDeps, trust: TrustInForce, row: ProxyRow): ProxyStatus {
  const now = deps.now();
  const uuid = row.identity.uuid;
  const nameOf = (id: string) => trust.roots[id]?.name ?? `${id.slice(0, 12)}…`;
  const live = leaves(row).filter((leaf) => leaf.notAfter > now);
  const until = countsUntil(row, deps.absentPolicy);
  const expires = live.length === 0 ? undefined : Math.min(...live.map((leaf) => leaf.notAfter));
  const { error } = row;
  return {
    proxy: uuid,
    identity: identityName(row.identity),
    kind: row.identity.kind,
    node: deps.nodeOf(uuid),
    connected: isConnected(row),
    sync: syncState(row, (name, consumer) => (consumer === "envoy" ? deps.wanted(uuid, name) : undefined)),
    signedBy: [...new Set(live.map((leaf) => nameOf(leaf.root)))],
    trusts: trust.mesh.filter((id) => trusts(row, id)).map(nameOf),
    versions: Object.fromEntries(
      [...row.slots.values()].flatMap((slot) => (slot.acked ? [[slot.name, slot.acked.version]] : [])),
    ),
    lastContact: new Date(row.lastContactAt).toISOString(),
    leafExpires: expires === undefined ? undefined : new Date(expires).toISOString(),
    counts: counts(row, now, deps.absentPolicy),
    // 0: it has no leaf, so it counts no more since it is away.
    countsUntil: until ? new Date(until).toISOString() : undefined,
    error: error && `answering ${error.answering}: ${error.message}`,
    unknownNames: undeliverable(row, (name) => deps.wanted(uuid, name) !== undefined),
    assumed: row.assumed && {
      reason: row.assumed.reason,
      at: new Date(row.assumed.at).toISOString(),
      for: answersFor(row.assumed),
      roots: (rootsOf(row.assumed) ?? trust.xds).map(nameOf),
    },
    forgotten: wordOf(row.forgotten),
    xdsCredentialRoot: row.auth.envoy && nameOf(row.auth.envoy),
  };
}

function wordOf(word: ProxyRow["forgotten"]): OperatorWord | undefined {
  return word && { reason: word.reason, at: new Date(word.at).toISOString() };
}
