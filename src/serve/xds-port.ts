/** The port for proxies: who may come in, what is served, and our own certificate on it. */

import { raise } from "../core/errors.ts";
import { outdated } from "../core/evidence/outdated.ts";
import { ownerProblem } from "../core/evidence/proxy-owner.ts";
import { type ClientIdentity, identifyClient } from "../secrets/client-identity.ts";
import { XdsServer } from "../xds/server.ts";
import type { Doors } from "./doors.ts";
import { firstCredentials, keepCredentials, ServerCredentials } from "./own-credentials.ts";
import { refusedLine } from "./refused-client.ts";
import type { RunningMesh } from "./running-mesh.ts";
import type { SideServices } from "./side-services.ts";
import { XDS_HINTS } from "./xds-hints.ts";

export type XdsPort = { readonly port: number; readonly server: XdsServer<ClientIdentity> };

/** Throws MR5003 where it can't listen. The caller closes the server. */
export async function openXdsPort(mesh: RunningMesh, side: SideServices, doors: Doors): Promise<XdsPort> {
  const { certificates, clock, config, controller, log, metrics, source, store } = mesh;
  const own = new ServerCredentials({ certificates, secrets: store.secrets, namespace: config.namespace, clock });
  const server = new XdsServer<ClientIdentity>({
    ...doors.toXds(),
    ...connectionsOf(mesh),
    credentials: await firstCredentials(controller, own),
    sources: [source],
    hints: XDS_HINTS,
    onNode: (client) => side.noteNode(client),
    onEvent: (event) => metrics.xdsMessages.inc({ type: event.type }),
    ...(config.xdsPortExtras === "on" ? { extend: (server) => side.addToXdsPort(server) } : {}),
    maxStreamAgeMs: config.maxStreamAgeMs,
    streamsPerSecond: config.streamRate,
    maxRequestBytes: config.maxRequestBytes,
    now: clock.now,
  });
  const port = await server.listen(config.bind, config.xdsPort);
  keepCredentials(controller, own, server, log);
  controller.subscribe((what) => {
    if (what === "trust") server.recheck();
  });
  return { port, server };
}

/** Who may come in, and who has to come anew. */
function connectionsOf({ clock, controller, log, metrics }: RunningMesh) {
  type Deps = ConstructorParameters<typeof XdsServer<ClientIdentity>>[0];
  return {
    identify: (certificate) => {
      const client = identifyClient(certificate, controller.trust, clock.now());
      raise(ownerProblem(controller.ledger, client.proxy.uuid, client.proxy));
      return client;
    },
    refused: (refusal) => {
      metrics.xdsRefused.inc();
      const { fields, message } = refusedLine(refusal, controller);
      log.warn({ component: "xds", ...fields }, message);
    },
    outdated: ({ identity: { proxy, credential }, openedAt }) => {
      const row = controller.ledger.proxies.get(proxy.uuid);
      return outdated({ ...credential, openedAt }, row, controller.trust, clock.now());
    },
    onRetired: ({ identity: { proxy }, remote }, reason) =>
      log.info(
        { component: "xds", proxy: proxy.uuid, identity: `${proxy.serviceAccount}.${proxy.namespace}`, remote },
        `xDS connection closed, so that the proxy opens a new one: ${reason}`,
      ),
  } satisfies Partial<Deps>;
}
