/** An xDS server without TLS that tells an Envoy what a test says: SotW and delta, secrets' own service and ADS. */

import type { TestContext } from "node:test";
import { Server, ServerCredentials, type ServerDuplexStream, type StatusObject, status } from "@grpc/grpc-js";
import { encodeTlsCertificate, encodeValidationContext, SECRET_TYPE_URL } from "../../src/secrets/secret-codec.ts";
import {
  type DeltaRequest,
  decodeDeltaRequest,
  decodeSotwRequest,
  type ErrorDetail,
  encodeDeltaResponse,
  encodeSotwResponse,
  type Node,
  type SotwRequest,
} from "../../src/xds/wire.ts";
import { aggregatedDiscoveryService, secretDiscoveryService } from "./discovery-services.ts";
import { until } from "./server.ts";

export type Variant = "sotw" | "delta" | "ads" | "deltaAds";
export const VARIANTS: readonly Variant[] = ["sotw", "delta", "ads", "deltaAds"];

/** `version` is empty in delta; `initial` and `unsubscribed` are empty in SotW. `names`: subscribed by this request. */
export type Asked = {
  readonly names: readonly string[];
  readonly unsubscribed: readonly string[];
  readonly version: string;
  readonly nonce: string;
  readonly initial: Readonly<Record<string, string>>;
  readonly error?: ErrorDetail;
  readonly node?: Node;
  readonly typeUrl: string;
};

export type Secret = { readonly name: string; readonly any: Buffer };

export type SecretStream = {
  readonly variant: Variant;
  /** Remote port: streams of one connection have the same. */
  readonly connection: string;
  readonly requests: readonly Asked[];
  /** Names that are subscribed now. */
  names(): ReadonlySet<string>;
  /** One response; returns its nonce. `removed` is for delta alone. */
  send(version: string, secrets: readonly Secret[], removed?: readonly string[]): string;
  /** Waits for the first request that answers this nonce. */
  answer(nonce: string): Promise<Asked>;
  end(as?: Partial<StatusObject>): void;
  ended(): boolean;
};

export type ScriptedSecrets = {
  readonly port: number;
  readonly streams: readonly SecretStream[];
  /** Waits for an open stream that asks for this name; the newest one. */
  streamOf(name: string): Promise<SecretStream>;
  /** Sends one secret to whoever asks for it, and waits for the verdict: undefined for an ACK. */
  tell(version: string, secret: Secret): Promise<ErrorDetail | undefined>;
};

/** Stopped by the test. */
export async function startScriptedSecrets(t: TestContext): Promise<ScriptedSecrets> {
  const server = new Server();
  const streams: SecretStream[] = [];
  const on = (variant: Variant) => (call: ServerDuplexStream<Buffer, Buffer>) =>
    void streams.push(scripted(call, variant, streams.length));
  const { StreamSecrets, DeltaSecrets } = secretDiscoveryService;
  server.addService({ StreamSecrets, DeltaSecrets }, { StreamSecrets: on("sotw"), DeltaSecrets: on("delta") });
  server.addService(aggregatedDiscoveryService, {
    StreamAggregatedResources: on("ads"),
    DeltaAggregatedResources: on("deltaAds"),
  });
  const port = await new Promise<number>((resolve, reject) =>
    server.bindAsync("127.0.0.1:0", ServerCredentials.createInsecure(), (error, bound) =>
      error === null ? resolve(bound) : reject(error),
    ),
  );
  t.after(() => server.forceShutdown());
  const find = (name: string) => streams.findLast((stream) => !stream.ended() && stream.names().has(name));
  const streamOf = async (name: string) => {
    await until(`a stream asks for ${name}`, () => find(name) !== undefined);
    return find(name) as SecretStream;
  };
  const tell = async (version: string, secret: Secret) => {
    const stream = await streamOf(secret.name);
    return (await stream.answer(stream.send(version, [secret]))).error;
  };
  return { port, streams, streamOf, tell };
}

function scripted(call: ServerDuplexStream<Buffer, Buffer>, variant: Variant, number: number): SecretStream {
  const requests: Asked[] = [];
  const isDelta = variant === "delta" || variant === "deltaAds";
  let names = new Set<string>();
  let sent = 0;
  let ended = false;
  call.on("data", (bytes: Buffer) => {
    const asked = isDelta ? fromDelta(decodeDeltaRequest(bytes)) : fromSotw(decodeSotwRequest(bytes));
    requests.push(asked);
    names = new Set(isDelta ? [...names, ...asked.names] : asked.names);
    for (const name of asked.unsubscribed) names.delete(name);
  });
  call.on("error", () => undefined);
  call.on("cancelled", () => {
    ended = true;
  });
  call.on("end", () => call.end());
  return {
    variant,
    connection: call.getPeer().split(":").at(-1) ?? "",
    requests,
    names: () => names,
    send(version, secrets, removed = []) {
      sent += 1;
      const nonce = `${number}.${sent}`;
      const head = { typeUrl: SECRET_TYPE_URL, nonce };
      call.write(
        isDelta
          ? encodeDeltaResponse({
              ...head,
              systemVersion: "",
              removed,
              resources: secrets.map(({ name, any }) => ({ name, version, any })),
            })
          : encodeSotwResponse({ ...head, versionInfo: version, resources: secrets.map(({ any }) => any) }),
      );
      return nonce;
    },
    async answer(nonce) {
      const find = () => requests.find((asked) => asked.nonce === nonce);
      await until(`an answer to ${nonce}`, () => find() !== undefined);
      return find() as Asked;
    },
    end({ code = status.OK, details = "" } = {}) {
      ended = true;
      if (code === status.OK) call.end();
      else call.emit("error", Object.assign(new Error(details), { code, details }));
    },
    ended: () => ended,
  };
}

function fromSotw({ resourceNames, versionInfo, responseNonce, errorDetail, node, typeUrl }: SotwRequest): Asked {
  return {
    names: resourceNames,
    unsubscribed: [],
    version: versionInfo,
    nonce: responseNonce,
    initial: {},
    typeUrl,
    ...(errorDetail === undefined ? {} : { error: errorDetail }),
    ...(node === undefined ? {} : { node }),
  };
}

function fromDelta(asked: DeltaRequest): Asked {
  return {
    names: asked.subscribe,
    unsubscribed: asked.unsubscribe,
    version: "",
    nonce: asked.responseNonce,
    initial: Object.fromEntries(asked.initialResourceVersions),
    typeUrl: asked.typeUrl,
    ...(asked.errorDetail === undefined ? {} : { error: asked.errorDetail }),
    ...(asked.node === undefined ? {} : { node: asked.node }),
  };
}

type Pair = { readonly certPem: string; readonly keyPem: string };

/** `comment`: a line of its own before the first PEM block (E2). */
export function leafSecret(name: string, { certPem, keyPem }: Pair, comment?: string): Secret {
  const content = { name, chainPem: certPem, privateKeyPem: keyPem };
  return { name, any: encodeTlsCertificate(comment === undefined ? content : { ...content, comment }) };
}

export function bundleSecret(name: string, trustedCaPem: string, comment?: string): Secret {
  const content = { name, trustedCaPem };
  return { name, any: encodeValidationContext(comment === undefined ? content : { ...content, comment }) };
}
