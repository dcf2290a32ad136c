/** gRPC over HTTP/2 by hand: each message has five bytes before it, one for compression and four for its length. */

import type { ClientHttp2Session, ClientHttp2Stream } from "node:http2";

const HEAD_BYTES = 5;

/** A call whose messages the caller frames itself. Its errors are swallowed: they show in its "close". */
export function rawCall(
  session: ClientHttp2Session,
  path: string,
  headers: Readonly<Record<string, string>> = {},
): ClientHttp2Stream {
  const stream = session.request({
    ":method": "POST",
    ":path": path,
    "content-type": "application/grpc",
    te: "trailers",
    ...headers,
  });
  stream.on("error", () => undefined);
  return stream;
}

export function framed(payload: Buffer): Buffer {
  const frame = Buffer.alloc(HEAD_BYTES + payload.length);
  frame.writeUInt32BE(payload.length, 1);
  payload.copy(frame, HEAD_BYTES);
  return frame;
}

/** Takes the stream's bytes from now on, and calls back with each message that is whole. */
export function eachMessage(stream: ClientHttp2Stream, callback: (message: Buffer) => void): void {
  let rest: Buffer = Buffer.alloc(0);
  stream.on("data", (chunk: Buffer) => {
    rest = rest.length === 0 ? chunk : Buffer.concat([rest, chunk]);
    while (rest.length >= HEAD_BYTES && rest.length >= HEAD_BYTES + rest.readUInt32BE(1)) {
      const end = HEAD_BYTES + rest.readUInt32BE(1);
      callback(rest.subarray(HEAD_BYTES, end));
      rest = rest.subarray(end);
    }
  });
}
