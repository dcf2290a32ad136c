/** What commands do straight on the data directory while no server runs there. */

import { type Config, loadSettings } from "../config.ts";
import type { AuthorityKeeper } from "../controller/authority-keeper.ts";
import { availabilityHolds } from "../controller/availability.ts";
import { loadLedger, loadTrust, type TrustDocument } from "../controller/durable-state.ts";
import { KnownRoots } from "../controller/known-roots.ts";
import { NamesInUse } from "../controller/names-in-use.ts";
import { type OperatorAnswer, type OperatorRequest, operatorAnswer, operatorEvent } from "../controller/operator.ts";
import type { ServiceNames } from "../controller/root-proofs.ts";
import { type MeshStatus, meshStatus } from "../controller/status.ts";
import { MeshrootError, raise } from "../core/errors.ts";
import { record } from "../core/evidence/ledger.ts";
import { toDurable } from "../core/evidence/ledger-rows.ts";
import type { Ledger } from "../core/evidence/ledger-state.ts";
import { ownerProblem } from "../core/evidence/proxy-owner.ts";
import { DEFAULT_NAMESPACE, type MeshRoot, type ProviderSpec, type RootListing } from "../core/roots/mesh-root.ts";
import { rootOf } from "../core/roots/trust.ts";
import { rolesHold } from "../core/rotation/rotation-plan.ts";
import type { Log } from "../ports/log.ts";
import type { Store } from "../ports/store.ts";
import { openFileStore } from "../stores/files/file-store.ts";
import type { BootstrapAnswer, BootstrapRequest } from "./admin-api.ts";
import { assemble, type Mesh, type MeshSettings } from "./assemble.ts";
import { CertificateMaker, XDS_SERVER_NAMES } from "./certificate-maker.ts";
import { systemClock } from "./system-clock.ts";

/** How long a command waits for certificate authorities. */
const LOOK_MS = 15_000;

const QUIET: Log = { debug: () => undefined, info: () => undefined, warn: () => undefined, error: () => undefined };

function open(dataDir: string, namespace = DEFAULT_NAMESPACE): Store {
  return openFileStore({ dataDir, namespace }, { clock: systemClock, log: QUIET });
}

function meshOf(store: Store, settings: MeshSettings): Mesh {
  return assemble(store, settings, { clock: systemClock, log: QUIET });
}

/** Lives are those of the environment, or the defaults: what flags the server will be given, nobody knows. */
function livesOf(env: NodeJS.ProcessEnv): MeshSettings {
  return loadSettings(["leafValidityMs", "xdsCertValidityMs"], {}, env);
}

/**
 * The mesh as it was last written down: every proxy is disconnected. Undefined where nothing was ever served; throws MR2002
 * where there is no data directory at all.
 */
export async function offlineStatus(dataDir: string, namespace: string): Promise<MeshStatus | undefined> {
  const store = open(dataDir, namespace);
  const mesh = meshOf(store, livesOf(process.env));
  const document = await loadTrust(mesh.state);
  if (document === undefined) {
    await store.mustExist();
    return undefined;
  }
  const now = systemClock.now();
  const { trust } = document;
  const roots = await store.roots.list();
  const ledger = await loadLedger(mesh.state, now);
  const authorities = await existingAuthorities(store, mesh, { document, roots, ledger });
  const known = new KnownRoots({ authorities, namespace, listing: roots, specs: specsOf(document) });
  const problem = known.problem(trust);
  const controller = {
    trust,
    ledger,
    roots,
    // Gates are a server's matter; what is wrong with roots can be seen without one.
    holds: [
      ...availabilityHolds(authorities.snapshot, trust, roots.roots, now),
      ...(problem === undefined ? [] : [rolesHold(problem)]),
    ],
    loadedRoots: new Map(Object.values(trust.roots).map((root) => [root.name, root])),
    authorityProblems: authorities.snapshot.problems,
    signerEndsSoon: authorities.snapshot.endsSoon(rootOf(trust, trust.signer), now),
  };
  const nothing = () => undefined;
  return meshStatus({
    live: false,
    controller,
    absentPolicy: "until-leaf-expiry",
    wanted: nothing,
    nodeOf: nothing,
    now: systemClock.now,
  });
}

/** Throws MR2001 when a server does run there after all, MR5004 when none ever did. */
export async function offlineBootstrap(config: Config, request: BootstrapRequest): Promise<BootstrapAnswer> {
  const store = open(config.dataDir, config.namespace);
  const mesh = meshOf(store, config);
  // Looked at before it is taken, because that makes what is not there.
  await knownTrust(store, mesh);
  try {
    await store.leadership.take();
    const document = await knownTrust(store, mesh);
    const roots = await store.roots.list();
    const now = systemClock.now();
    const ledger = await loadLedger(mesh.state, now);
    const authorities = await existingAuthorities(store, mesh, { document, roots, ledger });
    const issuing = new CertificateMaker(authorities, systemClock, config);
    if (request.uuid !== undefined) raise(ownerProblem(ledger, request.uuid, request));
    const { credentials, handedOut } = await issuing.bootstrap(request, document.trust);
    const { uuid } = credentials.proxy;
    record(ledger, { type: "issued", proxy: uuid, credential: handedOut, at: now });
    const row = ledger.proxies.get(uuid);
    if (row !== undefined) await store.evidence.write([{ key: uuid, value: toDurable(row) }]);
    return { ...credentials, xdsPort: config.xdsPort, serverName: XDS_SERVER_NAMES[0] };
  } finally {
    await store.close();
  }
}

/**
 * Writes an operator's word straight into the ledger. Throws MR2001 when a server does run there after all, MR2002 where there
 * is no data directory, MR5004 for what only a running server can do, and what `operatorEvent` throws.
 */
export async function offlineOperate(dataDir: string, request: OperatorRequest): Promise<OperatorAnswer> {
  const store = open(dataDir);
  await store.mustExist();
  if (request.action === "retry")
    throw new MeshrootError(
      "MR5004",
      `no server runs on ${dataDir}: retry needs one, to send the secrets`,
      "Start it with `meshroot serve`; a proxy that connects to it gets what it refused once its pause is over.",
    );
  const mesh = meshOf(store, livesOf(process.env));
  const { trust } = await knownTrust(store, mesh);
  try {
    await store.leadership.take();
    const now = systemClock.now();
    const ledger = await loadLedger(mesh.state, now);
    const { event, row } = operatorEvent(ledger, request, now, { trust, holds: [] });
    record(ledger, event);
    await store.evidence.write([{ key: row.identity.uuid, value: toDurable(row) }]);
    return operatorAnswer(row, event);
  } finally {
    await store.close();
  }
}

/** What a server would say of this root at its start. Throws why it would be refused. */
export async function offlineExamination(dataDir: string, root: MeshRoot, env: NodeJS.ProcessEnv): Promise<void> {
  const store = open(dataDir);
  const mesh = meshOf(store, livesOf(env));
  const document = await loadTrust(mesh.state);
  const names = await namesOf(store, await loadLedger(mesh.state, systemClock.now()));
  await mesh.examine(root, document?.trust, names);
}

type Found = { readonly document: TrustDocument; readonly roots: RootListing; readonly ledger: Ledger };

/** Of roots that a server has used. A newer root's authority is not made here: looking makes nothing. */
async function existingAuthorities(store: Store, { authorities }: Mesh, found: Found): Promise<AuthorityKeeper> {
  const specs = specsOf(found.document);
  const used = found.roots.roots.filter((root) => specs.has(root.name));
  authorities.follow(used, { specs, trust: found.document.trust }, await namesOf(store, found.ledger));
  await authorities.settled(LOOK_MS);
  return authorities;
}

async function namesOf(store: Store, ledger: Ledger): Promise<ServiceNames> {
  const { services } = await store.services.read();
  return new NamesInUse().of(ledger, services, systemClock.now(), "until-leaf-expiry");
}

function specsOf(document: TrustDocument): Map<string, ProviderSpec> {
  return new Map(Object.entries(document.authorities));
}

async function knownTrust({ place }: Store, { state }: Mesh): Promise<TrustDocument> {
  const document = await loadTrust(state);
  if (document !== undefined) return document;
  throw new MeshrootError(
    "MR5004",
    `no mesh in ${place} yet`,
    "Run `meshroot serve` once; its first start makes the first root.",
  );
}
