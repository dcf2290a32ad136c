/** One mutual TLS handshake in memory: what OpenSSL, which is the xDS port's and the agent's TLS, says of two certificates. */

import { duplexPair } from "node:stream";
import { connect, createServer } from "node:tls";

export type End = { readonly certPem: string; readonly keyPem: string };

/** Why one end refuses the other's certificate, in OpenSSL's words (`INVALID_PURPOSE`); undefined where it accepts it. */
export type Refusals = { readonly byServer: string | undefined; readonly byClient: string | undefined };

/** A handshake of two ends of this process can only fail or succeed; far longer than a loaded machine needs. */
const TIMEOUT_MS = 20_000;

/** Both ends verify under the same roots. They look at this machine's own clock: nothing can give TLS another one. */
export function handshake(server: End, client: End, caPem: string): Promise<Refusals> {
  const [near, far] = duplexPair();
  return new Promise((resolve) => {
    let byServer: string | undefined;
    let byClient: string | undefined;
    let open = 2;
    const close = () => {
      clearTimeout(timer);
      near.destroy();
      far.destroy();
      resolve({ byServer, byClient });
    };
    const ended = () => {
      open -= 1;
      if (open === 0) close();
    };
    const failed = (error: unknown) => {
      byServer ??= wordOf(error);
      byClient ??= wordOf(error);
      close();
    };
    const timer = setTimeout(() => failed(new Error(`no handshake within ${TIMEOUT_MS} ms`)), TIMEOUT_MS);
    const verify = { ca: caPem, rejectUnauthorized: false, minVersion: "TLSv1.2" } as const;
    try {
      const served = createServer({ ...verify, cert: server.certPem, key: server.keyPem, requestCert: true });
      served.on("secureConnection", (socket) => {
        socket.on("error", () => undefined);
        byServer = socket.authorized ? undefined : wordOf(socket.authorizationError);
        ended();
      });
      served.on("tlsClientError", failed);
      // As for any stream that a server has accepted; it never listens.
      served.emit("connection", near);
      const ends = { socket: far, cert: client.certPem, key: client.keyPem };
      // Whose name it is, is another question than whether it verifies.
      const called = connect({ ...verify, ...ends, checkServerIdentity: () => undefined });
      called.on("secureConnect", () => {
        byClient = called.authorized ? undefined : wordOf(called.authorizationError);
        ended();
      });
      called.on("error", failed);
    } catch (error) {
      // What OpenSSL can't load at all.
      failed(error);
    }
  });
}

function wordOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const { code, reason } = error as Error & { readonly code?: string; readonly reason?: string };
  return code ?? reason ?? error.message;
}
