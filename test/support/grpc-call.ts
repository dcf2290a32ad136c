/** Calls of the gRPC services beside xDS, with messages as @grpc/proto-loader reads them. */

import type { TestContext } from "node:test";
import * as grpc from "@grpc/grpc-js";
import { loadProtos } from "../../src/ops/protos.ts";

type Method = grpc.MethodDefinition<object, object>;

export type GrpcCaller = {
  /** Rejects with a `grpc.ServiceError`. */
  unary<Answer>(service: string, method: string, request: object): Promise<Answer>;
  /** Sends all, ends its half, and gives what came, with the status at the end. */
  exchange<Answer>(
    service: string,
    method: string,
    requests: readonly object[],
  ): Promise<{ readonly answers: readonly Answer[]; readonly code: number; readonly details: string }>;
};

/** `target`: `127.0.0.1:port` or `unix:path`. Closed by the test. */
export function grpcCaller(
  t: TestContext,
  target: string,
  tls?: { readonly ca: string; readonly certificate: string; readonly key: string; readonly serverName: string },
): GrpcCaller {
  const credentials =
    tls === undefined
      ? grpc.credentials.createInsecure()
      : grpc.credentials.createSsl(Buffer.from(tls.ca), Buffer.from(tls.key), Buffer.from(tls.certificate));
  const client = new grpc.Client(target, credentials, {
    "grpc.use_local_subchannel_pool": 1,
    "grpc.max_receive_message_length": -1,
    ...(tls === undefined ? {} : { "grpc.ssl_target_name_override": tls.serverName }),
  });
  t.after(() => client.close());
  return {
    unary<Answer>(service: string, method: string, request: object) {
      const { path, requestSerialize, responseDeserialize } = methodOf(service, method);
      return new Promise<Answer>((resolve, reject) => {
        client.makeUnaryRequest(path, requestSerialize, responseDeserialize, request, (error, answer) =>
          error === null ? resolve(answer as Answer) : reject(error),
        );
      });
    },
    exchange<Answer>(service: string, method: string, requests: readonly object[]) {
      const { path, requestSerialize, responseDeserialize } = methodOf(service, method);
      const answers: Answer[] = [];
      const call = client.makeBidiStreamRequest(path, requestSerialize, responseDeserialize);
      call.on("data", (answer: object) => answers.push(answer as Answer));
      call.on("error", () => undefined);
      return new Promise<{ answers: Answer[]; code: number; details: string }>((resolve) => {
        call.on("status", ({ code, details }) => resolve({ answers, code, details }));
        for (const request of requests) call.write(request);
        call.end();
      });
    },
  };
}

function methodOf(service: string, method: string): Method {
  const definition = loadProtos()[service] as Readonly<Record<string, Method>> | undefined;
  const found = definition?.[method];
  if (found === undefined) throw new Error(`${service}/${method} is in no .proto file`);
  return found;
}
