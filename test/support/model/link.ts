/** One simulated xDS stream: bytes in both directions that may wait, get lost, or arrive after the other end has gone. */

import { EventEmitter } from "node:events";
import type { ServerDuplexStream } from "@grpc/grpc-js";
import { AGENT_NAME } from "../../../src/secrets/agent-name.ts";
import { decodeSecret, SECRET_TYPE_URL } from "../../../src/secrets/secret-codec.ts";
import {
  decodeDeltaResponse,
  decodeSotwResponse,
  encodeDeltaRequest,
  encodeSotwRequest,
  type ReceivedResponse,
} from "../../../src/xds/client-wire.ts";
import type { XdsStream } from "../../../src/xds/stream.ts";
import type { Connection } from "./credentials.ts";

export type Variant = "sotw" | "delta";
type Message = Buffer | "fin";
/** `words`: for a person to read. */
type Request = { readonly bytes: Buffer; readonly words: () => string; readonly verdict?: SaidOf } | "fin";
/** What a request says of secrets by their names. */
type SaidOf = { readonly names: readonly string[]; readonly refused: boolean };

/** The server's end of the stream, in the part of grpc-js's interface that the server uses. */
class Call extends EventEmitter {
  readonly toClient: Message[] = [];
  open = true;

  write(bytes: Buffer, written: () => void): boolean {
    if (this.open) this.toClient.push(bytes);
    written();
    return true;
  }

  end(): void {
    if (!this.open) return;
    this.open = false;
    this.toClient.push("fin");
  }
}

export class Link {
  readonly variant: Variant;
  readonly ads: boolean;
  readonly connection: Connection;
  readonly call = new Call();
  readonly toServer: Request[] = [];
  stream: XdsStream<unknown> | undefined;
  /** Only an explicit step moves its messages; `answers`: only the client's. */
  slow: "no" | "answers" | "both" = "no";
  /** The client has left; the server may not know yet. */
  clientGone = false;
  serverGone = false;
  names: string[] = [];
  /** Its first request says that the client holds something. */
  reporting = false;
  /** What its first request says to hold, where a server can tell what is meant (E15). */
  reports: ReadonlyMap<string, string> = new Map();
  #begun = false;
  #nonce = "";
  /** SotW: the version that the client's mux has accepted last. */
  #version: string;

  constructor(connection: Connection, variant: Variant, ads: boolean, version: string) {
    this.connection = connection;
    this.variant = variant;
    this.ads = ads;
    this.#version = version;
    this.call.on("error", () => {
      this.call.end();
    });
  }

  get proxy(): number {
    return this.connection.proxy;
  }

  /** Its messages to the server move; the first one moves in any case. */
  get answers(): boolean {
    return this.slow === "no" || (this.slow === "answers" && this.stream === undefined);
  }

  slowDown(how: number): void {
    this.slow = (["answers", "both", "no"] as const)[how % 3] ?? "no";
  }

  get serverCall(): ServerDuplexStream<Buffer, Buffer> {
    return this.call as unknown as ServerDuplexStream<Buffer, Buffer>;
  }

  /** Asks for more names. After a NACK this repeats its nonce without the error, as Envoy does (E4). */
  ask(names: readonly string[], initialVersions: ReadonlyMap<string, string>): void {
    const first = !this.#begun;
    this.#begun = true;
    if (first) this.reporting = this.variant === "delta" ? initialVersions.size > 0 : this.#version !== "";
    if (first && this.variant === "delta") this.reports = initialVersions;
    if (first && this.variant === "sotw" && !this.ads)
      this.reports = new Map(names.map((name) => [name, this.#version]));
    this.names = [...this.names, ...names];
    const userAgentName = this.connection.consumer === "agent" ? AGENT_NAME : "envoy";
    const node = first ? { node: { id: "claimed", userAgentName } } : {};
    const has = this.variant === "sotw" ? this.#version : [...initialVersions.values()].join(",");
    this.#send(
      () => `asks for ${names.join(",")}${first && has !== "" ? `, has ${has}` : ""}`,
      this.variant === "sotw"
        ? encodeSotwRequest({
            ...node,
            typeUrl: SECRET_TYPE_URL,
            resourceNames: this.names,
            responseNonce: this.#nonce,
            versionInfo: this.#version,
          })
        : encodeDeltaRequest({
            ...node,
            typeUrl: SECRET_TYPE_URL,
            subscribe: names,
            ...(first ? { initialResourceVersions: initialVersions } : {}),
          }),
    );
  }

  unask(name: string): void {
    this.names = this.names.filter((other) => other !== name);
    this.#send(
      () => `no longer asks for ${name}`,
      this.variant === "sotw"
        ? encodeSotwRequest({
            typeUrl: SECRET_TYPE_URL,
            resourceNames: this.names,
            responseNonce: this.#nonce,
            versionInfo: this.#version,
          })
        : encodeDeltaRequest({ typeUrl: SECRET_TYPE_URL, unsubscribe: [name] }),
    );
  }

  answer(response: ReceivedResponse, error: string | undefined): void {
    this.#nonce = response.nonce;
    if (error === undefined) this.#version = response.version;
    const detail = error === undefined ? {} : { errorDetail: { code: 13, message: error } };
    this.#send(
      () => (error === undefined ? `ACK ${response.nonce}` : `NACK ${response.nonce}: ${error}`),
      this.variant === "sotw"
        ? encodeSotwRequest({
            typeUrl: SECRET_TYPE_URL,
            resourceNames: this.names,
            responseNonce: response.nonce,
            versionInfo: this.#version,
            ...detail,
          })
        : encodeDeltaRequest({ typeUrl: SECRET_TYPE_URL, responseNonce: response.nonce, ...detail }),
      { names: response.resources.map(({ any }) => decodeSecret(any).name), refused: error !== undefined },
    );
  }

  /** A response in words. */
  show(response: ReceivedResponse): string {
    const resources = response.resources.map(({ any, name, version }) => {
      const secret = decodeSecret(any);
      const pem =
        secret.kind === "tlsCertificate"
          ? secret.chainPem
          : secret.kind === "validationContext"
            ? secret.trustedCaPem
            : "";
      const bytes = pem.startsWith("meshroot ") ? "unique" : "plain";
      return `${name || secret.name} ${this.variant === "delta" ? version : response.version} in ${bytes} bytes`;
    });
    return `${response.nonce}: ${[...resources, ...response.removed.map((name) => `${name} removed`)].join(", ")}`;
  }

  decode(bytes: Buffer): ReceivedResponse {
    return this.variant === "sotw" ? decodeSotwResponse(bytes) : decodeDeltaResponse(bytes);
  }

  #send(words: () => string, bytes: Buffer, verdict?: SaidOf): void {
    if (!this.clientGone) this.toServer.push({ bytes, words, ...(verdict === undefined ? {} : { verdict }) });
  }
}
