/**
 * One gRPC stream: bytes in, subscription steps, bytes out. Each resource type of the stream has its own subscription
 * (R8), and at most one response of it is on its way (R22, R72).
 */

import type { ServerDuplexStream } from "@grpc/grpc-js";
import { status } from "@grpc/grpc-js";
import { MeshrootError } from "../core/errors.ts";
import type { ResourceSession, ResourceSource, XdsClient } from "./source.ts";
import { step } from "./subscription.ts";
import {
  type Input,
  newSubscription,
  type Output,
  type Request,
  type Subscription,
  type Variant,
  type View,
} from "./subscription-state.ts";
import { readRequest, writeResponse } from "./variants.ts";
import type { Node } from "./wire.ts";

type Call = ServerDuplexStream<Buffer, Buffer>;

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

/** A response that stays unanswered this long is superseded by the newest content (R22). */
const ANSWER_WITHIN_MS = 30_000;

type Typed = {
  subscription: Subscription;
  readonly session: ResourceSession;
  readonly view: View;
  /** A response is being recorded or written: the next one waits (R72). */
  writing: boolean;
  /** Something may have changed that could not be sent yet: types that come after this one wait for it. */
  waiting: boolean;
};

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

  /** No response is on its way, and none waits for its answer. */
  get isIdle(): boolean {
    for (const { subscription, writing } of this.#types.values())
      if (writing || subscription.inFlight !== undefined) return false;
    return true;
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
      const { inFlight } = typed.subscription;
      const isOverdue = inFlight !== undefined && now >= inFlight.at + ANSWER_WITHIN_MS && !typed.writing;
      if (isOverdue) this.#step(typeUrl, typed, { type: "overdue" });
      else if (inFlight === undefined) this.#step(typeUrl, typed, { type: "changed" });
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
      const { node, typeUrl, request } = readRequest(this.#deps.variant, bytes);
      this.#checkNode(node);
      const url = typeUrl === "" ? this.#deps.serviceType : typeUrl;
      if (url === undefined) throw invalid("type URL is required for ADS");
      if (this.#deps.serviceType !== undefined && url !== this.#deps.serviceType) {
        throw invalid(`this service serves ${this.#deps.serviceType}, not ${url}`);
      }
      const typed = this.#typed(url, request);
      // R4: a type without a source is never answered; an empty CDS response would mean "delete everything".
      if (typed !== undefined) this.#step(url, typed, request);
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

  #typed(typeUrl: string, { version = "", initialVersions }: Request): Typed | undefined {
    const known = this.#types.get(typeUrl);
    const source = this.#deps.sources.get(typeUrl);
    if (known !== undefined || source === undefined || this.#client === undefined) return known;
    const changed = () => {
      const typed = this.#types.get(typeUrl);
      if (typed !== undefined) this.#step(typeUrl, typed, { type: "changed" });
    };
    const { packing, wildcard } = source;
    const session = source.open(this.#client, changed, version !== "" || (initialVersions?.size ?? 0) > 0, version);
    const noncePrefix = `${this.#deps.streamId}.${this.#types.size}.`;
    const typed: Typed = {
      subscription: newSubscription({ variant: this.#deps.variant, noncePrefix, packing, wildcard }),
      session,
      view: { offer: (name, has) => session.offer(name, has), all: () => session.all() },
      writing: false,
      waiting: false,
    };
    this.#types.set(typeUrl, typed);
    return typed;
  }

  /** What a request says is recorded before the next offer is asked for, because the answer may depend on it. */
  #step(typeUrl: string, typed: Typed, input: Input): void {
    if (input.type !== "changed") this.#take(typeUrl, typed, input);
    if (typed.subscription.inFlight !== undefined) {
      typed.waiting ||= input.type === "changed";
      // What changed may have been taken back: then nobody waits for it any more.
      if (input.type === "changed") this.#wakeNext(typeUrl);
      return;
    }
    typed.waiting = this.#mustWait(typeUrl);
    if (typed.waiting) return;
    this.#take(typeUrl, typed, { type: "changed" });
    this.#wakeNext(typeUrl);
  }

  /** Make before break: a listener's change goes out after that of the clusters which it needs (Envoy docs: xDS protocol, ADS). */
  #mustWait(typeUrl: string): boolean {
    for (const earlier of this.#deps.sources.keys()) {
      if (earlier === typeUrl) return false;
      const typed = this.#types.get(earlier);
      if (typed?.waiting === true && (typed.subscription.inFlight === undefined || this.#hasNews(typed))) return true;
    }
    return false;
  }

  /** More would go out if the response on its way were answered. One that was never ACKed, of what has not changed since, is none. */
  #hasNews({ subscription, view }: Typed): boolean {
    const { inFlight: _, ...answered } = subscription;
    const { outputs } = step(answered, { type: "changed" }, view, this.#deps.now());
    return outputs.some(({ type }) => type === "send");
  }

  /** The first type after this one that waited goes on, and wakes the one after it. */
  #wakeNext(typeUrl: string): void {
    let isAfter = false;
    for (const later of this.#deps.sources.keys()) {
      const typed = isAfter ? this.#types.get(later) : undefined;
      if (typed?.waiting === true && typed.subscription.inFlight === undefined) {
        this.#step(later, typed, { type: "changed" });
        return;
      }
      isAfter ||= later === typeUrl;
    }
  }

  #take(typeUrl: string, typed: Typed, input: Input): void {
    if (this.#ended) return;
    const { state, outputs } = step(typed.subscription, input, typed.view, this.#deps.now());
    typed.subscription = state;
    for (const output of outputs) this.#act(typeUrl, typed, output);
  }

  #act(typeUrl: string, typed: Typed, output: Output): void {
    const { onEvent } = this.#deps;
    switch (output.type) {
      case "asked":
        typed.session.asked(output.names, output.all);
        break;
      case "resumed":
        onEvent({ type: "resumed" });
        typed.session.resumed(output.name, output.version);
        break;
      case "verdict": {
        const { sent, verdict, message } = output;
        onEvent({ type: VERDICT_EVENTS[verdict], ...(message === undefined ? {} : { message }) });
        for (const { name, version } of sent.items) typed.session.verdict(sent.nonce, name, version, verdict, message);
        break;
      }
      case "send":
        this.#send(typeUrl, typed, output);
        break;
    }
  }

  /** Written only once it is recorded; a stream that has ended meanwhile leaves the record as it is: "may run". */
  #send(typeUrl: string, typed: Typed, { nonce, version, items, removed }: Output & { type: "send" }): void {
    const { resources, recorded } = typed.session.sending(nonce, items, version);
    const isWanted = () =>
      removed.length > 0 || items.length === 0 || items.some(({ name }) => typed.subscription.names.has(name));
    typed.writing = true;
    recorded.then(
      () => {
        if (this.#ended) return;
        // R33: unsubscribed while it was being recorded.
        if (!isWanted()) {
          typed.writing = false;
          this.#step(typeUrl, typed, { type: "overdue" });
          return;
        }
        this.#deps.onEvent({ type: "response" });
        const response = { typeUrl, version, nonce, items, resources, removed };
        this.#deps.call.write(writeResponse(this.#deps.variant, response), () => {
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
