/** One stream of the test client: requests out, responses queued until a test asks for them. */

import { setTimeout as sleep } from "node:timers/promises";
import type { ClientDuplexStream, StatusObject } from "@grpc/grpc-js";
import type { Response } from "./xds-client.ts";

/** How a stream ended: a gRPC status code and its text. */
export type StreamEnd = { readonly code: number; readonly details: string };

export type StreamDialect<Ask> = {
  readonly call: ClientDuplexStream<Buffer, Buffer>;
  decode(bytes: Buffer): Response;
  encode(ask: Ask, first: boolean): Buffer;
  ack(response: Response): Ask;
  nack(response: Response, error: { readonly code: number; readonly message: string }): Ask;
};

/** gRPC's INTERNAL, which is what Envoy puts into every error_detail. */
const INTERNAL = 13;
/** Long enough for a busy machine: it is only ever waited for by a test that fails. */
const PATIENCE_MS = 30_000;

export class XdsTestStream<Ask extends object> {
  /** Every response so far, also those that `next` has returned. */
  readonly received: Response[] = [];
  /** Resolves when the stream has ended, whoever ended it. Never rejects. */
  readonly ended: Promise<StreamEnd>;
  readonly #dialect: StreamDialect<Ask>;
  readonly #queue: Response[] = [];
  #wake: () => void = () => {};
  #end: StreamEnd | undefined;
  #last: Response | undefined;
  #sent = 0;

  constructor(dialect: StreamDialect<Ask>) {
    this.#dialect = dialect;
    const { call } = dialect;
    call.on("data", (bytes: Buffer) => {
      const response = dialect.decode(bytes);
      this.received.push(response);
      this.#queue.push(response);
      this.#wake();
    });
    // The status says the same, and comes in every case.
    call.on("error", () => {});
    this.ended = new Promise((resolve) => {
      call.on("status", ({ code, details }: StatusObject) => {
        this.#end = { code, details };
        this.#wake();
        resolve(this.#end);
      });
    });
  }

  request(ask: Ask = {} as Ask): this {
    return this.raw(this.#dialect.encode(ask, this.#sent === 0));
  }

  /** Any bytes as a request. */
  raw(bytes: Buffer): this {
    this.#sent++;
    this.#dialect.call.write(bytes);
    return this;
  }

  /** Accepts `response`, by default the one that `next` returned last; `also` changes the subscription in the same message. */
  ack(also: Ask = {} as Ask, response = this.#answerable()): this {
    return this.request({ ...this.#dialect.ack(response), ...also });
  }

  /** Refuses it as Envoy does: the last accepted version, the refused nonce, and a text. */
  nack(message: string, also: Ask = {} as Ask, response = this.#answerable()): this {
    return this.request({ ...this.#dialect.nack(response, { code: INTERNAL, message }), ...also });
  }

  /**
   * The next response that `matches`; earlier ones that don't are passed over (they stay in `received`). Rejects with what
   * came instead when the stream ends or `timeoutMs` passes first.
   */
  async next(matches: (response: Response) => boolean = () => true, timeoutMs = PATIENCE_MS): Promise<Response> {
    const passed: Response[] = [];
    const deadline = Date.now() + timeoutMs;
    for (;;) {
      for (let response = this.#queue.shift(); response !== undefined; response = this.#queue.shift()) {
        this.#last = response;
        if (matches(response)) return response;
        passed.push(response);
      }
      const seen = `passed over: [${passed.map(brief).join("; ")}]`;
      if (this.#end !== undefined) throw new Error(`stream ended: ${this.#end.code} ${this.#end.details}; ${seen}`);
      if (Date.now() >= deadline) throw new Error(`no such response within ${timeoutMs} ms; ${seen}`);
      await this.#change(deadline - Date.now());
    }
  }

  /** The next response that brings the secret `name`. */
  nextSecret(name: string, timeoutMs = PATIENCE_MS): Promise<Response> {
    return this.next((response) => response.secrets.some((secret) => secret.name === name), timeoutMs);
  }

  /** Rejects if a response is waiting or comes within `ms` milliseconds, or if the stream ends. */
  async expectSilence(ms: number): Promise<void> {
    const deadline = Date.now() + ms;
    for (;;) {
      if (this.#queue.length > 0) throw new Error(`expected silence, got ${this.#queue.map(brief).join("; ")}`);
      if (this.#end !== undefined) throw new Error(`stream ended: ${this.#end.code} ${this.#end.details}`);
      if (Date.now() >= deadline) return;
      await this.#change(deadline - Date.now());
    }
  }

  /** Half-closes: no more requests; the server may still answer. */
  end(): this {
    this.#dialect.call.end();
    return this;
  }

  /** Resets the stream, as a client does that goes away. */
  cancel(): Promise<StreamEnd> {
    this.#dialect.call.cancel();
    return this.ended;
  }

  #answerable(): Response {
    if (this.#last === undefined) throw new Error("nothing to answer: await next() first");
    return this.#last;
  }

  async #change(timeoutMs: number): Promise<void> {
    const timer = new AbortController();
    const woken = new Promise<void>((resolve) => {
      this.#wake = resolve;
    });
    await Promise.race([woken, sleep(timeoutMs, undefined, { signal: timer.signal }).catch(() => {})]);
    timer.abort();
  }
}

/** Names and versions, never contents: a leaf's response holds a private key. */
function brief(response: Response): string {
  const names = response.resources.map(({ name }, index) => name || (response.secrets[index]?.name ?? "?"));
  const removed = response.removed.length === 0 ? "" : ` removed ${response.removed.join(",")}`;
  return `${names.join(",")} version ${response.version} nonce ${response.nonce}${removed}`;
}
