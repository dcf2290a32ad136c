/** What commands do straight on the data directory while no server runs there. */

import { join } from "node:path";
import { type Config, loadSettings } from "../config.ts";
import { AuthorityKeeper } from "../controller/authority-keeper.ts";
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
import type { Log } from "../ports/log.ts";
import { createTresor } from "../providers/tresor.ts";
import { openDataDir, requireDataDir } from "../stores/files/data-dir.ts";
import { rootFiles } from "../stores/files/root-files.ts";
import { secretFiles } from "../stores/files/secret-files.ts";
import { readServices } from "../stores/files/services-file.ts";
import type { BootstrapAnswer, BootstrapRequest } from "./admin-api.ts";
import { CertificateMaker, XDS_SERVER_NAMES } from "./certificate-maker.ts";
import { checkedState } from "./checked-state.ts";
import { holdsSecret, rootProofs } from "./make-root-proofs.ts";
import { systemClock } from "./system-clock.ts";

/** How long a command waits for certificate authorities. */
const LOOK_MS = 15_000;

type Lives = Parameters<typeof rootProofs>[0];

const QUIET: Log = { debug: () => undefined, info: () => undefined, warn: () => undefined, error: () => undefined };

/**
 * The mesh as it was last written down: every proxy is disconnected. Undefined where nothing was ever served; throws MR2002
 * where there is no data directory at all.
 */
export async function offlineStatus(dataDir: string, namespace: string): Promise<MeshStatus | undefined> {
  const state = checkedState(join(dataDir, "state"));
  const document = await loadTrust(state);
  if (document === undefined) {
    await requireDataDir(dataDir);
    return undefined;
  }
  const now = systemClock.now();
  const { trust } = document;
  const roots = await rootFiles(join(dataDir, "roots"), namespace).list();
  const ledger = await loadLedger(state, now);
  const lives = loadSettings(["leafValidityMs", "xdsCertValidityMs"], {}, process.env);
  const authorities = await existingAuthorities({ dataDir, document, roots, ledger, lives });
  const known = new KnownRoots({ authorities, namespace, listing: roots, specs: specsOf(document) });
  const problem = known.problem(trust);
  const controller = {
    trust,
    ledger,
    roots,
    // Gates are a server's matter; what is wrong with roots can be seen without one.
    holds: [
      ...availabilityHolds(authorities, trust, roots.roots, now),
      ...(problem === undefined ? [] : [rolesHold(problem)]),
    ],
    loadedRoots: new Map(Object.values(trust.roots).map((root) => [root.name, root])),
    authorityProblems: authorities.problems,
    signerEndsSoon: authorities.endsSoon(rootOf(trust, trust.signer), now),
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
  // Looked at before it is opened, because opening makes what is not there.
  await knownTrust(config.dataDir);
  const dataDir = await openDataDir(config.dataDir, { lock: true });
  const state = checkedState(dataDir.state);
  try {
    const document = await knownTrust(config.dataDir);
    const roots = await rootFiles(dataDir.roots, config.namespace).list();
    const now = systemClock.now();
    const ledger = await loadLedger(state, now);
    const authorities = await existingAuthorities({ dataDir: dataDir.path, document, roots, ledger, lives: config });
    const issuing = new CertificateMaker(authorities, systemClock, config);
    if (request.uuid !== undefined) raise(ownerProblem(ledger, request.uuid, request));
    const { credentials, handedOut } = await issuing.bootstrap(request, document.trust);
    const { uuid } = credentials.proxy;
    record(ledger, { type: "issued", proxy: uuid, credential: handedOut, at: now });
    const row = ledger.proxies.get(uuid);
    if (row !== undefined) await state.writeRows([{ key: uuid, value: toDurable(row) }]);
    return { ...credentials, xdsPort: config.xdsPort, serverName: XDS_SERVER_NAMES[0] };
  } finally {
    await state.close();
    await dataDir.close();
  }
}

/**
 * Writes an operator's word straight into the ledger. Throws MR2001 when a server does run there after all, MR2002 where there
 * is no data directory, MR5004 for what only a running server can do, and what `operatorEvent` throws.
 */
export async function offlineOperate(dataDirPath: string, request: OperatorRequest): Promise<OperatorAnswer> {
  await requireDataDir(dataDirPath);
  if (request.action === "retry")
    throw new MeshrootError(
      "MR5004",
      `no server runs on ${dataDirPath}: retry needs one, to send the secrets`,
      "Start it with `meshroot serve`; a proxy that connects to it gets what it refused once its pause is over.",
    );
  const { trust } = await knownTrust(dataDirPath);
  const dataDir = await openDataDir(dataDirPath, { lock: true });
  const state = checkedState(dataDir.state);
  try {
    const now = systemClock.now();
    const ledger = await loadLedger(state, now);
    const { event, row } = operatorEvent(ledger, request, now, { trust, holds: [] });
    record(ledger, event);
    await state.writeRows([{ key: row.identity.uuid, value: toDurable(row) }]);
    return operatorAnswer(row, event);
  } finally {
    await state.close();
    await dataDir.close();
  }
}

/**
 * What a server would say of this root at its start. Lives are those of the environment, or the defaults: what flags the server
 * will be given, nobody knows. Throws why it would be refused.
 */
export async function offlineExamination(dataDir: string, root: MeshRoot, env: NodeJS.ProcessEnv): Promise<void> {
  if (!(await holdsSecret(secretFiles(join(dataDir, "secrets")), root))) return;
  const state = checkedState(join(dataDir, "state"));
  const document = await loadTrust(state);
  const names = await namesOf(dataDir, await loadLedger(state, systemClock.now()));
  const lives = loadSettings(["leafValidityMs", "xdsCertValidityMs"], {}, env);
  await authoritiesOf(dataDir, lives).examine(root, document?.trust, names);
}

type Existing = {
  readonly dataDir: string;
  readonly document: TrustDocument;
  readonly roots: RootListing;
  readonly ledger: Ledger;
  readonly lives: Lives;
};

/** Of roots that a server has used. A newer root's authority is not made here: looking makes nothing. */
async function existingAuthorities({ dataDir, document, roots, ledger, lives }: Existing): Promise<AuthorityKeeper> {
  const authorities = authoritiesOf(dataDir, lives);
  const specs = specsOf(document);
  const used = roots.roots.filter((root) => specs.has(root.name));
  authorities.follow(used, { specs, trust: document.trust }, await namesOf(dataDir, ledger));
  await authorities.settled(LOOK_MS);
  return authorities;
}

function authoritiesOf(dataDir: string, lives: Lives): AuthorityKeeper {
  const tresor = createTresor({ secrets: secretFiles(join(dataDir, "secrets")), clock: systemClock });
  return new AuthorityKeeper({ providers: [tresor], proofs: rootProofs(lives), clock: systemClock, log: QUIET });
}

async function namesOf(dataDir: string, ledger: Ledger): Promise<ServiceNames> {
  const { services } = await readServices(join(dataDir, "services.yaml"));
  return new NamesInUse().of(ledger, services, systemClock.now(), "until-leaf-expiry");
}

function specsOf(document: TrustDocument): Map<string, ProviderSpec> {
  return new Map(Object.entries(document.authorities));
}

async function knownTrust(dataDir: string): Promise<TrustDocument> {
  const document = await loadTrust(checkedState(join(dataDir, "state")));
  if (document !== undefined) return document;
  throw new MeshrootError(
    "MR5004",
    `no mesh in ${dataDir} yet`,
    "Run `meshroot serve` once; its first start makes the first root.",
  );
}
