/** Connections from clients and the streams on them: how both come to their end (R70-R78, evidence.md C4). */

import { createHash } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import type { TLSSocket } from "node:tls";
import type { XdsStream } from "./stream.ts";
import { remoteOf } from "./tls-front.ts";

/** One client's connection: streams come and go on it, its certificate stays. */
export type XdsConnection<Identity> = {
  readonly identity: Identity;
  /** SHA-256 of the client certificate's DER, 64 lower-case hex digits. */
  readonly fingerprint: string;
  /** Milliseconds since the epoch. */
  readonly openedAt: number;
  readonly remote: string;
};

type Live<Identity> = XdsConnection<Identity> & {
  readonly socket: TLSSocket;
  readonly streams: Set<XdsStream<Identity>>;
  retired: boolean;
};

export type ConnectionsDeps<Identity> = {
  /** Why a connection has to end now (C4); undefined: it may stay. Asked about each one at every sweep. */
  readonly outdated: (connection: XdsConnection<Identity>) => string | undefined;
  /** A connection is being closed by us, for this reason. */
  readonly onRetired: (connection: XdsConnection<Identity>, reason: string) => void;
  /** Milliseconds; each stream's own limit lies up to a fifth above or below it (R75). */
  readonly maxStreamAgeMs: number;
  readonly now: () => number;
  /** Milliseconds of the process's own clock: a wall clock that is set makes nobody older. Default: `performance.now`. */
  readonly monotonic?: () => number;
};

/** How often streams and connections are looked at; one timer serves them all. */
const SWEEP_MS = 1_000;
/** Between the end of a connection's streams and its own: the trailers have to get out. */
const CLOSE_AFTER_MS = 50;
const DRAIN_STEP_MS = 50;
const AGE_JITTER = 0.2;

export class Connections<Identity> {
  readonly #deps: ConnectionsDeps<Identity>;
  readonly #monotonic: () => number;
  readonly #live = new Map<string, Live<Identity>>();
  /** When a stream has lived long enough, by `monotonic`. */
  readonly #ageAt = new WeakMap<XdsStream<Identity>, number>();
  #streams = 0;
  #sweeper: NodeJS.Timeout | undefined;

  constructor(deps: ConnectionsDeps<Identity>) {
    this.#deps = deps;
    this.#monotonic = deps.monotonic ?? (() => performance.now());
  }

  /** Streams that are open. */
  get streams(): number {
    return this.#streams;
  }

  start(): void {
    this.#sweeper = setInterval(() => this.#sweep(), SWEEP_MS);
    this.#sweeper.unref();
  }

  add(socket: TLSSocket, certificate: Buffer, identity: Identity): void {
    const remote = remoteOf(socket);
    this.#live.set(remote, {
      identity,
      fingerprint: createHash("sha256").update(certificate).digest("hex"),
      openedAt: this.#deps.now(),
      remote,
      socket,
      streams: new Set(),
      retired: false,
    });
    socket.once("close", () => this.#live.delete(remote));
  }

  /** May a stream be opened from this address? Not on a connection that is being closed. */
  takesStreams(remote: string): boolean {
    return this.#live.get(remote)?.retired === false;
  }

  enter(remote: string, stream: XdsStream<Identity>): void {
    const { maxStreamAgeMs } = this.#deps;
    this.#live.get(remote)?.streams.add(stream);
    this.#streams += 1;
    this.#ageAt.set(stream, this.#monotonic() + maxStreamAgeMs * (1 + AGE_JITTER * (2 * Math.random() - 1)));
  }

  leave(remote: string, stream: XdsStream<Identity>): void {
    this.#live.get(remote)?.streams.delete(stream);
    this.#streams -= 1;
  }

  /** Ends the connections that are outdated by now, instead of at the next sweep. */
  recheck(): void {
    for (const connection of this.#live.values()) this.#recheck(connection);
  }

  /** Closes every connection, spread over this time; whoever still owes an answer goes last (R78). */
  async drain(windowMs: number): Promise<void> {
    clearInterval(this.#sweeper);
    const began = performance.now();
    const all = this.#live.size;
    for (let passed = 0; this.#live.size > 0 && passed < windowMs; passed = performance.now() - began) {
      const standing = [...this.#live.values()].filter(({ retired }) => !retired);
      const idle = standing.filter(({ streams }) => [...streams].every((stream) => stream.isIdle));
      const due = Math.ceil((all * passed) / windowMs) - (all - standing.length);
      for (const connection of idle.slice(0, Math.max(0, due))) this.#close(connection);
      await sleep(Math.min(DRAIN_STEP_MS, windowMs));
    }
    const hasStreams = this.#streams > 0;
    for (const connection of this.#live.values()) if (!connection.retired) this.#close(connection);
    if (hasStreams) await sleep(CLOSE_AFTER_MS);
  }

  #sweep(): void {
    // Twice as many as grow old on average, so that streams of one moment end one after the other (R75).
    let mayEnd = Math.ceil((2 * this.#streams * SWEEP_MS) / this.#deps.maxStreamAgeMs);
    for (const connection of this.#live.values()) {
      if (this.#recheck(connection)) continue;
      for (const stream of [...connection.streams]) {
        stream.sweep();
        if (mayEnd === 0 || !stream.isIdle || this.#monotonic() < (this.#ageAt.get(stream) ?? 0)) continue;
        mayEnd -= 1;
        stream.end();
      }
    }
  }

  /** True when it is being closed. */
  #recheck(connection: Live<Identity>): boolean {
    if (connection.retired) return true;
    const reason = this.#deps.outdated(connection);
    if (reason === undefined) return false;
    this.#deps.onRetired(connection, reason);
    this.#close(connection);
    return true;
  }

  /**
   * Streams end with OK, then the connection does. Ending streams alone would not do, because Envoy opens the next ones on the
   * same connection, with the credential of its handshake (C4, V).
   */
  #close(connection: Live<Identity>): void {
    connection.retired = true;
    for (const stream of [...connection.streams]) stream.end();
    setTimeout(() => connection.socket.destroySoon(), CLOSE_AFTER_MS);
  }
}
