/**
 * A raw xDS client for tests. It does what it is told and nothing by itself: no ACK, no reconnect, no state but the names,
 * version and nonce that `ack` and `nack` repeat.
 *
 *   const client = xdsClient(port);
 *   const stream = client.secrets().request({ names: ["default"] });
 *   const response = await stream.next();
 *   stream.ack();
 *   await stream.expectSilence(50);
 *   client.close();
 */

import * as grpc from "@grpc/grpc-js";
import { type DecodedSecret, decodeSecret, SECRET_TYPE_URL } from "../../src/secrets/secret-codec.ts";
import {
  type ClientDeltaRequest,
  type ClientNode,
  type ClientSotwRequest,
  decodeDeltaResponse,
  decodeSotwResponse,
  encodeDeltaRequest,
  encodeSotwRequest,
  type ReceivedResponse,
} from "../../src/xds/client-wire.ts";
import type { RawMethod } from "../../src/xds/services.ts";
import { aggregatedDiscoveryService, secretDiscoveryService } from "./discovery-services.ts";
import { type StreamEnd, XdsTestStream } from "./xds-stream.ts";

/** PEM texts. `serverName`: what the server's certificate must be valid for, and the SNI. */
export type ClientTls = {
  readonly ca: string;
  readonly certificate?: string;
  readonly key?: string;
  readonly serverName?: string;
};

export type Response = ReceivedResponse & { readonly secrets: readonly DecodedSecret[] };

/** `node` false: never sent. `nodeAlways`: in every request, as Envoy does by default. */
export type StreamOptions = { readonly node?: ClientNode | false; readonly nodeAlways?: boolean };

/** The whole subscription in `names`; a field that is left out repeats what the stream knows. */
export type SotwAsk = {
  readonly names?: readonly string[];
  readonly version?: string;
  readonly nonce?: string;
  readonly typeUrl?: string;
  readonly error?: { readonly code: number; readonly message: string };
  readonly node?: ClientNode;
};

export type FetchAsk = Omit<SotwAsk, "node"> & StreamOptions;

/** Only what changes; nothing is repeated. */
export type DeltaAsk = {
  readonly subscribe?: readonly string[];
  readonly unsubscribe?: readonly string[];
  readonly initialVersions?: Readonly<Record<string, string>>;
  readonly nonce?: string;
  readonly typeUrl?: string;
  readonly error?: { readonly code: number; readonly message: string };
  readonly node?: ClientNode;
};

export type XdsTestClient = ReturnType<typeof xdsClient>;

const TEST_NODE: ClientNode = { id: "test-node", cluster: "test" };

/** To 127.0.0.1:`port`. Every client has a connection of its own; `close` ends it with its streams. */
export function xdsClient(port: number, tls?: ClientTls) {
  const options: grpc.ChannelOptions = { "grpc.use_local_subchannel_pool": 1 };
  if (tls?.serverName !== undefined) {
    options["grpc.ssl_target_name_override"] = tls.serverName;
    options["grpc.default_authority"] = tls.serverName;
  }
  const client = new grpc.Client(`127.0.0.1:${port}`, credentials(tls), options);
  const sotw = (method: RawMethod, stream: StreamOptions) => openSotw(client, method, stream);
  const delta = (method: RawMethod, stream: StreamOptions) => openDelta(client, method, stream);
  return {
    secrets: (stream: StreamOptions = {}) => sotw(secretDiscoveryService.StreamSecrets, stream),
    deltaSecrets: (stream: StreamOptions = {}) => delta(secretDiscoveryService.DeltaSecrets, stream),
    ads: (stream: StreamOptions = {}) => sotw(aggregatedDiscoveryService.StreamAggregatedResources, stream),
    deltaAds: (stream: StreamOptions = {}) => delta(aggregatedDiscoveryService.DeltaAggregatedResources, stream),
    /** FetchSecrets. Rejects with a `StreamEnd` of a status other than OK. */
    fetch: (ask: FetchAsk) => fetchSecrets(client, ask),
    close: () => client.close(),
  };
}

function credentials(tls: ClientTls | undefined): grpc.ChannelCredentials {
  if (tls === undefined) return grpc.credentials.createInsecure();
  const pem = (text: string | undefined) => (text === undefined ? null : Buffer.from(text));
  return grpc.credentials.createSsl(pem(tls.ca), pem(tls.key), pem(tls.certificate));
}

function openSotw(client: grpc.Client, method: RawMethod, options: StreamOptions) {
  /** By type URL, as it was asked for: on SDS an empty one is Secret. */
  const known = new Map<string, { names: readonly string[]; version: string; nonce: string }>();
  return new XdsTestStream<SotwAsk>({
    call: open(client, method),
    decode: (bytes) => withSecrets(decodeSotwResponse(bytes)),
    encode: (ask, first) => {
      const typeUrl = ask.typeUrl ?? SECRET_TYPE_URL;
      const before = known.get(typeUrl) ?? { names: [], version: "", nonce: "" };
      const now = {
        names: ask.names ?? before.names,
        version: ask.version ?? before.version,
        nonce: ask.nonce ?? before.nonce,
      };
      known.set(typeUrl, now);
      const { names: resourceNames, version: versionInfo, nonce: responseNonce } = now;
      const request: ClientSotwRequest = { typeUrl, resourceNames, versionInfo, responseNonce };
      return encodeSotwRequest({ ...request, ...nodeOf(ask, options, first), ...errorOf(ask) });
    },
    ack: ({ typeUrl, version, nonce }) => ({ typeUrl, version, nonce }),
    // The version stays the one accepted before.
    nack: ({ typeUrl, nonce }, error) => ({ typeUrl, nonce, error }),
  });
}

function openDelta(client: grpc.Client, method: RawMethod, options: StreamOptions) {
  return new XdsTestStream<DeltaAsk>({
    call: open(client, method),
    decode: (bytes) => withSecrets(decodeDeltaResponse(bytes)),
    encode: (ask, first) => {
      const request: ClientDeltaRequest = {
        typeUrl: ask.typeUrl ?? SECRET_TYPE_URL,
        subscribe: ask.subscribe ?? [],
        unsubscribe: ask.unsubscribe ?? [],
        initialResourceVersions: new Map(Object.entries(ask.initialVersions ?? {})),
        responseNonce: ask.nonce ?? "",
      };
      return encodeDeltaRequest({ ...request, ...nodeOf(ask, options, first), ...errorOf(ask) });
    },
    ack: ({ typeUrl, nonce }) => ({ typeUrl, nonce }),
    nack: ({ typeUrl, nonce }, error) => ({ typeUrl, nonce, error }),
  });
}

function open(client: grpc.Client, method: RawMethod): grpc.ClientDuplexStream<Buffer, Buffer> {
  return client.makeBidiStreamRequest(method.path, method.requestSerialize, method.responseDeserialize);
}

function fetchSecrets(client: grpc.Client, ask: FetchAsk): Promise<Response> {
  const { path, requestSerialize, responseDeserialize } = secretDiscoveryService.FetchSecrets;
  const request = encodeSotwRequest({
    typeUrl: ask.typeUrl ?? SECRET_TYPE_URL,
    resourceNames: ask.names ?? [],
    versionInfo: ask.version ?? "",
    ...nodeOf({}, ask, true),
  });
  return new Promise((resolve, reject) => {
    client.makeUnaryRequest(path, requestSerialize, responseDeserialize, request, (error, bytes) => {
      if (bytes !== undefined && error === null) resolve(withSecrets(decodeSotwResponse(bytes)));
      else reject({ code: error?.code ?? grpc.status.UNKNOWN, details: error?.details ?? "" } satisfies StreamEnd);
    });
  });
}

function nodeOf(ask: { node?: ClientNode }, options: StreamOptions, first: boolean): { node?: ClientNode } {
  if (ask.node !== undefined) return { node: ask.node };
  if (options.node === false || !(first || options.nodeAlways === true)) return {};
  return { node: options.node ?? TEST_NODE };
}

function errorOf({ error }: { error?: { code: number; message: string } }) {
  return error === undefined ? {} : { errorDetail: error };
}

function withSecrets(received: ReceivedResponse): Response {
  const secrets = received.resources.filter(({ typeUrl }) => typeUrl === SECRET_TYPE_URL);
  return { ...received, secrets: secrets.map(({ any }) => decodeSecret(any)) };
}
