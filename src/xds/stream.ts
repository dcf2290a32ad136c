/** One gRPC stream: bytes in, subscription steps, bytes out. At most one response of a type is on its way (R22, R72). */

import type { ServerDuplexStream } from "@grpc/grpc-js";
import { status } from "@grpc/grpc-js";
import { MeshrootError } from "../core/errors.ts";
import { callError } from "./call-error.ts";
import type { ResourceSource, XdsClient } from "./source.ts";
import { StreamTypes, type Typed } from "./stream-types.ts";
import { newSubscription, type Output, type RequestInput, type Variant } from "./subscription-state.ts";
import { readRequest, writeResponse } from "./variants.ts";
import type { AnyResource, Node } from "./wire.ts";

export type Call = ServerDuplexStream<Buffer, Buffer>;

export type StreamDeps<Identity> = {
  readonly call: Call;
  readonly variant: Variant;
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

export class XdsStream<Identity> {
  readonly #deps: StreamDeps<Identity>;
  readonly #types: StreamTypes;
  #client: XdsClient<Identity> | undefined;
  #ended = false;

  constructor(deps: StreamDeps<Identity>) {
    this.#deps = deps;
    this.#types = new StreamTypes({
      order: deps.sources,
      act: (typed, output) => this.#act(typed, output),
      now: deps.now,
    });
    deps.call.on("data", (bytes: Buffer) => this.#receive(bytes));
    // grpc-js leaves a half-closed stream open for ever unless the application ends it (R70).
    deps.call.on("end", () => this.end());
    deps.call.on("cancelled", () => this.#close());
    deps.call.on("error", () => this.#close());
    deps.call.on("close", () => this.#close());
  }

  /** No response is on its way, and none waits for its answer. */
  get isIdle(): boolean {
    return this.#types.isIdle;
  }

  /** Ends the stream with OK: Envoy comes back within half a second and logs it at debug only (R75). */
  end(): void {
    if (this.#ended) return;
    this.#close();
    this.#deps.call.end();
  }

  /** Gives up on answers that did not come in time, and looks at the offers again. Called by the server's one timer. */
  sweep(): void {
    this.#types.sweep();
  }

  #fail(code: number, error: MeshrootError): void {
    if (this.#ended) return;
    this.#deps.onEvent({ type: "invalid", message: error.message });
    this.#close();
    this.#deps.call.emit("error", callError(code, error.message));
  }

  #close(): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#types.close();
    this.#deps.onEnd(this.#client);
  }

  #receive(bytes: Buffer): void {
    if (this.#ended) return;
    this.#deps.onEvent({ type: "request" });
    try {
      const { node, typeUrl, request } = readRequest(this.#deps.variant, bytes);
      this.#checkNode(node);
      const url = typeUrl === "" ? this.#deps.serviceType : typeUrl;
      if (url === undefined) throw invalid("type URL is required for ADS");
      if (this.#deps.serviceType !== undefined && url !== this.#deps.serviceType) {
        throw invalid(`this service serves ${this.#deps.serviceType}, not ${url}`);
      }
      const typed = this.#typed(url, request);
      // R4: a type without a source is never answered; an empty CDS response would mean "delete everything".
      if (typed !== undefined) this.#types.step(typed, request);
    } catch (error) {
      const known = error instanceof MeshrootError;
      this.#fail(known ? status.INVALID_ARGUMENT : status.INTERNAL, known ? error : invalid("internal error"));
      if (!known) throw error;
    }
  }

  /** R5-R7: the first request names the node; later ones may repeat it, not change it. */
  #checkNode(node: Node | undefined): void {
    if (this.#client === undefined) {
      if (!node?.id) throw invalid("missing node information");
      const { identity, streamId } = this.#deps;
      this.#client = { identity, streamId, node };
      this.#deps.onNode(this.#client);
    } else if (node?.id && node.id !== this.#client.node.id) {
      throw invalid("node.id changed within a stream");
    }
  }

  /** Undefined where no source has this type. */
  #typed(typeUrl: string, request: RequestInput): Typed | undefined {
    const known = this.#types.get(typeUrl);
    const source = this.#deps.sources.get(typeUrl);
    if (known !== undefined || source === undefined || this.#client === undefined) return known;
    const typed = this.#open(source, this.#client, request);
    this.#types.add(typed);
    return typed;
  }

  #open(
    source: ResourceSource<Identity>,
    client: XdsClient<Identity>,
    { version = "", initialVersions }: RequestInput,
  ): Typed {
    const { typeUrl, packing, wildcard } = source;
    const changed = () => {
      const typed = this.#types.get(typeUrl);
      if (typed !== undefined) this.#types.step(typed, { type: "changed" });
    };
    const session = source.open(client, changed, version !== "" || (initialVersions?.size ?? 0) > 0, version);
    const noncePrefix = `${this.#deps.streamId}.${this.#types.size}.`;
    return {
      typeUrl,
      subscription: newSubscription({ variant: this.#deps.variant, noncePrefix, packing, wildcard }),
      session,
      view: { offer: (name, has) => session.offer(name, has), all: () => session.all() },
      writing: false,
      waiting: false,
    };
  }

  #act(typed: Typed, output: Output): void {
    const { onEvent } = this.#deps;
    const { session } = typed;
    switch (output.type) {
      case "asked":
        session.asked(output.names, output.all, reportedIn(typed.subscription));
        break;
      case "resumed":
        onEvent({ type: "resumed" });
        session.resumed(output.name, output.version);
        break;
      case "verdict": {
        const { sent, verdict, message } = output;
        onEvent({ type: VERDICT_EVENTS[verdict], ...(message === undefined ? {} : { message }) });
        for (const { name, version } of sent.items) session.verdict(sent.nonce, name, version, verdict, message);
        break;
      }
      case "send":
        this.#send(typed, output);
        break;
    }
  }

  /** Written only once it is recorded; a stream that has ended meanwhile leaves the record as it is: "may run". */
  #send(typed: Typed, output: Output & { type: "send" }): void {
    const { nonce, version, items } = output;
    const { resources, recorded } = typed.session.sending(nonce, items, version);
    typed.writing = true;
    recorded.then(
      () => this.#write(typed, output, resources),
      () => this.#fail(status.UNAVAILABLE, unrecorded()),
    );
  }

  #write(
    typed: Typed,
    { nonce, version, items, removed }: Output & { type: "send" },
    resources: readonly AnyResource[],
  ): void {
    if (this.#ended) return;
    const { typeUrl, subscription } = typed;
    // R33: unsubscribed while it was being recorded.
    if (removed.length === 0 && items.length > 0 && !items.some(({ name }) => subscription.names.has(name))) {
      typed.writing = false;
      this.#types.step(typed, { type: "overdue" });
      return;
    }
    this.#deps.onEvent({ type: "response" });
    const response = { typeUrl, version, nonce, items, resources, removed };
    this.#deps.call.write(writeResponse(this.#deps.variant, response), () => {
      typed.writing = false;
    });
  }
}

function reportedIn({ names }: Typed["subscription"]): Map<string, string> {
  return new Map([...names].flatMap(([name, { reported }]) => (reported === undefined ? [] : [[name, reported]])));
}

const VERDICT_EVENTS = { acked: "ack", nacked: "nack", unknown: "unknown", superseded: "superseded" } as const;

function invalid(message: string): MeshrootError {
  return new MeshrootError("MR4002", message, "See the xDS protocol.");
}

function unrecorded(): MeshrootError {
  return new MeshrootError("MR2002", "the state could not be written", "See the server's log.");
}
