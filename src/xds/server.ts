/** The xDS server: TLS front, gRPC services, streams. Generic in what it serves; identities come from certificates. */

import { createHash, randomBytes } from "node:crypto";
import type { TLSSocket } from "node:tls";
import { type ConnectionInjector, Server, ServerCredentials, type ServerDuplexStream, status } from "@grpc/grpc-js";
import { AGGREGATED, type DiscoveryService, serviceOf } from "./services.ts";
import type { ResourceSource, XdsClient } from "./source.ts";
import { type StreamEvent, XdsStream } from "./stream.ts";
import { type FrontCredentials, type FrontDeps, remoteOf, TlsFront } from "./tls-front.ts";

type Call = ServerDuplexStream<Buffer, Buffer>;

export type XdsServerDeps<Identity> = {
  readonly credentials: FrontDeps["credentials"];
  /** Identity of the client behind this certificate (DER); throws MR4001. Asked at every handshake and every stream. */
  readonly identify: (certificate: Buffer) => Identity;
  readonly sources: readonly ResourceSource<Identity>[];
  readonly refused: FrontDeps["refused"];
  readonly onNode: (client: XdsClient<Identity>) => void;
  readonly onEvent: (event: StreamEvent) => void;
  /** A connection is being closed by us, for this reason. */
  readonly onRetired: (connection: XdsConnection<Identity>, reason: string) => void;
  readonly now: () => number;
};

/** One client's connection: streams come and go on it, its certificate stays. */
export type XdsConnection<Identity> = {
  readonly identity: Identity;
  /** SHA-256 of the client certificate's DER, 64 lower-case hex digits. */
  readonly fingerprint: string;
  /** Milliseconds since the epoch. */
  readonly openedAt: number;
  readonly remote: string;
};

type Live<Identity> = XdsConnection<Identity> & {
  readonly socket: TLSSocket;
  readonly streams: Set<XdsStream<Identity>>;
  retired: boolean;
};

const SWEEP_MS = 1_000;
/** Between the end of a connection's streams and its own: the trailers have to get out. */
const CLOSE_AFTER_MS = 50;
/** A vanished peer is noticed within the sum of both (R74). */
const KEEPALIVE = { "grpc.keepalive_time_ms": 30_000, "grpc.keepalive_timeout_ms": 10_000 };

/** A request names secrets and a node: more than this is no proxy's, and would hold up everybody while it is read. */
const LIMITS = { "grpc.max_receive_message_length": 1024 * 1024 };

export class XdsServer<Identity> {
  readonly #deps: XdsServerDeps<Identity>;
  readonly #sources: ReadonlyMap<string, ResourceSource<Identity>>;
  readonly #grpc: Server;
  readonly #injector: ConnectionInjector;
  readonly #front: TlsFront;
  readonly #connections = new Map<string, Live<Identity>>();
  /** Nonces begin with it, so that none of an earlier process can match (R11). */
  readonly #process = randomBytes(6).toString("hex");
  #opened = 0;
  #draining = false;
  #sweeper: NodeJS.Timeout | undefined;

  constructor(deps: XdsServerDeps<Identity>) {
    this.#deps = deps;
    this.#sources = new Map(deps.sources.map((source) => [source.typeUrl, source]));
    this.#grpc = new Server({ ...KEEPALIVE, "grpc.max_concurrent_streams": 1_000, ...LIMITS });
    this.#serve(AGGREGATED, undefined);
    for (const { typeUrl } of deps.sources) {
      const service = serviceOf(typeUrl);
      if (service !== undefined) this.#serve(service, typeUrl);
    }
    this.#injector = this.#grpc.createConnectionInjector(ServerCredentials.createInsecure());
    this.#front = new TlsFront({
      credentials: deps.credentials,
      accept: (socket, certificate) => this.#accept(socket, certificate),
      check: (certificate) => void deps.identify(certificate),
      refused: deps.refused,
    });
  }

  /** Returns the port. Throws MR5003 when the address is taken. */
  async listen(host: string, port: number): Promise<number> {
    const bound = await this.#front.listen(host, port);
    this.#sweeper = setInterval(() => {
      for (const stream of this.#allStreams()) stream.sweep();
    }, SWEEP_MS);
    this.#sweeper.unref();
    return bound;
  }

  get streams(): number {
    return this.#allStreams().length;
  }

  /**
   * Ends the connections for which `why` gives a reason: their streams with OK, then the socket. Ending streams alone would
   * not do, because Envoy opens the next ones on the same connection, with the credential of its handshake (C4, V).
   */
  retire(why: (connection: XdsConnection<Identity>) => string | undefined): void {
    for (const connection of this.#connections.values()) {
      const reason = connection.retired ? undefined : why(connection);
      if (reason === undefined) continue;
      connection.retired = true;
      this.#deps.onRetired(connection, reason);
      for (const stream of [...connection.streams]) stream.end();
      setTimeout(() => connection.socket.destroySoon(), CLOSE_AFTER_MS);
    }
  }

  setCredentials(credentials: FrontCredentials): void {
    this.#front.setCredentials(credentials);
  }

  /** Ends every stream with OK, then closes the port. */
  async close(): Promise<void> {
    this.#draining = true;
    clearInterval(this.#sweeper);
    for (const stream of this.#allStreams()) stream.end();
    await new Promise((resolve) => setTimeout(resolve, this.#opened === 0 ? 0 : 50));
    this.#injector.destroy();
    await this.#front.close();
    this.#grpc.forceShutdown();
  }

  #serve({ sotw, delta }: DiscoveryService, typeUrl: string | undefined): void {
    this.#grpc.addService(
      { sotw, delta },
      {
        sotw: (call: Call) => this.#open(call, "sotw", typeUrl),
        delta: (call: Call) => this.#open(call, "delta", typeUrl),
      },
    );
  }

  #open(call: Call, variant: "sotw" | "delta", serviceType: string | undefined): void {
    const identity = this.#identify(call);
    const connection = this.#connections.get(call.getPeer());
    if (identity === undefined || connection === undefined) return;
    this.#opened += 1;
    const stream: XdsStream<Identity> = new XdsStream<Identity>({
      call,
      variant,
      serviceType,
      sources: this.#sources,
      identity,
      streamId: `${this.#process}-${this.#opened}`,
      now: this.#deps.now,
      onNode: this.#deps.onNode,
      onEvent: this.#deps.onEvent,
      onEnd: () => void connection.streams.delete(stream),
    });
    connection.streams.add(stream);
  }

  #allStreams(): XdsStream<Identity>[] {
    return [...this.#connections.values()].flatMap(({ streams }) => [...streams]);
  }

  #accept(socket: TLSSocket, certificate: Buffer): void {
    const remote = remoteOf(socket);
    this.#connections.set(remote, {
      identity: this.#deps.identify(certificate),
      fingerprint: createHash("sha256").update(certificate).digest("hex"),
      openedAt: this.#deps.now(),
      remote,
      socket,
      streams: new Set(),
      retired: false,
    });
    socket.once("close", () => this.#connections.delete(remote));
    this.#injector.injectConnection(socket);
  }

  /** Asked again for each stream: a connection may outlive the certificate that opened it. */
  #identify(call: Call): Identity | undefined {
    const refuse = (code: number, details: string): undefined => {
      call.emit("error", Object.assign(new Error(details), { code, details }));
    };
    if (this.#draining) return refuse(status.UNAVAILABLE, "the server is shutting down");
    const connection = this.#connections.get(call.getPeer());
    if (connection === undefined || connection.retired)
      return refuse(status.UNAVAILABLE, "this connection is being closed: come again on a new one");
    const certificate = call.getAuthContext().sslPeerCertificate?.raw;
    if (certificate === undefined) return refuse(status.UNAUTHENTICATED, "a client certificate is required");
    try {
      return this.#deps.identify(certificate);
    } catch (error) {
      return refuse(status.UNAUTHENTICATED, (error as Error).message);
    }
  }
}
