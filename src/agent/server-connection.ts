/** One mTLS connection to the xDS server with one delta stream on it, and why it ended, in words for its operator. */

import {
  type ChannelOptions,
  Client,
  type ClientDuplexStream,
  connectivityState,
  credentials,
  type StatusObject,
  status,
} from "@grpc/grpc-js";
import { MeshrootError } from "../core/errors.ts";
import { identityName, type ProxyIdentity } from "../core/identity.ts";
import { SECRETS } from "../xds/services.ts";
import type { HeldCredentials } from "./held-credentials.ts";

export type StreamEnd = { readonly code: number; readonly details: string };

export type ServerConnection = {
  readonly stream: ClientDuplexStream<Buffer, Buffer>;
  /** The handshake is done and the server speaks; rejects when the connection ends before that. */
  readonly ready: Promise<void>;
  /** Never rejects. */
  readonly ended: Promise<StreamEnd>;
  close(): void;
};

/** A vanished server is noticed within the sum of both; the same as in the rendered bootstraps. */
const KEEPALIVE = { "grpc.keepalive_time_ms": 30_000, "grpc.keepalive_timeout_ms": 5_000 };

/** A connection of its own, made with the credentials of this moment (C4). `address`: host:port. */
export function connect(address: string, serverName: string, held: HeldCredentials): ServerConnection {
  const options: ChannelOptions = {
    ...KEEPALIVE,
    // Nothing of an earlier connection to the same address is shared, and nothing of it outlives this client.
    "grpc.use_local_subchannel_pool": 1,
    "grpc.ssl_target_name_override": serverName,
    "grpc.default_authority": serverName,
    "grpc.enable_retries": 0,
  };
  const tls = credentials.createSsl(Buffer.from(held.caPem), Buffer.from(held.keyPem), Buffer.from(held.certPem));
  const client = new Client(address, tls, options);
  const { path, requestSerialize, responseDeserialize } = SECRETS.delta;
  const stream = client.makeBidiStreamRequest(path, requestSerialize, responseDeserialize);
  // The status says the same, and comes in every case.
  stream.on("error", () => undefined);
  const ended = new Promise<StreamEnd>((resolve) => {
    stream.on("status", ({ code, details }: StatusObject) => resolve({ code, details }));
  });
  const ready = new Promise<void>((resolve, reject) => {
    // Not `waitForReady`: it asks a closed channel to connect, which then goes on trying for ever (seen on grpc-js 1.14).
    const channel = client.getChannel();
    const look = (): void => {
      const state = channel.getConnectivityState(false);
      if (state === connectivityState.READY) resolve();
      else if (state === connectivityState.SHUTDOWN) reject(new Error("the connection was closed"));
      else channel.watchConnectivityState(state, Number.POSITIVE_INFINITY, look);
    };
    look();
  });
  // Nobody may be interested any more when it fails.
  ready.catch(() => undefined);
  return {
    stream,
    ready,
    ended,
    close: () => {
      stream.cancel();
      client.close();
    },
  };
}

export type Whereabouts = {
  readonly address: string;
  readonly serverName: string;
  readonly dir: string;
  readonly identity: ProxyIdentity;
};

/** What an ended connection means; undefined for an end with OK, which asks for nothing but a new connection (C4). */
export function troubleOf({ code, details }: StreamEnd, where: Whereabouts): MeshrootError | undefined {
  if (code === status.OK) return undefined;
  const { address, serverName, dir } = where;
  const server = `the xDS server at ${address}`;
  const renew = remedy(where);
  if (code === status.UNAUTHENTICATED)
    return new MeshrootError("MR4001", `${server} refuses this proxy's certificate: ${details}`, renew);
  if (/altname/i.test(details)) {
    const hint = "Check the address; behind it another server answers, or one with another name than the bootstrap's.";
    return new MeshrootError("MR5004", `${server} has a certificate that is not for ${serverName}`, hint);
  }
  if (/self-signed|unable to (verify|get)|certificate signature/i.test(details))
    return new MeshrootError("MR5004", `${server} has a certificate under a root that ${dir} does not trust`, renew);
  if (/certificate has expired|not yet valid/i.test(details)) {
    const hint = "Check the clocks of both machines; then what the server's /health/ready says.";
    return new MeshrootError("MR5004", `${server} shows a certificate that is not valid now: ${cause(details)}`, hint);
  }
  // The server ends a handshake that it does not like after it, without a word to the client (TLS 1.3).
  if (/Failed to connect|ECONNRESET|socket disconnected|alert/i.test(details)) {
    const message = `${server} closes the connection after the handshake: it refuses this proxy's certificate, or it is being stopped`;
    return new MeshrootError("MR4001", message, `If the server's log names this proxy: ${renew}`);
  }
  const hint = "The Envoy keeps what it has, and the agent tries again. Check that the server runs and its address.";
  return new MeshrootError("MR5004", `${server} is away: ${cause(details)}`, hint);
}

export function remedy({ dir, identity }: Pick<Whereabouts, "dir" | "identity">): string {
  return `Run \`meshroot proxy bootstrap ${identityName(identity)} --out ${dir}\` where the server runs, into the same folder; the agent takes it up by itself.`;
}

/** grpc-js wraps the error of the socket. */
function cause(details: string): string {
  return /Last error: (?:Error(?: \[\w+\])?: )?(.*?)\.? Resolution note/.exec(details)?.[1] ?? details;
}
