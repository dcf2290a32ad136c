/** A server, put together: store, mesh, the port for proxies, the doors for people; and taken apart in the opposite order. */

import { resolve } from "node:path";
import type { Logger } from "pino";
import type { Config } from "../config.ts";
import { checkedClock } from "../controller/checked-clock.ts";
import type { RootProofs } from "../controller/root-proofs.ts";
import type { MeshStatus } from "../controller/status.ts";
import { rootOf } from "../core/roots/trust.ts";
import type { Clock } from "../ports/clock.ts";
import type { CertificateProvider } from "../ports/provider.ts";
import type { BeforeStep } from "../runtime/atomic-write.ts";
import { openFileStore } from "../stores/files/file-store.ts";
import { doorsOf } from "./doors.ts";
import { endingClock } from "./ending-clock.ts";
import { openAdmin, openGrpcDoor, openHealth, openHttp, statusOf } from "./operator-doors.ts";
import { type RunningMesh, startMesh } from "./running-mesh.ts";
import { SideServices } from "./side-services.ts";
import { checkedSystemClock } from "./system-clock.ts";
import { watchRoots, watchServices } from "./watch-store.ts";
import { openXdsPort } from "./xds-port.ts";

export type RunningServer = {
  readonly xdsPort: number;
  readonly httpPort: number;
  readonly healthPort: number;
  readonly dataDir: string;
  status(): MeshStatus;
  /** Ends streams with OK, gives back the lock. */
  stop(): Promise<void>;
};

export type ServeOptions = {
  /** Of this program, for people. */
  readonly version: string;
  readonly clock?: Clock;
  /** Beside those of this version. */
  readonly providers?: readonly CertificateProvider[];
  /** Default: roots have to prove that they carry the mesh. */
  readonly proofs?: RootProofs | undefined;
  /** Called before each write to the disk; what it throws, the write throws. */
  readonly beforeStep?: BeforeStep;
};

/** What was opened, in order. */
type Cleanups = (() => unknown)[];

/** Starts everything, or throws one MeshrootError and leaves nothing running. */
export async function serve(config: Config, log: Logger, options: ServeOptions): Promise<RunningServer> {
  const cleanups: Cleanups = [];
  const stop = async () => {
    for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
  };
  try {
    const mesh = await openMesh(config, log, options, cleanups);
    return { ...(await openDoors(mesh, options.version, cleanups)), stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

async function openMesh(
  config: Config,
  log: Logger,
  { beforeStep, clock: given = checkedSystemClock, proofs, providers }: ServeOptions,
  cleanups: Cleanups,
): Promise<RunningMesh> {
  const timers = endingClock(given);
  // Last of all: calls to a CA that hangs, and pauses of minutes.
  cleanups.push(() => timers.end());
  const clock = checkedClock(timers, log, () => performance.now());
  const store = openFileStore({ ...config, dataDir: resolve(config.dataDir) }, { clock, log, beforeStep });
  cleanups.push(() => store.close());
  await store.leadership.take();
  const mesh = await startMesh({ store, config, clock, log, proofs, providers });
  cleanups.push(() => mesh.controller.stop());
  return mesh;
}

async function openDoors(mesh: RunningMesh, version: string, cleanups: Cleanups): Promise<Omit<RunningServer, "stop">> {
  const { controller, log, store } = mesh;
  const side = new SideServices(mesh);
  const doors = doorsOf(mesh);
  // Closed after the xDS port, so that whoever watches hears NOT_SERVING before streams end (R78).
  const health = await openHealth(mesh, side, doors);
  cleanups.push(() => health.close());
  const xds = await openXdsPort(mesh, side, doors);
  cleanups.push(() => xds.server.close({ drainMs: mesh.config.drainWindowMs }));
  const http = await openHttp(mesh, side, xds, version, doors);
  cleanups.push(() => http.close());
  const grpc = await openGrpcDoor(mesh, side, doors);
  cleanups.push(() => grpc.close());
  cleanups.push(showHealth(mesh, side));
  const admin = await openAdmin(mesh, side, xds, version, doors);
  cleanups.push(() => admin.close());
  for (const watch of [await watchRoots(mesh), await watchServices(mesh)]) cleanups.push(() => watch.close());

  const signer = rootOf(controller.trust, controller.trust.signer);
  log.debug({ component: "serve", dataDir: store.place, xdsPort: xds.port, signer: signer.name }, "serving");
  const ports = { xdsPort: xds.port, httpPort: http.port, healthPort: health.port };
  return { ...ports, dataDir: store.place, status: () => statusOf(mesh, side) };
}

/** Until it is ended: SERVING while something can be sent. Without a disk nothing can, so a balancer does well to look elsewhere. */
function showHealth({ controller }: RunningMesh, side: SideServices): () => void {
  const show = () => side.health.setServing(controller.storeProblem === undefined);
  const unsubscribe = controller.subscribe(show);
  show();
  return () => {
    unsubscribe();
    side.health.setServing(false);
  };
}
