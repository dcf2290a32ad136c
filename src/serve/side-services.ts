/** The gRPC services beside xDS: health and reflection on each port, client status (CSDS) on the operator's socket alone. */

import type { Server } from "@grpc/grpc-js";
import type { MeshSecrets } from "../controller/mesh-secrets.ts";
import type { RotationController } from "../controller/rotation-controller.ts";
import type { ProxyRow } from "../core/evidence/ledger-state.ts";
import { secretStates } from "../core/evidence/secret-states.ts";
import { foreignText } from "../core/foreign-text.ts";
import { proxyUri } from "../core/identity.ts";
import { addClientStatus, CLIENT_STATUS, type ClientState } from "../ops/client-status.ts";
import { HEALTH, ServiceHealth } from "../ops/health.ts";
import { addReflection } from "../ops/reflection.ts";
import { AGENT_NAME } from "../secrets/agent-name.ts";
import type { ClientIdentity } from "../secrets/client-identity.ts";
import { SECRET_TYPE_URL } from "../secrets/secret-codec.ts";
import { AGGREGATED, SECRETS } from "../xds/services.ts";
import type { XdsClient } from "../xds/source.ts";

/** A client may ask for anything. */
const MAX_NAME = 1_024;

const XDS = [SECRETS.name, AGGREGATED.name];

type Deps = {
  readonly controller: Pick<RotationController, "ledger" | "whenRetired">;
  readonly secrets: Pick<MeshSecrets, "wanted">;
};

export class SideServices {
  readonly health = new ServiceHealth([...XDS, CLIENT_STATUS]);
  readonly #deps: Deps;
  /** By proxy: what its Envoy said about itself on its newest stream. */
  readonly #nodes = new Map<string, XdsClient<ClientIdentity>>();

  constructor(deps: Deps) {
    this.#deps = deps;
    deps.controller.whenRetired((proxy) => this.#nodes.delete(proxy));
  }

  noteNode(client: XdsClient<ClientIdentity>): void {
    if (client.node.userAgentName !== AGENT_NAME) this.#nodes.set(client.identity.proxy.uuid, client);
  }

  nodeOf(proxy: string): string | undefined {
    const client = this.#nodes.get(proxy);
    return client && shown(client.node.id);
  }

  addToXdsPort(server: Server): void {
    this.#addHealth(server, XDS);
  }

  addToHealthPort(server: Server): void {
    this.#addHealth(server, []);
  }

  addToOperatorSocket(server: Server): void {
    addClientStatus(server, () => this.#clients());
    this.#addHealth(server, [CLIENT_STATUS]);
  }

  #addHealth(server: Server, others: readonly string[]): void {
    this.health.addTo(server);
    addReflection(server, [...others, HEALTH]);
  }

  *#clients(): Iterable<ClientState> {
    for (const row of this.#deps.controller.ledger.proxies.values()) yield this.#client(row);
  }

  #client(row: ProxyRow): ClientState {
    const { uuid } = row.identity;
    const client = this.#nodes.get(uuid);
    const { node } = client ?? {};
    return {
      node: {
        id: shown(node?.id),
        cluster: shown(node?.cluster),
        userAgentName: shown(node?.userAgentName),
        userAgentVersion: shown(node?.userAgentVersion),
        metadata: metadataOf(client),
      },
      identity: proxyUri(row.identity),
      streamId: client?.streamId ?? "",
      typeUrl: SECRET_TYPE_URL,
      secrets: secretStates(row, (name) => this.#deps.secrets.wanted(uuid, name, "envoy")).map((secret) => ({
        ...secret,
        name: shown(secret.name),
      })),
    };
  }
}

function shown(text = ""): string {
  return foreignText(text, MAX_NAME);
}

/** A client's own words: what can't be read is as good as nothing. */
function metadataOf(client: XdsClient<ClientIdentity> | undefined): ClientState["node"]["metadata"] {
  try {
    return client?.node.metadata ?? {};
  } catch {
    return {};
  }
}
