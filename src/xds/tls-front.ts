/**
 * TLS in front of gRPC. Node's own TLS server decides, and says by name whom it refuses and why; then the socket goes to
 * grpc-js. Certificate and client CAs are exchanged while open streams go on.
 */

import { constants, createHash, X509Certificate } from "node:crypto";
import type { Socket } from "node:net";
import { createServer, type Server, type TLSSocket } from "node:tls";
import { formatHostPort } from "../core/address.ts";
import { cannotListen, MeshrootError } from "../core/errors.ts";
import { Doorkeeper, type DoorLimits, type TurnedAway } from "../runtime/doorkeeper.ts";
import type { ServerHints } from "./hints.ts";

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
  readonly #hints: ServerHints;
  #hasCredentials: boolean;

  constructor(deps: FrontDeps<Identity>) {
    const { limits, turnedAway, hints } = deps;
    this.#hints = hints;
    const door = new Doorkeeper({ limits, turnedAway, now: () => performance.now(), after });
    // rejectUnauthorized is off because Node would then drop a client without a word, neither to it nor to us.
    this.#hasCredentials = deps.credentials !== undefined;
    this.#server = createServer({ ...options(deps.credentials), requestCert: true, rejectUnauthorized: false });
    this.#server.on("connection", (socket: Socket) => {
      const remote = remoteOf(socket);
      this.#sockets.set(remote, socket);
      socket.on("close", () => this.#sockets.delete(remote));
      // What comes in meanwhile changes nothing: Node's own time limit for a handshake begins anew with each byte.
      door.enter(socket);
    });
    this.#server.on("tlsClientError", (error, socket) => {
      // Whoever was turned away was counted, and has no address any more.
      if (socket.remoteAddress === undefined && isCutOff(error)) return;
      deps.refused({
        ...claimsOf(socket),
        reason: handshakeFailure(error),
        distrustsUs: isDistrust(error),
        hint: this.#hasCredentials ? hints.handshakeFailed : hints.noOwnCertificate,
      });
    });
    this.#server.on("secureConnection", (socket) => {
      socket.on("error", () => socket.destroy());
      // Not getPeerX509Certificate: Node 24.20 then keeps 6 KB outside the heap for each connection (test/load/soak.test.ts).
      const der = socket.getPeerCertificate().raw as Buffer | undefined;
      const verdict = judge(socket, der, deps);
      if ("identity" in verdict) {
        const raw = this.#sockets.get(remoteOf(socket));
        if (raw !== undefined) door.welcome(raw, socket.remoteAddress ?? "");
        deps.accept(socket, verdict.certificate, verdict.identity);
        return;
      }
      deps.refused({ ...claimsOf(socket), distrustsUs: false, ...verdict });
      socket.destroy();
    });
  }

  /** Throws MR5003 when the address is taken. Returns the port. */
  listen(host: string, port: number): Promise<number> {
    return new Promise((resolve, reject) => {
      this.#server.once("error", (error: NodeJS.ErrnoException) => {
        const { code = error.message } = error;
        reject(cannotListen("xDS", formatHostPort(host, port), code, this.#hints.cannotListen, error));
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
}

function after(ms: number, callback: () => void): () => void {
  const timer = setTimeout(callback, ms);
  timer.unref();
  return () => clearTimeout(timer);
}

type Refusal = { readonly reason: string; readonly hint: string };

function judge<Identity>(
  socket: TLSSocket,
  der: Buffer | undefined,
  { identify, hints }: Pick<FrontDeps<Identity>, "identify" | "hints">,
): Refusal | { readonly certificate: X509Certificate; readonly identity: Identity } {
  if (der === undefined) return { reason: "the client sent no certificate", hint: hints.noCertificate };
  let certificate: X509Certificate;
  let identity: Identity;
  try {
    certificate = new X509Certificate(der);
    identity = identify(certificate);
  } catch (error) {
    return { reason: (error as Error).message, hint: error instanceof MeshrootError ? error.hint : "" };
  }
  if (!socket.authorized) {
    return { reason: `client certificate refused: ${String(socket.authorizationError)}`, hint: hints.unverified };
  }
  if (socket.alpnProtocol !== "h2") {
    return { reason: "the client does not speak HTTP/2 (ALPN h2)", hint: "Set alpn_protocols: [h2] in its cluster." };
  }
  return { certificate, identity };
}

/**
 * No tickets, and a session id context that changes with the trusted roots: a resumed session would skip the check of the
 * client's certificate against the roots in force (F25).
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

/** OpenSSL's message holds a thread id, a source line and a newline; its `reason` says what happened. */
function handshakeFailure(error: Error & { readonly code?: string; readonly reason?: string }): string {
  if (isDistrust(error)) return "TLS handshake failed: the client does not trust the root of this server's certificate";
  return `TLS handshake failed: ${error.reason ?? error.message.split("\n")[0]}`;
}

function isCutOff(error: NodeJS.ErrnoException): boolean {
  return error.code === "ECONNRESET";
}

function isDistrust({ code }: NodeJS.ErrnoException): boolean {
  return code === "ERR_SSL_TLSV1_ALERT_UNKNOWN_CA" || code === "ERR_SSL_TLSV1_UNKNOWN_CA";
}

function claimsOf(socket: TLSSocket) {
  const { servername } = socket as { readonly servername?: string | false | null };
  return { remote: remoteOf(socket), serverName: servername || undefined };
}

export function remoteOf(socket: Socket): string {
  return `${socket.remoteAddress ?? "?"}:${socket.remotePort ?? "?"}`;
}
