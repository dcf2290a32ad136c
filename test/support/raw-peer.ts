/**
 * An xDS client made of one HTTP/2 stream that reads nothing until it is told to: what a proxy looks like that hangs while its
 * connection stands. It answers nothing by itself.
 */

import { once } from "node:events";
import { type ClientHttp2Session, connect } from "node:http2";
import type { TestContext } from "node:test";
import { type DecodedSecret, decodeSecret, SECRET_TYPE_URL } from "../../src/secrets/secret-codec.ts";
import {
  decodeDeltaResponse,
  decodeSotwResponse,
  encodeDeltaRequest,
  encodeSotwRequest,
  type ReceivedResponse,
} from "../../src/xds/client-wire.ts";
import { eachMessage, framed, rawCall } from "./grpc-frames.ts";
import { until } from "./server.ts";
import type { ClientTls } from "./xds-client.ts";

export type PeerResponse = ReceivedResponse & { readonly secrets: readonly DecodedSecret[] };

export type RawPeer = {
  readonly session: ClientHttp2Session;
  /** `node` is sent by the first request, and by any that names one. Names are new ones in delta, the whole set in SotW. */
  say(ask: {
    readonly names?: readonly string[];
    readonly version?: string;
    readonly nonce?: string;
    readonly node?: string;
    readonly typeUrl?: string;
  }): void;
  /** From now on it reads. */
  read(): void;
  readonly responses: readonly PeerResponse[];
  /** Waits until this many responses were read. */
  response(count: number): Promise<PeerResponse>;
  /** gRPC's status of the end; resolves only for a peer that reads. */
  readonly ended: Promise<{ readonly responses: readonly PeerResponse[]; readonly status: number }>;
};

/** The method's path says whether it speaks SotW or delta. Closed by the test. */
export async function rawPeer(
  t: TestContext,
  { port, tls }: { readonly port: number; readonly tls: ClientTls },
  path: string,
): Promise<RawPeer> {
  const session = connect(`https://127.0.0.1:${port}`, {
    ca: tls.ca,
    ...(tls.certificate === undefined ? {} : { cert: tls.certificate }),
    ...(tls.key === undefined ? {} : { key: tls.key }),
    servername: tls.serverName,
  });
  t.after(() => session.destroy());
  session.on("error", () => undefined);
  await once(session, "connect");
  const isDelta = path.includes("/Delta");
  const stream = rawCall(session, path);
  const responses: PeerResponse[] = [];
  let status = -1;
  const takeStatus = (headers: { readonly [name: string]: unknown }) => {
    if (headers["grpc-status"] !== undefined) status = Number(headers["grpc-status"]);
  };
  stream.on("trailers", takeStatus);
  stream.on("response", takeStatus);
  const take = (message: Buffer) => {
    const response = (isDelta ? decodeDeltaResponse : decodeSotwResponse)(message);
    const own = response.resources.filter(({ typeUrl }) => typeUrl === SECRET_TYPE_URL);
    responses.push({ ...response, secrets: own.map(({ any }) => decodeSecret(any)) });
  };
  const ended = new Promise<{ responses: readonly PeerResponse[]; status: number }>((resolve) => {
    // The server's side is over; ours may stay open, as a hanging proxy's does.
    stream.on("end", () => resolve({ responses, status }));
  });
  let sent = 0;
  return {
    session,
    responses,
    ended,
    say({ names = [], version = "", nonce = "", node = sent === 0 ? "raw" : undefined, typeUrl = SECRET_TYPE_URL }) {
      sent += 1;
      const common = { typeUrl, responseNonce: nonce, ...(node === undefined ? {} : { node: { id: node } }) };
      const body = isDelta
        ? encodeDeltaRequest({ ...common, subscribe: names })
        : encodeSotwRequest({ ...common, resourceNames: names, versionInfo: version });
      stream.write(framed(body));
    },
    read: () => eachMessage(stream, take),
    async response(count) {
      await until(`response ${count}`, () => responses.length >= count);
      return responses[count - 1] as PeerResponse;
    },
  };
}
