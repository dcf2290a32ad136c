/**
 * One gRPC stream: bytes in, subscription steps, bytes out. Each resource type of the stream has its own subscription
 * (R8), and at most one response of it is on its way (R22, R72).
 */

import type { ServerDuplexStream } from "@grpc/grpc-js";
import { status } from "@grpc/grpc-js";
import { MeshrootError } from "../core/errors.ts";
import type { ResourceSession, ResourceSource, XdsClient } from "./source.ts";
import { type Input, newSubscription, type Output, type Request, type Subscription, step } from "./subscription.ts";
import { decodeDeltaRequest, decodeSotwRequest, encodeDeltaResponse, encodeSotwResponse, type Node } from "./wire.ts";

type Call = ServerDuplexStream<Buffer, Buffer>;

export type StreamDeps<Identity> = {
  readonly call: Call;
  readonly variant: "sotw" | "delta";
  /** The type of a per-type service (R2); undefined on ADS, where each request names its type (R3). */
  readonly serviceType: string | undefined;
  readonly sources: ReadonlyMap<string, ResourceSource<Identity>>;
  readonly identity: Identity;
  readonly streamId: string;
  readonly now: () => number;
  /** The first request has come: who the client says it is. */
  readonly onNode: (client: XdsClient<Identity>) => void;
  readonly onEvent: (event: StreamEvent) => void;
  readonly onEnd: (client: XdsClient<Identity> | undefined) => void;
};

export type StreamEvent = {
  readonly type: "request" | "response" | "ack" | "nack" | "resumed" | "unknown" | "superseded" | "invalid";
  readonly message?: string;
};

/** A response that stays unanswered this long is superseded by the newest content (R22). */
const ANSWER_WITHIN_MS = 30_000;

type Typed = { subscription: Subscription; readonly session: ResourceSession; writing: boolean };

export class XdsStream<Identity> {
  readonly #deps: StreamDeps<Identity>;
  readonly #types = new Map<string, Typed>();
  #client: XdsClient<Identity> | undefined;
  #ended = false;

  constructor(deps: StreamDeps<Identity>) {
    this.#deps = deps;
    deps.call.on("data", (bytes: Buffer) => this.#receive(bytes));
    // grpc-js leaves a half-closed stream open for ever unless the application ends it (R70).
    deps.call.on("end", () => this.end());
    deps.call.on("cancelled", () => this.#close());
    deps.call.on("error", () => this.#close());
    deps.call.on("close", () => this.#close());
  }

  /** Ends the stream with OK: Envoy comes back within half a second and logs it at debug only (R75). */
  end(): void {
    if (this.#ended) return;
    this.#close();
    this.#deps.call.end();
  }

  /** Gives up on answers that did not come in time, and looks at the offers again. Called by the server's one timer. */
  sweep(): void {
    const now = this.#deps.now();
    for (const [typeUrl, typed] of this.#types) {
      const overdue =
        typed.subscription.inFlight !== undefined && now >= typed.subscription.inFlight.at + ANSWER_WITHIN_MS;
      this.#step(typeUrl, typed, { type: overdue && !typed.writing ? "overdue" : "changed" });
    }
  }

  #fail(code: number, error: MeshrootError): void {
    if (this.#ended) return;
    this.#deps.onEvent({ type: "invalid", message: error.message });
    this.#close();
    this.#deps.call.emit("error", Object.assign(new Error(error.message), { code, details: error.message }));
  }

  #close(): void {
    if (this.#ended) return;
    this.#ended = true;
    for (const { session } of this.#types.values()) session.close();
    this.#types.clear();
    this.#deps.onEnd(this.#client);
  }

  #receive(bytes: Buffer): void {
    if (this.#ended) return;
    this.#deps.onEvent({ type: "request" });
    try {
      const { node, typeUrl, request } = this.#decode(bytes);
      this.#checkNode(node);
      const url = typeUrl === "" ? this.#deps.serviceType : typeUrl;
      if (url === undefined) throw invalid("type URL is required for ADS");
      if (this.#deps.serviceType !== undefined && url !== this.#deps.serviceType) {
        throw invalid(`this service serves ${this.#deps.serviceType}, not ${url}`);
      }
      const typed = this.#typed(url);
      // R4: a type without a source is never answered; an empty CDS response would mean "delete everything".
      if (typed !== undefined) this.#step(url, typed, request);
    } catch (error) {
      const known = error instanceof MeshrootError;
      this.#fail(known ? status.INVALID_ARGUMENT : status.INTERNAL, known ? error : invalid("internal error"));
      if (!known) throw error;
    }
  }

  #decode(bytes: Buffer): { node: Node | undefined; typeUrl: string; request: Request } {
    if (this.#deps.variant === "sotw") {
      const message = decodeSotwRequest(bytes);
      return {
        node: message.node,
        typeUrl: message.typeUrl,
        request: {
          type: "request",
          nonce: message.responseNonce,
          names: message.resourceNames,
          version: message.versionInfo,
          ...(message.errorDetail ? { error: message.errorDetail } : {}),
        },
      };
    }
    const message = decodeDeltaRequest(bytes);
    return {
      node: message.node,
      typeUrl: message.typeUrl,
      request: {
        type: "request",
        nonce: message.responseNonce,
        subscribe: message.subscribe,
        unsubscribe: message.unsubscribe,
        initialVersions: message.initialResourceVersions,
        ...(message.errorDetail ? { error: message.errorDetail } : {}),
      },
    };
  }

  /** R5-R7: the first request names the node; later ones may repeat it, not change it. */
  #checkNode(node: Node | undefined): void {
    if (this.#client === undefined) {
      if (!node?.id) throw invalid("missing node information");
      const { identity, streamId } = this.#deps;
      this.#client = {
        identity,
        streamId,
        node: { id: node.id, cluster: node.cluster, userAgentName: node.userAgentName },
      };
      this.#deps.onNode(this.#client);
    } else if (node?.id && node.id !== this.#client.node.id) {
      throw invalid("node.id changed within a stream");
    }
  }

  #typed(typeUrl: string): Typed | undefined {
    const known = this.#types.get(typeUrl);
    const source = this.#deps.sources.get(typeUrl);
    if (known !== undefined || source === undefined || this.#client === undefined) return known;
    const changed = () => {
      const typed = this.#types.get(typeUrl);
      if (typed !== undefined) this.#step(typeUrl, typed, { type: "changed" });
    };
    const typed: Typed = {
      subscription: newSubscription(this.#deps.variant, `${this.#deps.streamId}.${this.#types.size}.`),
      session: source.open(this.#client, changed),
      writing: false,
    };
    this.#types.set(typeUrl, typed);
    return typed;
  }

  /** What a request says is recorded before the next offer is asked for, because the answer may depend on it. */
  #step(typeUrl: string, typed: Typed, input: Input): void {
    if (input.type !== "changed") this.#take(typeUrl, typed, input);
    if (typed.subscription.inFlight === undefined) this.#take(typeUrl, typed, { type: "changed" });
  }

  #take(typeUrl: string, typed: Typed, input: Input): void {
    if (this.#ended) return;
    const { state, outputs } = step(
      typed.subscription,
      input,
      (name, has) => typed.session.offer(name, has),
      this.#deps.now(),
    );
    typed.subscription = state;
    for (const output of outputs) this.#act(typeUrl, typed, output);
  }

  #act(typeUrl: string, typed: Typed, output: Output): void {
    const { onEvent } = this.#deps;
    switch (output.type) {
      case "asked":
        typed.session.asked(output.names);
        break;
      case "resumed":
        onEvent({ type: "resumed" });
        typed.session.resumed(output.name, output.version);
        break;
      case "verdict": {
        const { sent, verdict, message } = output;
        onEvent({ type: VERDICT_EVENTS[verdict], ...(message === undefined ? {} : { message }) });
        if (sent.name !== "") typed.session.verdict(sent.nonce, sent.name, sent.version, verdict, message);
        break;
      }
      case "send": {
        const { nonce, name, version, bytes } = output;
        const { any, recorded } = typed.session.sending(nonce, name, version, bytes);
        this.#write(typed, recorded, () =>
          this.#deps.variant === "sotw"
            ? encodeSotwResponse({ typeUrl, versionInfo: version, nonce, resources: [any] })
            : encodeDeltaResponse({
                typeUrl,
                systemVersion: version,
                nonce,
                resources: [{ name, version, any }],
                removed: [],
              }),
        );
        break;
      }
      case "remove":
        this.#write(typed, Promise.resolve(), () =>
          encodeDeltaResponse({
            typeUrl,
            systemVersion: "",
            nonce: output.nonce,
            resources: [],
            removed: output.names,
          }),
        );
        break;
    }
  }

  /** Written only once it is recorded; a stream that has ended meanwhile leaves the record as it is: "may run". */
  #write(typed: Typed, recorded: Promise<void>, encode: () => Buffer): void {
    typed.writing = true;
    recorded.then(
      () => {
        if (this.#ended) return;
        this.#deps.onEvent({ type: "response" });
        this.#deps.call.write(encode(), () => {
          typed.writing = false;
        });
      },
      () =>
        this.#fail(
          status.UNAVAILABLE,
          new MeshrootError("MR2002", "the state could not be written", "See the server's log."),
        ),
    );
  }
}

const VERDICT_EVENTS = { acked: "ack", nacked: "nack", unknown: "unknown", superseded: "superseded" } as const;

function invalid(message: string): MeshrootError {
  return new MeshrootError("MR4002", message, "See the xDS protocol.");
}
