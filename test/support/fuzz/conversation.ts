/** One gRPC call made of raw HTTP/2, whatever its bytes are. */

import { type ClientHttp2Session, constants } from "node:http2";
import { framed, rawCall } from "../grpc-frames.ts";
import type { Rng } from "./rng.ts";

export type Ending = "half-close" | "cancel" | "reset";

export type Outcome = {
  /** Undefined: there was none, as after a cancel. */
  readonly status: number | undefined;
  readonly details: string;
  readonly http: number | undefined;
  /** Of RST_STREAM (RFC 9113 section 7). */
  readonly reset: number;
};

/** Longer than anything takes that is not stuck. */
const PATIENCE_MS = 30_000;
const RESET_WITHIN_MS = 1_000;

/** Rejects when the server leaves the call open after its client has ended it. */
export function converse(
  session: ClientHttp2Session,
  path: string,
  chunks: readonly Buffer[],
  ending: Ending,
  headers: Readonly<Record<string, string>> = {},
): Promise<Outcome> {
  const stream = rawCall(session, path, headers);
  let status: number | undefined;
  let details = "";
  let http: number | undefined;
  const take = (received: Readonly<Record<string, unknown>>) => {
    if (received["grpc-status"] !== undefined) status = Number(received["grpc-status"]);
    if (received["grpc-message"] !== undefined) details = decodeURIComponent(String(received["grpc-message"]));
  };
  stream.on("response", (received) => {
    http = Number(received[":status"]);
    take(received);
  });
  stream.on("trailers", take);
  stream.resume();
  if (ending === "reset") {
    // Once all is out: Node's client, when it destroys a stream that it still has bytes for, at times sends frames without end.
    // Where the server takes no more, that moment never comes.
    const late = setTimeout(() => stream.close(constants.NGHTTP2_CANCEL), RESET_WITHIN_MS);
    for (const chunk of chunks.slice(0, -1)) stream.write(chunk);
    stream.write(chunks.at(-1) ?? "", () => {
      clearTimeout(late);
      stream.destroy();
    });
  } else {
    for (const chunk of chunks) stream.write(chunk);
    if (ending === "half-close") stream.end();
    else stream.close(constants.NGHTTP2_CANCEL);
  }
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error(`${path} is still open`)), PATIENCE_MS);
    stream.once("close", () => {
      clearTimeout(timer);
      resolve({ status, details, http, reset: stream.rstCode });
    });
  });
}

/** A frame that lies about itself. */
export function misframed(random: Rng, payload: Buffer): Buffer {
  const frame = framed(payload);
  switch (random.int(4)) {
    case 0:
      frame[0] = 1 + random.int(255);
      return frame;
    case 1:
      frame.writeUInt32BE(payload.length + 1 + random.int(100), 1);
      return frame;
    case 2:
      frame.writeUInt32BE(0xffff_ffff - random.int(1_000), 1);
      return frame;
    default:
      frame.writeUInt32BE(random.int(Math.max(1, payload.length)), 1);
      return frame;
  }
}
