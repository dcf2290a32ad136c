/** The walk through the six-step table on a demo mesh: edit a role, wait for the mesh, prove it by what Envoy loaded. */

import { openMesh } from "../../access/open-mesh.ts";
import type { MeshStatus } from "../../controller/status.ts";
import { MeshrootError } from "../../core/errors.ts";
import { DEFAULT_NAMESPACE, type MeshRoot, type Role } from "../../core/roots/mesh-root.ts";
import type { LoadedContext } from "../../envoy/admin.ts";
import type { Cause, Load } from "./load.ts";
import type { DemoMesh } from "./mesh.ts";

export const OLD_ROOT = "osm-mesh-root-certificate";
export const NEW_ROOT = "osm-mesh-root-certificate-2";

/** After the name of a root that only some of an Envoy's contexts have loaded. */
export const IN_PART = " (in part)";

export type StoryStep = {
  readonly step: number;
  /** Role of each MRC, by name; a deleted one is missing. */
  readonly roles: Readonly<Record<string, Role>>;
  /** Fingerprint of the root that signs. */
  readonly signer: string;
  /** Fingerprints of the roots that the mesh validates with. */
  readonly trusted: readonly string[];
  /** From the role edit until every proxy had ACKed and loaded what the step asks for. */
  readonly ms: number;
  /** Proxies that ACKed everything that the step sent. */
  readonly acked: number;
  /**
   * Per proxy: names of the roots that its Envoy's own /certs showed loaded, with `IN_PART` after one that is not in every
   * context. V: Envoy before 1.40 lists the first of a bundle only, which is the newest.
   */
  readonly loaded: Readonly<Record<string, readonly string[]>>;
  /** Fingerprints of the roots that xDS connections are validated with, by the server and by the proxies. */
  readonly trustedOnXds: readonly string[];
  /** As `loaded`, for the TLS context of each Envoy's connection to us, which its agent keeps. */
  readonly loadedOnXds: Readonly<Record<string, readonly string[]>>;
};

/** The one JSON object that `--json` prints. */
export type DemoResult = Omit<Load, "failures"> & {
  readonly envoy: string;
  readonly proxies: number;
  readonly failed: number;
  /** How often the pair was asked that was asked least. */
  readonly leastPerPair: number;
  /** Connections between proxies that the Envoys say to have refused; missing when one could not be asked. */
  readonly refusals?: number;
  readonly cause: Cause;
  /** The same rate before the rotation. */
  readonly control: Load;
  readonly rotationMs: number;
  readonly steps: readonly StoryStep[];
};

export type StoryDeps = {
  readonly mesh: DemoMesh;
  readonly dataDir: string;
  readonly status: () => MeshStatus;
  /** Reason to pass the gates, for the control experiment. */
  readonly force?: string;
  /** Whether this Envoy's /certs lists every root of a bundle. */
  readonly wholeBundle: boolean;
  /** Called often while a step waits. */
  readonly onWait: (step: number, status: MeshStatus, startedAt: number) => void;
  readonly onStep: (step: StoryStep) => void;
  readonly pauseMs: number;
  readonly signal: AbortSignal;
};

const POLL_MS = 50;
const STEP_LIMIT_MS = 60_000;

type Edit = (files: Awaited<ReturnType<typeof openRoots>>) => Promise<void>;
type Step = {
  readonly edit: Edit;
  readonly signer: string;
  readonly trusted: readonly string[];
  /** Undefined: moves on by itself in this step, nobody waits for it. */
  readonly onXds?: readonly string[];
};

const [OLD, BOTH, NEW] = [[OLD_ROOT], [OLD_ROOT, NEW_ROOT], [NEW_ROOT]];

/** Steps of the table: what the operator does, and what must be true when it has spread. */
const STEPS: readonly Step[] = [
  { edit: async () => {}, signer: OLD_ROOT, trusted: OLD, onXds: OLD },
  { edit: (roots) => roots.create(NEW_ROOT, "passive"), signer: OLD_ROOT, trusted: BOTH, onXds: BOTH },
  { edit: (roots) => roots.setRole(NEW_ROOT, "active"), signer: OLD_ROOT, trusted: BOTH, onXds: BOTH },
  { edit: (roots) => roots.setRole(OLD_ROOT, "passive"), signer: NEW_ROOT, trusted: BOTH, onXds: BOTH },
  { edit: (roots) => roots.setRole(OLD_ROOT, "inactive"), signer: NEW_ROOT, trusted: NEW },
  { edit: (roots) => roots.remove(OLD_ROOT), signer: NEW_ROOT, trusted: NEW, onXds: NEW },
];

/** Walks all six steps. Throws MR5006 when a step does not spread in time, or when an Envoy did not load what it ACKed. */
export async function walkRotation(deps: StoryDeps): Promise<StoryStep[]> {
  const roots = await openRoots(deps);
  const told: StoryStep[] = [];
  for (const [index, { edit, signer, trusted, onXds }] of STEPS.entries()) {
    const step = index + 1;
    const startedAt = performance.now();
    await edit(roots);
    const roles = await roots.roles();
    let status = deps.status();
    let loaded: Loaded = { mesh: {}, xds: {} };
    const shows = (found: Readonly<Record<string, readonly string[]>>, wanted: readonly string[]) => {
      const provable = deps.wholeBundle ? wanted : wanted.slice(-1);
      return Object.values(found).every((names) => sameSet(names, provable));
    };
    const reached = async (): Promise<boolean> => {
      status = deps.status();
      deps.onWait(step, status, startedAt);
      if (status.signer !== signer || !sameSet(status.trusted, trusted) || !rolesSeen(status, roles)) return false;
      if (deps.force !== undefined) return true;
      // At first not all of them have come.
      if (status.proxies.length < deps.mesh.proxies.size) return false;
      if (!status.proxies.every((proxy) => proxy.sync === "SYNCED" && sameSet(proxy.signedBy, [signer]))) return false;
      if (onXds !== undefined && !sameSet(namesOnXds(status), onXds)) return false;
      loaded = await loadedRoots(deps.mesh, status);
      return shows(loaded.mesh, trusted) && (onXds === undefined || shows(loaded.xds, onXds));
    };
    await waitUntil(reached, `step ${step}`, deps);
    if (deps.force !== undefined) loaded = await loadedRoots(deps.mesh, status);
    const fingerprint = (name: string) => status.roots.find((root) => root.name === name)?.fingerprint ?? "?";
    const done: StoryStep = {
      step,
      roles,
      signer: fingerprint(status.signer),
      trusted: status.trusted.map(fingerprint),
      ms: Math.round(performance.now() - startedAt),
      acked: status.proxies.filter((proxy) => proxy.sync === "SYNCED").length,
      loaded: loaded.mesh,
      trustedOnXds: namesOnXds(status).map(fingerprint),
      loadedOnXds: loaded.xds,
    };
    told.push(done);
    deps.onStep(done);
    await sleep(deps.pauseMs, deps.signal);
  }
  return told;
}

function namesOnXds({ roots }: MeshStatus): string[] {
  return roots.filter(({ componentStatuses }) => componentStatuses.bootstrap !== "unused").map(({ name }) => name);
}

type Loaded = { readonly mesh: Record<string, string[]>; readonly xds: Record<string, string[]> };

/**
 * What each proxy's contexts hold, those of the mesh and that of its xDS connection, from Envoy's own /certs: serials
 * matched to our roots (never config_dump).
 */
async function loadedRoots(mesh: DemoMesh, status: MeshStatus): Promise<Loaded> {
  const nameOf = new Map(status.roots.map((root) => [root.serial, root.name]));
  const isOnXds = ({ chain }: LoadedContext) =>
    chain.some(({ uris }) => uris.some((uri) => uri.startsWith("meshroot://")));
  const found = await Promise.all(
    [...mesh.proxies.values()].map(async ({ name, admin }) => ({ name, contexts: await admin.certs() })),
  );
  return {
    mesh: Object.fromEntries(
      found.map(({ name, contexts }) => [
        name,
        loadedNames(
          contexts.filter((context) => !isOnXds(context)),
          nameOf,
        ),
      ]),
    ),
    xds: Object.fromEntries(found.map(({ name, contexts }) => [name, loadedNames(contexts.filter(isOnXds), nameOf)])),
  };
}

/** `nameOf`: by serial. */
export function loadedNames(contexts: readonly LoadedContext[], nameOf: ReadonlyMap<string, string>): string[] {
  const lists = contexts.map(({ trusted }) => new Set(trusted.map(({ serial }) => serial)));
  return [...new Set(lists.flatMap((list) => [...list]))]
    .map((serial) => {
      const name = nameOf.get(serial) ?? `unknown ${serial.slice(0, 8)}`;
      return lists.every((list) => list.has(serial)) ? name : name + IN_PART;
    })
    .toSorted();
}

/** Role edits as an operator makes them: in the files. */
async function openRoots({ dataDir, force }: StoryDeps) {
  const { roots } = openMesh({ dataDir, namespace: DEFAULT_NAMESPACE }, {});
  const find = async (name: string): Promise<MeshRoot> => {
    const root = (await roots.list()).roots.find((candidate) => candidate.name === name);
    if (root === undefined) throw new MeshrootError("MR1009", `root ${name} is not there`, "Start the demo again.");
    return root;
  };
  const forced = force === undefined ? {} : { forceUnsafe: force };
  return {
    roles: async () => Object.fromEntries((await roots.list()).roots.map((root) => [root.name, root.role])),
    create: async (name: string, role: Role) => {
      const old = await find(OLD_ROOT);
      const provider = { kind: "tresor", secretRef: { name: `${name}-ca`, namespace: DEFAULT_NAMESPACE } } as const;
      const root = { ...old, name, role, provider, createdAt: Date.now(), ...forced };
      await roots.edit((files) => files.create(root));
    },
    setRole: (name: string, role: Role) => roots.edit(async (files) => files.setRole(await find(name), role, forced)),
    remove: (name: string) => roots.edit(async (files) => files.remove(await find(name))),
  };
}

function rolesSeen(status: MeshStatus, roles: Readonly<Record<string, Role>>): boolean {
  const seen = status.roots.filter((root) => root.role !== undefined);
  return seen.length === Object.keys(roles).length && seen.every((root) => roles[root.name] === root.role);
}

function sameSet(a: readonly string[], b: readonly string[]): boolean {
  return a.length === b.length && b.every((entry) => a.includes(entry));
}

async function waitUntil(reached: () => Promise<boolean>, what: string, { signal, status }: StoryDeps): Promise<void> {
  const limit = performance.now() + STEP_LIMIT_MS;
  while (!(await reached())) {
    signal.throwIfAborted();
    if (performance.now() > limit) {
      const held = status().holds.map((hold) => `${hold.wants}: ${hold.message}`);
      throw new MeshrootError(
        "MR5006",
        `${what} did not spread within ${STEP_LIMIT_MS / 1000} s`,
        held.join("; ") || "See the Envoys' logs: run it with --keep.",
      );
    }
    await sleep(POLL_MS, signal);
  }
}

function sleep(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, ms);
    signal.addEventListener(
      "abort",
      () => {
        clearTimeout(timer);
        reject(signal.reason as Error);
      },
      { once: true },
    );
  });
}
