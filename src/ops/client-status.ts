/**
 * CSDS (envoy.service.status.v3.ClientStatusDiscoveryService): what each proxy was sent and has answered. For operators
 * alone: it tells who is in the mesh. It holds no secret's content.
 */

import {
  type handleUnaryCall,
  type Server,
  type ServerDuplexStream,
  type ServiceDefinition,
  status,
} from "@grpc/grpc-js";
import { MeshrootError } from "../core/errors.ts";
import type { SecretState } from "../core/evidence/secret-states.ts";
import type {
  ClientConfig,
  ClientStatusRequest,
  ClientStatusResponse,
  StructMessage,
  Timestamp,
  ValueMessage,
} from "./client-status-messages.ts";
import { addLazily } from "./lazy-service.ts";
import { type Json, nodeMatcher } from "./node-matcher.ts";
import { loadProtos } from "./protos.ts";

export const CLIENT_STATUS = "envoy.service.status.v3.ClientStatusDiscoveryService";

/** One proxy. All but `identity` and `secrets` is what it says about itself. */
export type ClientState = {
  readonly node: {
    readonly id: string;
    readonly cluster: string;
    readonly userAgentName: string;
    readonly userAgentVersion: string;
    readonly metadata: { readonly [key: string]: Json };
  };
  /** As its certificate proved it; becomes `verified_identity` in the node's metadata. */
  readonly identity: string;
  readonly streamId: string;
  readonly typeUrl: string;
  readonly secrets: readonly SecretState[];
};

/** `clients` is asked once per request. */
export function addClientStatus(server: Server, clients: () => Iterable<ClientState>): void {
  const fetch: handleUnaryCall<ClientStatusRequest, ClientStatusResponse> = (call, answer) => {
    try {
      answer(null, clientStatus(call.request, clients()));
    } catch (error) {
      answer(asCallError(error));
    }
  };
  const stream = (call: ServerDuplexStream<ClientStatusRequest, ClientStatusResponse>) => {
    let isRefused = false;
    call.on("data", (request: ClientStatusRequest) => {
      // What comes after a refusal is read and not answered: unread, it would keep the call open.
      if (isRefused) return;
      try {
        // One answer per request: no more is read while the client does not take what was written.
        if (!call.write(clientStatus(request, clients()))) {
          call.pause();
          call.once("drain", () => call.resume());
        }
      } catch (error) {
        isRefused = true;
        call.emit("error", asCallError(error));
      }
    });
    call.on("end", () => call.end());
    call.on("error", () => undefined);
  };
  const implementation = { FetchClientStatus: fetch, StreamClientStatus: stream };
  addLazily(server, CLIENT_STATUS, { FetchClientStatus: "unary", StreamClientStatus: "bidi" }, () => ({
    definition: loadProtos()[CLIENT_STATUS] as ServiceDefinition,
    implementation,
  }));
}

function clientStatus(request: ClientStatusRequest, clients: Iterable<ClientState>): ClientStatusResponse {
  const matches = nodeMatcher(request.node_matchers);
  const config: ClientConfig[] = [];
  for (const client of clients) {
    const metadata = { ...client.node.metadata, verified_identity: client.identity };
    if (matches({ id: client.node.id, metadata })) config.push(clientConfig(client, metadata));
  }
  return { config };
}

function clientConfig(client: ClientState, metadata: { readonly [key: string]: Json }): ClientConfig {
  const { id, cluster, userAgentName, userAgentVersion } = client.node;
  return {
    node: {
      id,
      cluster,
      user_agent_name: userAgentName,
      ...(userAgentVersion === "" ? {} : { user_agent_version: userAgentVersion }),
      metadata: structMessage(metadata),
    },
    generic_xds_configs: client.secrets.map(({ name, version = "", answeredAt, config, client: said, error }) => ({
      type_url: client.typeUrl,
      name,
      version_info: version,
      ...(answeredAt === undefined ? {} : { last_updated: timestamp(answeredAt) }),
      config_status: config,
      client_status: said,
      ...(error === undefined
        ? {}
        : {
            error_state: {
              last_update_attempt: timestamp(error.at),
              details: error.message,
              version_info: error.version ?? "",
            },
          }),
    })),
    client_scope: client.streamId,
  };
}

function timestamp(ms: number): Timestamp {
  return { seconds: Math.floor(ms / 1_000), nanos: (ms % 1_000) * 1_000_000 };
}

function structMessage(object: { readonly [key: string]: Json }): StructMessage {
  return { fields: Object.fromEntries(Object.entries(object).map(([key, value]) => [key, valueMessage(value)])) };
}

function valueMessage(value: Json): ValueMessage {
  if (value === null) return { nullValue: 0 };
  if (typeof value === "boolean") return { boolValue: value };
  if (typeof value === "number") return { numberValue: value };
  if (typeof value === "string") return { stringValue: value };
  if (Array.isArray(value)) return { listValue: { values: value.map(valueMessage) } };
  return { structValue: structMessage(value as { readonly [key: string]: Json }) };
}

function asCallError(error: unknown): Error & { readonly code: status; readonly details: string } {
  const known = error instanceof MeshrootError;
  const details = known ? `${error.message}. ${error.hint}` : "internal error";
  return Object.assign(new Error(details), { code: known ? status.INVALID_ARGUMENT : status.INTERNAL, details });
}
