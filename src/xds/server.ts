/** The xDS server: TLS front, gRPC services, streams. Generic in what it serves; identities come from certificates. */

import { randomBytes, type X509Certificate } from "node:crypto";
import {
  type ConnectionInjector,
  Server,
  ServerCredentials,
  type ServerUnaryCall,
  type sendUnaryData,
} from "@grpc/grpc-js";
import type { DoorLimits } from "../runtime/doorkeeper.ts";
import { guarded } from "../runtime/grpc-guard.ts";
import { Admission } from "./admission.ts";
import { Connections, type XdsConnection } from "./connections.ts";
import { fetchResources } from "./fetch.ts";
import { NEUTRAL_HINTS, type ServerHints } from "./hints.ts";
import { AGGREGATED, type DiscoveryService, type RawMethod, serviceOf } from "./services.ts";
import type { ResourceSource, XdsClient } from "./source.ts";
import { type Call, type StreamEvent, XdsStream } from "./stream.ts";
import type { Variant } from "./subscription-state.ts";
import { type FrontCredentials, type FrontDeps, TlsFront } from "./tls-front.ts";

export type XdsServerDeps<Identity> = {
  readonly credentials: FrontDeps<Identity>["credentials"];
  /** Identity of the client behind this certificate; throws MR4001. Asked at every handshake and every stream. */
  readonly identify: (certificate: X509Certificate) => Identity;
  /** On ADS changes go out in the order of their types here, which has to be make before break: clusters first. */
  readonly sources: readonly ResourceSource<Identity>[];
  readonly refused?: FrontDeps<Identity>["refused"];
  /** For whoever runs this server. Default: words that fit any. */
  readonly hints?: Partial<ServerHints>;
  readonly onNode?: (client: XdsClient<Identity>) => void;
  readonly onEvent?: (event: StreamEvent) => void;
  /** Why this connection has to end now, with its streams; undefined: it may stay. Asked every second. */
  readonly outdated?: (connection: XdsConnection<Identity>) => string | undefined;
  readonly onRetired?: (connection: XdsConnection<Identity>, reason: string) => void;
  /** Adds other gRPC services to the port. Their callers have passed the handshake, no more is known of them. */
  readonly extend?: (server: Server) => void;
  /** Milliseconds after which a stream is ended with OK, give or take a fifth (R75). Default: 30 minutes. */
  readonly maxStreamAgeMs?: number;
  /** Streams that may be opened per second, and twice as many at once (R76). Default: 1,000. */
  readonly streamsPerSecond?: number;
  /** A larger request ends its stream with RESOURCE_EXHAUSTED. Default: 4 MiB, as in gRPC. */
  readonly maxRequestBytes?: number;
  /** A vanished peer is noticed within the sum of both (R74). Default: 30 s and 10 s. */
  readonly keepalive?: { readonly timeMs: number; readonly timeoutMs: number };
  /** Connections at one time, and of those the ones whose client has not finished its handshake. Default: no limit, and 1,024. */
  readonly maxConnections?: number;
  readonly maxHandshakes?: number;
  /** From the accept to a verified client, whatever comes in meanwhile. Default: 10 s. */
  readonly handshakeTimeoutMs?: number;
  readonly turnedAway?: FrontDeps<Identity>["turnedAway"];
  /** Milliseconds since the epoch. */
  readonly now?: () => number;
};

const MAX_STREAM_AGE_MS = 30 * 60_000;
const STREAMS_PER_SECOND = 1_000;
const MAX_HANDSHAKES = 1_024;
/** Twice Envoy's default connect_timeout. */
const HANDSHAKE_TIMEOUT_MS = 10_000;
/** A handshake may take this long before another one is let in in its place. */
const HANDSHAKE_CHANCE_MS = 1_000;
const KEEPALIVE = { timeMs: 30_000, timeoutMs: 10_000 };

/** Some 50,000 names. Every larger request would hold up everybody else while it is read. */
const MAX_REQUEST_BYTES = 4 * 1024 * 1024;
const LIMITS = {
  // An Envoy opens its streams at once. Who finishes a handshake and asks for nothing does not keep a place for it.
  "grpc.max_connection_idle_ms": 30_000,
  "grpc.max_concurrent_streams": 1_000,
};

export class XdsServer<Identity> {
  readonly #deps: XdsServerDeps<Identity>;
  readonly #sources: ReadonlyMap<string, ResourceSource<Identity>>;
  readonly #grpc: Server;
  readonly #injector: ConnectionInjector;
  readonly #front: TlsFront<Identity>;
  readonly #connections: Connections<Identity>;
  readonly #admission: Admission<Identity>;
  readonly #now: () => number;
  /** Nonces begin with it, so that none of an earlier process can match (R11). */
  readonly #process = randomBytes(6).toString("hex");
  #opened = 0;

  constructor(deps: XdsServerDeps<Identity>) {
    const { identify, streamsPerSecond = STREAMS_PER_SECOND, now = Date.now } = deps;
    this.#deps = deps;
    this.#now = now;
    this.#sources = new Map(deps.sources.map((source) => [source.typeUrl, source]));
    const connections = new Connections<Identity>({
      outdated: deps.outdated ?? (() => undefined),
      onRetired: deps.onRetired ?? (() => undefined),
      maxStreamAgeMs: deps.maxStreamAgeMs ?? MAX_STREAM_AGE_MS,
      now,
    });
    const certificateAt = (remote: string) => connections.certificateAt(remote);
    this.#connections = connections;
    this.#admission = new Admission({ certificateAt, identify, streamsPerSecond, now });
    this.#grpc = grpcServer(deps);
    this.#addServices();
    this.#injector = this.#grpc.createConnectionInjector(ServerCredentials.createInsecure());
    this.#front = new TlsFront({
      credentials: deps.credentials,
      accept: (socket, certificate, identity) => {
        connections.add(socket, certificate, identity);
        this.#injector.injectConnection(socket);
      },
      identify,
      refused: deps.refused ?? (() => undefined),
      hints: { ...NEUTRAL_HINTS, ...deps.hints },
      limits: doorLimits(deps),
      turnedAway: deps.turnedAway ?? (() => undefined),
    });
  }

  /** Returns the port. Throws MR5003 when the address is taken. */
  async listen(host: string, port: number): Promise<number> {
    const bound = await this.#front.listen(host, port);
    this.#connections.start();
    return bound;
  }

  get streams(): number {
    return this.#connections.streams;
  }

  /** Asks `outdated` about every connection now; else that is done every second. */
  recheck(): void {
    this.#connections.recheck();
  }

  setCredentials(credentials: FrontCredentials): void {
    this.#front.setCredentials(credentials);
  }

  /**
   * Takes no more streams, ends the open ones with OK and their connections with them, spread over `drainMs`, so that not all
   * clients knock at another server at once (R78); then closes the port.
   */
  async close({ drainMs = 0 }: { readonly drainMs?: number } = {}): Promise<void> {
    this.#admission.end();
    await this.#connections.drain(drainMs);
    this.#injector.destroy();
    await this.#front.close();
    this.#grpc.forceShutdown();
  }

  #addServices(): void {
    this.#addStreams(AGGREGATED, undefined);
    for (const source of this.#deps.sources) {
      const service = serviceOf(source.typeUrl);
      if (service === undefined) continue;
      this.#addStreams(service, source.typeUrl);
      if (service.fetch !== undefined) this.#addFetch(service.fetch, source);
    }
    this.#deps.extend?.(this.#grpc);
  }

  #addStreams({ sotw, delta }: DiscoveryService, typeUrl: string | undefined): void {
    const handlers = {
      sotw: (call: Call) => this.#open(call, "sotw", typeUrl),
      delta: (call: Call) => this.#open(call, "delta", typeUrl),
    };
    this.#grpc.addService({ sotw, delta }, handlers);
  }

  #addFetch(fetch: RawMethod, source: ResourceSource<Identity>): void {
    const handler = (call: ServerUnaryCall<Buffer, Buffer>, answer: sendUnaryData<Buffer>) => {
      const admitted = this.#admission.admit(call.getPeer());
      if (admitted.kind === "refused") return answer(admitted.error);
      const client = { identity: admitted.identity, streamId: this.#nextStreamId() };
      fetchResources(source, client, call.request).then((response) => answer(null, response), answer);
    };
    this.#grpc.addService({ fetch }, { fetch: handler });
  }

  #open(call: Call, variant: Variant, serviceType: string | undefined): void {
    const remote = call.getPeer();
    const admitted = this.#admission.admit(remote);
    if (admitted.kind === "refused") {
      call.emit("error", admitted.error);
      return;
    }
    const stream: XdsStream<Identity> = new XdsStream<Identity>({
      call,
      variant,
      serviceType,
      sources: this.#sources,
      identity: admitted.identity,
      streamId: this.#nextStreamId(),
      now: this.#now,
      onNode: (client) => this.#deps.onNode?.(client),
      onEvent: (event) => this.#deps.onEvent?.(event),
      onEnd: () => this.#connections.leave(remote, stream),
    });
    this.#connections.enter(remote, stream);
  }

  #nextStreamId(): string {
    this.#opened += 1;
    return `${this.#process}-${this.#opened}`;
  }
}

function grpcServer({
  keepalive = KEEPALIVE,
  maxRequestBytes = MAX_REQUEST_BYTES,
}: Pick<XdsServerDeps<unknown>, "keepalive" | "maxRequestBytes">): Server {
  const server = new Server({
    "grpc.max_receive_message_length": maxRequestBytes,
    ...LIMITS,
    "grpc.keepalive_time_ms": keepalive.timeMs,
    "grpc.keepalive_timeout_ms": keepalive.timeoutMs,
  });
  return guarded(server);
}

function doorLimits(
  deps: Pick<XdsServerDeps<unknown>, "maxConnections" | "maxHandshakes" | "handshakeTimeoutMs">,
): DoorLimits {
  return {
    maxConnections: deps.maxConnections ?? Number.POSITIVE_INFINITY,
    maxStrangers: deps.maxHandshakes ?? MAX_HANDSHAKES,
    proveWithinMs: deps.handshakeTimeoutMs ?? HANDSHAKE_TIMEOUT_MS,
    chanceMs: HANDSHAKE_CHANCE_MS,
  };
}
