/** An xDS server that answers nothing and records which method every stream calls and the bytes it sends. */

import type { TestContext } from "node:test";
import { type MethodDefinition, Server, ServerCredentials, type ServerDuplexStream } from "@grpc/grpc-js";
import type { TestLeaf, TestRoot } from "./test-certificates.ts";

const SDS = "/envoy.service.secret.v3.SecretDiscoveryService/";
const ADS = "/envoy.service.discovery.v3.AggregatedDiscoveryService/";
export const METHODS = [
  `${SDS}StreamSecrets`,
  `${SDS}DeltaSecrets`,
  `${ADS}StreamAggregatedResources`,
  `${ADS}DeltaAggregatedResources`,
];

export type XdsRecorder = {
  readonly port: number;
  /** One entry per stream that has sent something: its method, without the service, and all bytes that came. */
  streams(): { readonly method: string; readonly bytes: Buffer }[];
};

/** Demands client certificates under `root`. Stopped by the test. */
export async function startXdsRecorder(t: TestContext, root: TestRoot, leaf: TestLeaf): Promise<XdsRecorder> {
  const server = new Server();
  const streams: { method: string; bytes: Buffer }[] = [];
  const definitions = Object.fromEntries(METHODS.map((path) => [path, rawMethod(path)]));
  const handler = (path: string) => (call: ServerDuplexStream<Buffer, Buffer>) => {
    const stream = { method: path.slice(path.lastIndexOf("/") + 1), bytes: Buffer.alloc(0) };
    streams.push(stream);
    call.on("data", (bytes: Buffer) => {
      stream.bytes = Buffer.concat([stream.bytes, bytes]);
    });
    call.on("end", () => call.end());
  };
  server.addService(definitions, Object.fromEntries(METHODS.map((path) => [path, handler(path)])));
  const pair = { cert_chain: Buffer.from(leaf.certPem), private_key: Buffer.from(leaf.keyPem) };
  const credentials = ServerCredentials.createSsl(Buffer.from(root.certPem), [pair], true);
  const port = await new Promise<number>((resolve, reject) =>
    server.bindAsync("127.0.0.1:0", credentials, (error, bound) => (error === null ? resolve(bound) : reject(error))),
  );
  t.after(() => server.forceShutdown());
  return { port, streams: () => streams.filter(({ bytes }) => bytes.length > 0) };
}

function rawMethod(path: string): MethodDefinition<Buffer, Buffer> {
  const same = (bytes: Buffer) => bytes;
  return {
    path,
    requestStream: true,
    responseStream: true,
    requestSerialize: same,
    requestDeserialize: same,
    responseSerialize: same,
    responseDeserialize: same,
  };
}
