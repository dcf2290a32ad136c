/** Faults of grpc-js and of Node's HTTP/2 that a client can use against a gRPC server; guarded against here, for all that we open. */

type Call = {
  readonly destroyed: boolean;
  readonly closed: boolean;
  readonly writableEnded: boolean;
  once(event: "end", listener: () => void): unknown;
  destroy(): void;
  write(bytes: Uint8Array, done?: (error?: Error | null) => void): boolean;
};
type Inner = { _verifyContentType?: (call: Call, headers: unknown) => boolean };

/**
 * What grpc-js 1.14.7 on Node 24 does wrong, found by fuzzing:
 *
 * - a call that it can't serve, because the method or the content type is unknown, is answered without a look whether its client
 *   has reset it meanwhile. Nobody catches what `respond` throws then, and the process ends;
 * - a call that its client resets with NO_ERROR (as Envoy does) while a response is being written is never let go by Node: it
 *   waits for the end of that write, for as long as the connection lives;
 * - a call that grpc-js refuses in the middle (undecodable, too large) while another response is queued is written to after its
 *   end; Node then often keeps the status back, and the call stays open. So what comes after the end is dropped.
 *
 * Every call is looked at by grpc-js for its content type first, so that is where we get hold of it. It is a private method: where
 * a later version has no such, nothing is done here, and the tests have to tell. Returns the server.
 */
export function guarded<GrpcServer extends object>(server: GrpcServer): GrpcServer {
  const inner: Inner = server;
  const verify = inner._verifyContentType;
  if (verify === undefined) return server;
  inner._verifyContentType = (call, headers) => {
    if (call.destroyed || call.closed) return false;
    call.once("end", () => {
      if (call.closed) call.destroy();
    });
    const write = call.write.bind(call);
    call.write = (bytes, done) => {
      if (!call.writableEnded) return write(bytes, done);
      done?.();
      return false;
    };
    return verify.call(server, call, headers);
  };
  return server;
}
