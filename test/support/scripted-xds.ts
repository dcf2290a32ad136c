/** An xDS server that says what a test tells it to, over mTLS, one delta stream of secrets after the other. */

import { X509Certificate } from "node:crypto";
import type { TestContext } from "node:test";
import { Server, ServerCredentials, type ServerDuplexStream, status } from "@grpc/grpc-js";
import { encodeTlsCertificate, encodeValidationContext, SECRET_TYPE_URL } from "../../src/secrets/secret-codec.ts";
import { decodeDeltaRequest, encodeDeltaResponse } from "../../src/xds/wire.ts";
import { secretDiscoveryService } from "./discovery-services.ts";
import { until } from "./server.ts";
import { makeTestLeaf, type TestRoot } from "./test-certificates.ts";

export const SERVER_NAME = "xds.meshroot.internal";

export type AskedFor = ReturnType<typeof decodeDeltaRequest>;

type Pair = { readonly certPem: string; readonly keyPem: string };

export type ScriptedStream = {
  /** Everything that the client has said, in order. */
  readonly requests: readonly AskedFor[];
  /** Serial of the certificate that the client showed, lower-case hex. */
  readonly serial: string;
  readonly port: number;
  /** Returns the nonce. */
  sendLeaf(version: string, leaf: Pair, name?: string): string;
  sendBundle(version: string, caPem: string, name?: string): string;
  /** Both in one response. */
  sendBoth(version: string, leaf: Pair, caPem: string): string;
  sendRemoval(name: string): string;
  /** Waits for the request that answers this nonce; the text of its refusal, undefined for an ACK. */
  answer(nonce: string): Promise<string | undefined>;
  isAnswered(nonce: string): boolean;
  end(code?: number, details?: string): void;
};

export type ScriptedXds = {
  readonly port: number;
  readonly streams: readonly ScriptedStream[];
  /** Waits for the stream with this number, from 0, and for its first request. */
  stream(number: number): Promise<ScriptedStream>;
};

/** Its certificate is under `root`, which clients have to be under, too. Stopped by the test. */
export async function startScriptedXds(t: TestContext, root: TestRoot): Promise<ScriptedXds> {
  const server = new Server();
  const streams: ScriptedStream[] = [];
  server.addService(
    { DeltaSecrets: secretDiscoveryService.DeltaSecrets },
    { DeltaSecrets: (call: ServerDuplexStream<Buffer, Buffer>) => void streams.push(scripted(call, streams.length)) },
  );
  const leaf = await makeTestLeaf(root, { dns: [SERVER_NAME] });
  const pair = { cert_chain: Buffer.from(leaf.certPem), private_key: Buffer.from(leaf.keyPem) };
  const credentials = ServerCredentials.createSsl(Buffer.from(root.certPem), [pair], true);
  const port = await new Promise<number>((resolve, reject) =>
    server.bindAsync("127.0.0.1:0", credentials, (error, bound) => (error === null ? resolve(bound) : reject(error))),
  );
  t.after(() => server.forceShutdown());
  const stream = async (number: number): Promise<ScriptedStream> => {
    await until(`stream ${number}`, () => (streams[number]?.requests.length ?? 0) > 0);
    return streams[number] as ScriptedStream;
  };
  return { port, streams, stream };
}

function scripted(call: ServerDuplexStream<Buffer, Buffer>, number: number): ScriptedStream {
  const requests: AskedFor[] = [];
  let sent = 0;
  call.on("data", (bytes: Buffer) => void requests.push(decodeDeltaRequest(bytes)));
  call.on("error", () => undefined);
  call.on("end", () => call.end());
  const raw = call.getAuthContext().sslPeerCertificate?.raw;
  const send = (resources: Parameters<typeof encodeDeltaResponse>[0]["resources"], removed: string[] = []) => {
    sent += 1;
    const nonce = `${number}.${sent}`;
    call.write(encodeDeltaResponse({ typeUrl: SECRET_TYPE_URL, systemVersion: "", nonce, resources, removed }));
    return nonce;
  };
  const answered = (nonce: string) => requests.find(({ responseNonce }) => responseNonce === nonce);
  return {
    requests,
    serial: raw === undefined ? "" : new X509Certificate(raw).serialNumber.toLowerCase().replace(/^0+/, ""),
    port: Number(call.getPeer().split(":").at(-1)),
    sendLeaf: (version, pair, name = "tls_sds") => send([leafOf(name, version, pair)]),
    sendBundle: (version, caPem, name = "validation_context_sds") => send([bundleOf(name, version, caPem)]),
    sendBoth: (version, pair, caPem) =>
      send([leafOf("tls_sds", version, pair), bundleOf("validation_context_sds", version, caPem)]),
    sendRemoval: (name) => send([], [name]),
    answer: async (nonce) => {
      await until(`an answer to ${nonce}`, () => answered(nonce) !== undefined);
      const error = answered(nonce)?.errorDetail;
      return error === undefined ? undefined : error.message;
    },
    isAnswered: (nonce) => answered(nonce) !== undefined,
    end: (code = status.OK, details = "") => {
      if (code === status.OK) call.end();
      else call.emit("error", Object.assign(new Error(details), { code, details }));
    },
  };
}

function leafOf(name: string, version: string, { certPem, keyPem }: Pair) {
  return { name, version, any: encodeTlsCertificate({ name, chainPem: certPem, privateKeyPem: keyPem }) };
}

function bundleOf(name: string, version: string, trustedCaPem: string) {
  return { name, version, any: encodeValidationContext({ name, trustedCaPem }) };
}
