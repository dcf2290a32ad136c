/** Connections from clients and the streams on them: how both come to their end (R70-R78, evidence.md C4). */

import type { X509Certificate } from "node:crypto";
import { setImmediate as nextTurn, setTimeout as sleep } from "node:timers/promises";
import type { TLSSocket } from "node:tls";
import type { XdsStream } from "./stream.ts";
import { remoteOf } from "./tls-front.ts";

/** One client's connection: streams come and go on it, its certificate stays. */
export type XdsConnection<Identity> = {
  readonly identity: Identity;
  /** Milliseconds since the epoch. */
  readonly openedAt: number;
  readonly remote: string;
};

type Live<Identity> = XdsConnection<Identity> & {
  readonly socket: TLSSocket;
  readonly certificate: X509Certificate;
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

/** How often each stream and connection is looked at. One timer serves them all, a slice at a time, so that none waits long. */
const SWEEP_MS = 1_000;
const SLICES = 20;
/**
 * Between the end of a connection's streams and its own: the trailers have to get out. That takes turns of the event loop, not
 * time: in a busy process a timer is due before them.
 */
const CLOSE_AFTER_MS = 50;
const CLOSE_AFTER_TURNS = 10;
const DRAIN_STEP_MS = 50;
const AGE_JITTER = 0.2;

export class Connections<Identity> {
  readonly #deps: ConnectionsDeps<Identity>;
  readonly #monotonic: () => number;
  readonly #live = new Map<string, Live<Identity>>();
  /** When a stream has lived long enough, by `monotonic`. */
  readonly #ageAt = new WeakMap<XdsStream<Identity>, number>();
  #streams = 0;
  /** The sweep that is under way, and how many of its slices are done. */
  #sweep: { readonly all: readonly Live<Identity>[]; slice: number; mayEnd: number } | undefined;
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
    this.#sweeper = setInterval(() => this.#sweepSlice(), SWEEP_MS / SLICES);
    this.#sweeper.unref();
  }

  add(socket: TLSSocket, certificate: X509Certificate, identity: Identity): void {
    const remote = remoteOf(socket);
    this.#live.set(remote, {
      identity,
      openedAt: this.#deps.now(),
      remote,
      socket,
      certificate,
      streams: new Set(),
      retired: false,
    });
    socket.once("close", () => this.#live.delete(remote));
  }

  /** Whose streams may be opened from this address; undefined: nobody's, because the connection is being closed. */
  certificateAt(remote: string): X509Certificate | undefined {
    const connection = this.#live.get(remote);
    return connection?.retired === false ? connection.certificate : undefined;
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
    if (hasStreams) await trailersAreOut();
  }

  #sweepSlice(): void {
    // Twice as many as grow old on average, so that streams of one moment end one after the other (R75).
    const mayEnd = Math.ceil((2 * this.#streams * SWEEP_MS) / this.#deps.maxStreamAgeMs);
    const sweep = this.#sweep ?? { all: [...this.#live.values()], slice: 0, mayEnd };
    const from = Math.floor((sweep.all.length * sweep.slice) / SLICES);
    sweep.slice += 1;
    const to = Math.floor((sweep.all.length * sweep.slice) / SLICES);
    this.#sweep = sweep.slice === SLICES ? undefined : sweep;
    for (const connection of sweep.all.slice(from, to)) {
      if (this.#live.get(connection.remote) !== connection || this.#recheck(connection)) continue;
      for (const stream of [...connection.streams]) {
        stream.sweep();
        if (sweep.mayEnd === 0 || !stream.isIdle || this.#monotonic() < (this.#ageAt.get(stream) ?? 0)) continue;
        sweep.mayEnd -= 1;
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
    void trailersAreOut().then(() => connection.socket.destroySoon());
  }
}

async function trailersAreOut(): Promise<void> {
  await sleep(CLOSE_AFTER_MS);
  for (let turn = 0; turn < CLOSE_AFTER_TURNS; turn++) await nextTurn();
}
