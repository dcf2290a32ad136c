/**
 * TLS in front of gRPC. Node's own TLS server decides, and says by name whom it refuses and why; then the socket goes to
 * grpc-js. Certificate and client CAs are exchanged while open streams go on.
 */

import { constants, createHash, type X509Certificate } from "node:crypto";
import type { Socket } from "node:net";
import { createServer, type Server, type TLSSocket } from "node:tls";
import { formatHostPort } from "../core/address.ts";
import { cannotListen } from "../core/errors.ts";
import { Doorkeeper, type DoorLimits, type TurnedAway } from "../runtime/doorkeeper.ts";
import type { ServerHints } from "./hints.ts";
import { handshakeFailure, isCutOff, isDistrust, judgeClient } from "./judge-client.ts";

export type FrontCredentials = {
  readonly certificatePem: string;
  readonly privateKeyPem: string;
  /** Roots that clients may chain to, PEM. */
  readonly clientCaPem: string;
};

export type RefusedClient = {
  readonly remote: string;
  readonly reason: string;
  readonly hint: string;
  /** The client ended the handshake, because it does not trust our certificate. */
  readonly distrustsUs: boolean;
  /** SNI, which anybody may claim; undefined where there was none. */
  readonly serverName: string | undefined;
};

export type FrontDeps<Identity> = {
  /** Undefined: none can be had yet, so that every handshake fails until `setCredentials`. */
  readonly credentials: FrontCredentials | undefined;
  /** Takes over an accepted socket. */
  readonly accept: (socket: TLSSocket, certificate: X509Certificate, identity: Identity) => void;
  /** Whose certificate it is. Throws MR4001 to refuse it. */
  readonly identify: (certificate: X509Certificate) => Identity;
  readonly refused: (refusal: RefusedClient) => void;
  readonly limits: DoorLimits;
  /** A connection was closed before it had proved who it is: it took too long, or others needed the room. */
  readonly turnedAway: (why: TurnedAway, address: string) => void;
  readonly hints: ServerHints;
};

export class TlsFront<Identity> {
  readonly #server: Server;
  /** By remote address and port, from the accept on. */
  readonly #sockets = new Map<string, Socket>();
  readonly #deps: FrontDeps<Identity>;
  readonly #door: Doorkeeper;
  #hasCredentials: boolean;

  constructor(deps: FrontDeps<Identity>) {
    const { credentials, limits, turnedAway } = deps;
    this.#deps = deps;
    this.#door = new Doorkeeper({ limits, turnedAway, now: () => performance.now(), after });
    this.#hasCredentials = credentials !== undefined;
    // rejectUnauthorized is off because Node would then drop a client without a word, neither to it nor to us.
    this.#server = createServer({ ...options(credentials), requestCert: true, rejectUnauthorized: false });
    this.#server.on("connection", (socket: Socket) => this.#enter(socket));
    this.#server.on("tlsClientError", (error, socket) => this.#handshakeFailed(error, socket));
    this.#server.on("secureConnection", (socket) => this.#judge(socket));
  }

  /** Throws MR5003 when the address is taken. Returns the port. */
  listen(host: string, port: number): Promise<number> {
    return new Promise((resolve, reject) => {
      this.#server.once("error", (error: NodeJS.ErrnoException) => {
        const { code = error.message } = error;
        reject(cannotListen("xDS", formatHostPort(host, port), code, this.#deps.hints.cannotListen, error));
      });
      this.#server.listen(port, host, () => {
        const address = this.#server.address();
        resolve(typeof address === "object" && address !== null ? address.port : port);
      });
    });
  }

  /** New handshakes use these; connections that stand go on. */
  setCredentials(credentials: FrontCredentials): void {
    this.#server.setSecureContext(options(credentials));
    this.#hasCredentials = true;
  }

  /** Closes the port and every connection. */
  close(): Promise<void> {
    for (const socket of this.#sockets.values()) socket.destroy();
    return new Promise((resolve) => this.#server.close(() => resolve()));
  }

  #enter(socket: Socket): void {
    const remote = remoteOf(socket);
    this.#sockets.set(remote, socket);
    socket.on("close", () => this.#sockets.delete(remote));
    // What comes in meanwhile changes nothing: Node's own time limit for a handshake begins anew with each byte.
    this.#door.enter(socket);
  }

  #handshakeFailed(error: Error, socket: TLSSocket): void {
    // Whoever was turned away was counted, and has no address any more.
    if (socket.remoteAddress === undefined && isCutOff(error)) return;
    const { hints, refused } = this.#deps;
    refused({
      ...claimsOf(socket),
      reason: handshakeFailure(error),
      distrustsUs: isDistrust(error),
      hint: this.#hasCredentials ? hints.handshakeFailed : hints.noOwnCertificate,
    });
  }

  #judge(socket: TLSSocket): void {
    socket.on("error", () => socket.destroy());
    const client = judgeClient(socket, this.#deps);
    if (client.kind === "refused") {
      const { reason, hint } = client;
      this.#deps.refused({ ...claimsOf(socket), distrustsUs: false, reason, hint });
      socket.destroy();
      return;
    }
    const raw = this.#sockets.get(remoteOf(socket));
    if (raw !== undefined) this.#door.welcome(raw, socket.remoteAddress ?? "");
    this.#deps.accept(socket, client.certificate, client.identity);
  }
}

function after(ms: number, callback: () => void): () => void {
  const timer = setTimeout(callback, ms);
  timer.unref();
  return () => clearTimeout(timer);
}

/**
 * No tickets, and a session id context that changes with the trusted roots: a resumed session would skip the check of the
 * client's certificate against the roots in force.
 */
function options(credentials: FrontCredentials | undefined) {
  const { certificatePem: cert, privateKeyPem: key, clientCaPem: ca } = credentials ?? {};
  const context = createHash("sha256")
    .update(ca ?? "")
    .digest("hex")
    .slice(0, 32);
  return {
    ...(credentials === undefined ? {} : { cert, key, ca }),
    ALPNProtocols: ["h2"],
    minVersion: "TLSv1.2",
    secureOptions: constants.SSL_OP_NO_TICKET,
    sessionIdContext: context,
  } as const;
}

function claimsOf(socket: TLSSocket) {
  const { servername } = socket as { readonly servername?: string | false | null };
  return { remote: remoteOf(socket), serverName: servername || undefined };
}

export function remoteOf(socket: Socket): string {
  return `${socket.remoteAddress ?? "?"}:${socket.remotePort ?? "?"}`;
}
