/** What to do next, where a client or the port can't be had. */

import type { ListenHints } from "../core/errors.ts";

/** Whoever builds a server knows better than this layer where certificates and ports come from. */
export type ServerHints = {
  /** No handshake can succeed, because the server has no certificate of its own yet. */
  readonly noOwnCertificate: string;
  /** The client may not trust this server's certificate. */
  readonly handshakeFailed: string;
  readonly noCertificate: string;
  /** The client's certificate is not under a root that the server trusts, or not valid now. */
  readonly unverified: string;
  readonly cannotListen: ListenHints;
};

export const NEUTRAL_HINTS: ServerHints = {
  noOwnCertificate: "This server has no certificate to show yet.",
  handshakeFailed:
    "A client that does not trust this server has old roots: give it the root of this server's certificate.",
  noCertificate: "Give the client a certificate under a root that this server trusts.",
  unverified: "Give the client a new certificate under a root that this server trusts.",
  cannotListen: {
    inUse: "Stop the other process, or choose another port.",
    unusable: "Choose an address of this machine, and a port that this user may open.",
  },
};
