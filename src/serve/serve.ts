/** Standalone mode, put together: file store, controller, xDS, health, HTTP, admin socket. */

import { resolve } from "node:path";
import type { Logger } from "pino";
import type { Config } from "../config.ts";
import { type CheckedClock, checkedClock } from "../controller/checked-clock.ts";
import { LeafCache } from "../controller/leaf-cache.ts";
import { MeshSecrets } from "../controller/mesh-secrets.ts";
import type { RootProofs } from "../controller/root-proofs.ts";
import { RotationController } from "../controller/rotation-controller.ts";
import { type MeshStatus, meshStatus } from "../controller/status.ts";
import { raise } from "../core/errors.ts";
import { outdated } from "../core/evidence/outdated.ts";
import { ownerProblem } from "../core/evidence/proxy-owner.ts";
import { rootOf } from "../core/roots/trust.ts";
import { complainer } from "../ops/complainer.ts";
import { openGrpcPort, openGrpcSocket } from "../ops/grpc-port.ts";
import { closeHttp, httpApp, serveHttp } from "../ops/http.ts";
import type { Door } from "../ops/keep-door.ts";
import { createMetrics } from "../ops/metrics.ts";
import type { Clock } from "../ports/clock.ts";
import type { BeforeStep } from "../runtime/atomic-write.ts";
import { connectionBudget, openFilesLimit } from "../runtime/open-files.ts";
import { type ClientIdentity, identifyClient } from "../secrets/client-identity.ts";
import { SecretSource } from "../secrets/secret-source.ts";
import { openFileStore } from "../stores/files/file-store.ts";
import { XdsServer } from "../xds/server.ts";
import { adminApp } from "./admin-api.ts";
import { assemble } from "./assemble.ts";
import { auditStandingWords, liveOperator } from "./audited-operator.ts";
import { handOut, type Owners } from "./bootstrap-credentials.ts";
import { CertificateMaker, spreadRenewal, XDS_SERVER_NAMES } from "./certificate-maker.ts";
import { collectMetrics } from "./collect-metrics.ts";
import { turnedAwayAt } from "./doors.ts";
import { firstRoot } from "./first-root.ts";
import { firstCredentials, keepCredentials, ServerCredentials } from "./own-credentials.ts";
import { refusedLine } from "./refused-client.ts";
import { SideServices } from "./side-services.ts";
import { ADMIN_SOCKET, GRPC_SOCKET, placeSocket } from "./sockets.ts";
import { checkedSystemClock } from "./system-clock.ts";
import { XDS_HINTS } from "./xds-hints.ts";

export type RunningServer = {
  readonly xdsPort: number;
  readonly httpPort: number;
  readonly healthPort: number;
  readonly dataDir: string;
  status(): MeshStatus;
  /** Ends streams with OK, gives back the lock. */
  stop(): Promise<void>;
};

/**
 * Starts everything, or throws one MeshrootError and leaves nothing running. `beforeStep`: for crash tests; `proofs`: for tests
 * with roots that the proof would refuse.
 */
export async function serve(
  config: Config,
  log: Logger,
  version: string,
  clock: Clock = checkedSystemClock,
  beforeStep?: BeforeStep,
  proofs?: RootProofs,
): Promise<RunningServer> {
  const cleanups: (() => unknown)[] = [];
  const stop = async () => {
    for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
  };
  try {
    const checked = checkedClock(clock, log, () => performance.now());
    return await start(config, log, version, checked, cleanups, stop, beforeStep, proofs);
  } catch (error) {
    await stop();
    throw error;
  }
}

async function start(
  config: Config,
  log: Logger,
  version: string,
  clock: CheckedClock,
  cleanups: (() => unknown)[],
  stop: () => Promise<void>,
  beforeStep: BeforeStep | undefined,
  proofs: RootProofs | undefined,
): Promise<RunningServer> {
  const store = openFileStore({ ...config, dataDir: resolve(config.dataDir) }, { clock, log, beforeStep });
  cleanups.push(() => store.close());
  await store.leadership.take();
  const { state, authorities, examine } = assemble(store, config, { clock, log, proofs });
  await firstRoot(store, config, clock, log);
  // A broken file is told of below, by its watch.
  const read = await store.services.read();
  let services = read.problems.length === 0 ? read.services : undefined;
  const settings = {
    settleMs: config.settleMs,
    recoveryMs: config.recoveryWindowMs,
    absentPolicy: config.absentPolicy,
  };
  const controller = await RotationController.start(
    {
      clock,
      state,
      authorities,
      settings: { ...settings, namespace: config.namespace },
      log,
      services: () => services,
    },
    await store.roots.list(),
  );
  cleanups.push(() => controller.stop());
  // Not by spreading them into Math.max: a call takes some 100,000 arguments, and a ledger has a row for every proxy that ever came.
  clock.recall([...controller.ledger.proxies.values()].reduce((last, row) => Math.max(last, row.lastContactAt), 0));
  auditStandingWords(controller.ledger, store.audit);

  const metrics = createMetrics();
  const issuing = new CertificateMaker(authorities, clock, config);
  let source: SecretSource | undefined;
  const issuer = new LeafCache({
    clock,
    log,
    make: async (kind, proxy, root) => {
      const end = metrics.certificateIssueSeconds.startTimer();
      try {
        const leaf = await issuing.leaf(kind, proxy, root);
        metrics.certificatesIssued.inc({ kind, result: "ok" });
        return leaf;
      } catch (error) {
        metrics.certificatesIssued.inc({ kind, result: "error" });
        throw error;
      } finally {
        end();
      }
    },
    isReady: (root) => authorities.isReady(root),
    renewalTime: spreadRenewal,
    onIssued: (proxy) => source?.changed(proxy.uuid),
  });
  const secrets = new MeshSecrets({ controller, issuer, clock, log });
  if (services !== undefined) secrets.setServices(services);
  source = new SecretSource({ controller, secrets, clock, log });

  const own = new ServerCredentials({ issuing, secrets: store.secrets, namespace: config.namespace, clock });
  const side = new SideServices({ controller, secrets });
  let isServing = false;
  const budget = connectionBudget(openFilesLimit());
  const doorOf = (name: string) => turnedAwayAt(name, metrics, log, () => performance.now());
  const doorTo = (name: string) => ({ maxConnections: budget.each, turnedAway: doorOf(name) });
  const xds = new XdsServer<ClientIdentity>({
    maxConnections: budget.xds,
    maxHandshakes: budget.xdsStrangers,
    turnedAway: doorOf("xds"),
    credentials: await firstCredentials(controller, own),
    identify: (certificate) => {
      const client = identifyClient(certificate, controller.trust, clock.now());
      raise(ownerProblem(controller.ledger, client.proxy.uuid, client.proxy));
      return client;
    },
    sources: [source],
    hints: XDS_HINTS,
    refused: (refusal) => {
      metrics.xdsRefused.inc();
      const { fields, message } = refusedLine(refusal, controller);
      log.warn({ component: "xds", ...fields }, message);
    },
    onNode: (client) => side.noteNode(client),
    onEvent: (event) => metrics.xdsMessages.inc({ type: event.type }),
    outdated: ({ identity: { proxy, credential }, openedAt }) => {
      const row = controller.ledger.proxies.get(proxy.uuid);
      return outdated({ ...credential, openedAt }, row, controller.trust, clock.now());
    },
    onRetired: ({ identity: { proxy }, remote }, reason) =>
      log.info(
        { component: "xds", proxy: proxy.uuid, identity: `${proxy.serviceAccount}.${proxy.namespace}`, remote },
        `xDS connection closed, so that the proxy opens a new one: ${reason}`,
      ),
    ...(config.xdsPortExtras === "on" ? { extend: (server) => side.addToXdsPort(server) } : {}),
    maxStreamAgeMs: config.maxStreamAgeMs,
    streamsPerSecond: config.streamRate,
    maxRequestBytes: config.maxRequestBytes,
    now: clock.now,
  });
  // Closed after the xDS port, so that whoever watches hears NOT_SERVING before streams end (R78).
  const healthAddress = { host: config.bind, port: config.healthPort };
  const health = await openGrpcPort(
    "health",
    healthAddress,
    "--health-port",
    (server) => side.addToHealthPort(server),
    doorTo("health"),
  );
  cleanups.push(() => health.close());
  const xdsPort = await xds.listen(config.bind, config.xdsPort);
  cleanups.push(() => xds.close({ drainMs: config.drainWindowMs }));
  keepCredentials(controller, own, xds, log);
  controller.subscribe((what) => {
    if (what === "trust") xds.recheck();
    // Without a disk nothing can be sent, so a balancer does well to look for another server.
    if (isServing) side.health.setServing(controller.storeProblem === undefined);
  });

  const status = () =>
    meshStatus({
      live: true,
      controller,
      absentPolicy: config.absentPolicy,
      wanted: (proxy, name) => secrets.wanted(proxy, name, "envoy"),
      nodeOf: (proxy) => side.nodeOf(proxy),
      now: clock.now,
    });
  metrics.buildInfo.set({ version }, 1);
  const app = httpApp({
    version,
    metrics,
    collect: () => collectMetrics(metrics, status(), xds.streams, clock, controller),
    notReady: () => {
      const problem = controller.storeProblem ?? controller.signingProblem;
      return problem && `${problem.code} ${problem.message}. ${problem.hint}`;
    },
  });
  const http = await serveHttp(app, { host: config.bind, port: config.httpPort }, "--http-port", doorTo("http"));
  cleanups.push(() => closeHttp(http.server));
  const operator = await placeSocket(store.place, GRPC_SOCKET, (path) =>
    openGrpcSocket(
      "operator's gRPC",
      path,
      "--data-dir",
      (server) => side.addToOperatorSocket(server),
      doorTo("operator"),
    ),
  );
  cleanups.push(operator.remove, () => operator.server.close());
  cleanups.push(() => {
    isServing = false;
    side.health.setServing(false);
  });
  isServing = true;
  side.health.setServing(controller.storeProblem === undefined);

  const owners: Owners = new Map();
  const admin = await openAdmin(store.place, doorTo("admin"), {
    version,
    status,
    bootstrap: async (request) => {
      const credentials = await handOut(issuing, controller, request, clock.now, owners);
      return { ...credentials, xdsPort, serverName: XDS_SERVER_NAMES[0] };
    },
    examine: (root) => examine(root, controller.trust, controller.names),
    operate: liveOperator({ controller, clock, audit: store.audit, retry: (proxy) => source?.changed(proxy) }),
  });
  cleanups.push(admin.remove, () => closeHttp(admin.server));

  let told = "";
  const rootWatch = await store.roots.watch((list) => {
    // A list may come again only to say that it is no longer provisional.
    const isNews = told !== JSON.stringify(list.problems);
    told = JSON.stringify(list.problems);
    for (const { source: file, problem } of isNews ? list.problems : [])
      log.warn({ component: "store", file, code: problem.code, hint: problem.hint }, `${file}: ${problem.message}`);
    controller.setRoots(list);
  }, whenUnreadable(log));
  cleanups.push(() => rootWatch.close());
  const serviceWatch = await store.services.watch(({ services: found, problems }) => {
    for (const problem of problems)
      log.warn({ component: "store", code: problem.code, hint: problem.hint }, problem.message);
    if (problems.length > 0) return;
    services = found;
    secrets.setServices(found);
    source?.changed();
  }, whenUnreadable(log));
  cleanups.push(() => serviceWatch.close());

  const signer = rootOf(controller.trust, controller.trust.signer);
  log.debug({ component: "serve", dataDir: store.place, xdsPort, signer: signer.name }, "serving");
  return { xdsPort, httpPort: http.port, healthPort: health.port, dataDir: store.place, status, stop };
}

/** A folder or file that can't be read for now: what was read last stays in force, and the next poll tries again. */
function whenUnreadable(log: Logger): (error: unknown) => void {
  const complain = complainer(log.warn.bind(log), "store");
  return (error) => complain(error, (message) => `${message}; what was read last stays in force`);
}

/** Whoever may open it may have credentials made. */
function openAdmin(dataDir: string, door: Door, deps: Parameters<typeof adminApp>[0]) {
  return placeSocket(dataDir, ADMIN_SOCKET, async (path) => {
    const { server } = await serveHttp(adminApp(deps), { path }, "--data-dir", door);
    return server;
  });
}
