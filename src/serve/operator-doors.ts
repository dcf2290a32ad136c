/** The doors for people and their tools: health, HTTP, and the two sockets in the data directory. */

import { type MeshStatus, meshStatus } from "../controller/status.ts";
import { openGrpcPort, openGrpcSocket } from "../ops/grpc-port.ts";
import { closeHttp, httpApp, serveHttp } from "../ops/http.ts";
import { adminApp } from "./admin-api.ts";
import { liveOperator } from "./audited-operator.ts";
import { handOut, type Owners } from "./bootstrap-credentials.ts";
import { XDS_SERVER_NAMES } from "./certificate-maker.ts";
import { collectMetrics } from "./collect-metrics.ts";
import type { Doors } from "./doors.ts";
import type { RunningMesh } from "./running-mesh.ts";
import type { SideServices } from "./side-services.ts";
import { ADMIN_SOCKET, GRPC_SOCKET, placeSocket } from "./sockets.ts";
import type { XdsPort } from "./xds-port.ts";

/** Something that was opened, and the way to end it. */
type Opened = { close(): Promise<unknown> };

export function statusOf({ clock, config, controller, secrets }: RunningMesh, side: SideServices): MeshStatus {
  return meshStatus({
    live: true,
    controller,
    absentPolicy: config.absentPolicy,
    wanted: (proxy, name) => secrets.wanted(proxy, name, "envoy"),
    nodeOf: (proxy) => side.nodeOf(proxy),
    now: clock.now,
  });
}

/** gRPC health, in plain text. Throws MR5003. */
export async function openHealth({ config }: RunningMesh, side: SideServices, doors: Doors) {
  const address = { host: config.bind, port: config.healthPort };
  const add = side.addToHealthPort.bind(side);
  return openGrpcPort("health", address, "--health-port", add, doors.to("health"));
}

/** Probes and metrics. Throws MR5003. */
export async function openHttp(
  mesh: RunningMesh,
  side: SideServices,
  xds: XdsPort,
  version: string,
  doors: Doors,
): Promise<Opened & { readonly port: number }> {
  const { clock, config, controller, metrics } = mesh;
  metrics.buildInfo.set({ version }, 1);
  const app = httpApp({
    version,
    metrics,
    collect: () => collectMetrics(metrics, statusOf(mesh, side), xds.server.streams, clock, controller),
    notReady: () => {
      const problem = controller.storeProblem ?? controller.signingProblem;
      return problem && `${problem.code} ${problem.message}. ${problem.hint}`;
    },
  });
  const address = { host: config.bind, port: config.httpPort };
  const { server, port } = await serveHttp(app, address, "--http-port", doors.to("http"));
  return { port, close: () => closeHttp(server) };
}

/** Client status (CSDS), health and reflection, for the owner of the data directory. */
export async function openGrpcDoor({ store }: RunningMesh, side: SideServices, doors: Doors): Promise<Opened> {
  const add = side.addToOperatorSocket.bind(side);
  const { server, remove } = await placeSocket(store.place, GRPC_SOCKET, (path) =>
    openGrpcSocket("operator's gRPC", path, "--data-dir", add, doors.to("operator")),
  );
  return { close: async () => Promise.all([remove(), server.close()]) };
}

/** The command line's door: whoever may open it may have credentials made. */
export async function openAdmin(
  mesh: RunningMesh,
  side: SideServices,
  xds: XdsPort,
  version: string,
  doors: Doors,
): Promise<Opened> {
  const { authorities, certificates, clock, controller, secrets, store } = mesh;
  const owners: Owners = new Map();
  controller.whenRetired((proxy) => owners.delete(proxy));
  const app = adminApp({
    version,
    status: () => statusOf(mesh, side),
    bootstrap: async (request) => {
      const credentials = await handOut(certificates, controller, request, clock.now, owners);
      return { ...credentials, xdsPort: xds.port, serverName: XDS_SERVER_NAMES[0] };
    },
    examine: async (root) => {
      if (await authorities.hasCa(root)) await authorities.examine(root, controller.trust, controller.names);
    },
    operate: liveOperator({ controller, clock, audit: store.audit, retry: (proxy) => secrets.lookAgain(proxy) }),
  });
  const { server, remove } = await placeSocket(
    store.place,
    ADMIN_SOCKET,
    async (path) => (await serveHttp(app, { path }, "--data-dir", doors.to("admin"))).server,
  );
  return {
    close: async () => {
      await closeHttp(server);
      await remove();
    },
  };
}
