/** `MeshAccess` straight on the store, while no server runs there. */

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
import type { MeshRoot, ProviderSpec, RootListing } from "../core/roots/mesh-root.ts";
import { rootOf } from "../core/roots/trust.ts";
import { rolesHold } from "../core/rotation/rotation-plan.ts";
import { QUIET } from "../ports/log.ts";
import type { StateStore, Store } from "../ports/store.ts";
import type { BootstrapAnswer, BootstrapRequest } from "../serve/admin-api.ts";
import { assemble, type MeshSettings } from "../serve/assemble.ts";
import { CertificateMaker, XDS_SERVER_NAMES } from "../serve/certificate-maker.ts";
import { checkedState } from "../serve/checked-state.ts";
import { systemClock } from "../serve/system-clock.ts";

/** How long a command waits for certificate authorities. */
const LOOK_MS = 15_000;

export type FolderDeps = {
  /** A store of its own for each question. */
  readonly open: () => Store;
  readonly namespace: string;
  readonly env: Readonly<Record<string, string | undefined>>;
};

export function folderAccess({ open, namespace, env }: FolderDeps) {
  // Lives are those of the environment, or the defaults: what flags the server will be given, nobody knows.
  const lives = () => loadSettings(["leafValidityMs", "xdsCertValidityMs"], {}, env);
  return {
    status: () => storedStatus(open(), lives, namespace),
    bootstrap: (request: BootstrapRequest, config: Config) => bootstrap(open(), config, request),
    operate: (request: OperatorRequest) => operate(open(), request),
    examine: (root: MeshRoot) => examine(open(), lives, root),
  };
}

/**
 * The mesh as it was last written down: every proxy is disconnected. Undefined where nothing was ever served; throws MR2002
 * where there is no data directory at all.
 */
async function storedStatus(
  store: Store,
  lives: () => MeshSettings,
  namespace: string,
): Promise<MeshStatus | undefined> {
  const state = checkedState(store);
  const document = await loadTrust(state);
  if (document === undefined) {
    await store.mustExist();
    return undefined;
  }
  const now = systemClock.now();
  const { trust } = document;
  const roots = await store.roots.list();
  const ledger = await loadLedger(state, now);
  const authorities = await existingAuthorities(store, lives(), { document, roots, ledger });
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
async function bootstrap(store: Store, config: Config, request: BootstrapRequest): Promise<BootstrapAnswer> {
  const state = checkedState(store);
  // Looked at before it is taken, because that makes what is not there.
  await knownTrust(store, state);
  try {
    await store.leadership.take();
    const document = await knownTrust(store, state);
    const roots = await store.roots.list();
    const now = systemClock.now();
    const ledger = await loadLedger(state, now);
    const authorities = await existingAuthorities(store, config, { document, roots, ledger });
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
async function operate(store: Store, request: OperatorRequest): Promise<OperatorAnswer> {
  await store.mustExist();
  if (request.action === "retry")
    throw new MeshrootError(
      "MR5004",
      `no server runs on ${store.place}: retry needs one, to send the secrets`,
      "Start it with `meshroot serve`; a proxy that connects to it gets what it refused once its pause is over.",
    );
  const state = checkedState(store);
  const { trust } = await knownTrust(store, state);
  try {
    await store.leadership.take();
    const now = systemClock.now();
    const ledger = await loadLedger(state, now);
    const { event, row } = operatorEvent(ledger, request, now, { trust, holds: [] });
    record(ledger, event);
    const isGone = !ledger.proxies.has(row.identity.uuid);
    await store.evidence.write([{ key: row.identity.uuid, value: isGone ? null : toDurable(row) }]);
    return operatorAnswer(row, event);
  } finally {
    await store.close();
  }
}

/** What a server would say of this root at its start. Throws why it would be refused. */
async function examine(store: Store, lives: () => MeshSettings, root: MeshRoot): Promise<void> {
  const authorities = authoritiesOf(store, lives());
  if (!(await authorities.hasCa(root))) return;
  const state = checkedState(store);
  const document = await loadTrust(state);
  const names = await namesOf(store, await loadLedger(state, systemClock.now()));
  await authorities.examine(root, document?.trust, names);
}

type Found = { readonly document: TrustDocument; readonly roots: RootListing; readonly ledger: Ledger };

/** Of roots that a server has used. A newer root's authority is not made here: looking makes nothing. */
async function existingAuthorities(store: Store, settings: MeshSettings, found: Found): Promise<AuthorityKeeper> {
  const authorities = authoritiesOf(store, settings);
  const specs = specsOf(found.document);
  const used = found.roots.roots.filter((root) => specs.has(root.name));
  authorities.follow(used, { specs, trust: found.document.trust }, await namesOf(store, found.ledger));
  await authorities.settled(LOOK_MS);
  return authorities;
}

function authoritiesOf(store: Store, settings: MeshSettings): AuthorityKeeper {
  return assemble(store, settings, { clock: systemClock, log: QUIET }).authorities;
}

async function namesOf(store: Store, ledger: Ledger): Promise<ServiceNames> {
  const { services } = await store.services.read();
  return new NamesInUse().of(ledger, services, systemClock.now(), "until-leaf-expiry");
}

function specsOf(document: TrustDocument): Map<string, ProviderSpec> {
  return new Map(Object.entries(document.authorities));
}

async function knownTrust({ place }: Store, state: StateStore): Promise<TrustDocument> {
  const document = await loadTrust(state);
  if (document !== undefined) return document;
  throw new MeshrootError(
    "MR5004",
    `no mesh in ${place} yet`,
    "Run `meshroot serve` once; its first start makes the first root.",
  );
}
