/**
 * A simulated agent beside an Envoy: takes credentials from its own stream, swaps them into the folder, and answers what
 * the Envoy has loaded of it (C2, C3). Envoy loads the folder some time later, or refuses to.
 */

import { decodeSecret } from "../../../src/secrets/secret-codec.ts";
import type { ReceivedResponse } from "../../../src/xds/client-wire.ts";
import { type Held, sameSet } from "./credentials.ts";
import { contentOf } from "./envoy.ts";
import type { Link } from "./link.ts";

/** `stopped`: whoever supervises this Envoy knows that none runs. */
type EnvoyState = "running" | "stopped" | "unknown";

export class CredentialFolder {
  disk: Held;
  /** What the present process of Envoy has loaded; undefined while none runs. */
  loaded: Held | undefined;
  /** Envoy loads at once what is written; else when a step says so. */
  prompt = true;
  /** So many sets to come can't be loaded. */
  spoiled = 0;
  /** Reloads that failed. */
  failures = 0;

  constructor(held: Held) {
    this.disk = held;
    this.loaded = held;
  }

  write(held: Held): void {
    this.disk = held;
    if (this.prompt) this.load();
  }

  /** Envoy looks at the folder. */
  load(): void {
    if (this.loaded === undefined || sameSet(this.loaded, this.disk)) return;
    if (this.spoiled > 0) {
      this.spoiled -= 1;
      this.failures += 1;
    } else this.loaded = this.disk;
  }

  /** A new process reads what is there; one that can't does not start. */
  start(): void {
    this.spoiled = 0;
    this.loaded = this.disk;
  }

  stop(): void {
    this.loaded = undefined;
  }
}

type Awaiting = {
  readonly link: Link;
  /** The newest last: what is proven of it, is proven of the others, which are in the same set. */
  readonly responses: readonly ReceivedResponse[];
  readonly before: Held;
  readonly next: Held;
  readonly failures: number;
};

export class SimulatedAgent {
  alive = true;
  readonly #folder: CredentialFolder;
  /** It started the Envoy itself, and so knows when none runs. */
  readonly #supervises: boolean;
  #awaiting: Awaiting | undefined;
  /** What lay in the folder when it connected, or what it has written there since. */
  #ours: Held | undefined;
  /** What the server was told to be loaded. */
  #told: Held | undefined;

  constructor(folder: CredentialFolder, supervises: boolean) {
    this.#folder = folder;
    this.#supervises = supervises;
  }

  get #envoy(): EnvoyState {
    if (this.#folder.loaded !== undefined) return "running";
    return this.#supervises ? "stopped" : "unknown";
  }

  die(): void {
    this.alive = false;
    this.#awaiting = undefined;
    this.#told = undefined;
  }

  /** The stream is over: nobody waits for an answer. */
  hangUp(link: Link): void {
    if (this.#awaiting?.link === link) this.#awaiting = undefined;
  }

  /** What it says to hold when it connects: what is known to be loaded. */
  get reported(): ReadonlyMap<string, string> {
    const { disk } = this.#folder;
    const isTold = this.#told !== undefined && sameSet(this.#told, disk);
    return this.#proves(disk) || isTold ? disk.versions : new Map();
  }

  #proves(held: Held): boolean {
    const { loaded } = this.#folder;
    return this.#envoy === "stopped" || (loaded !== undefined && sameSet(loaded, held));
  }

  connected(held: Held): void {
    this.#ours = held;
  }

  /**
   * The set that it makes has what older, unanswered responses brought, too; they are answered together. False: somebody else
   * has written the folder, and it begins anew.
   */
  take(link: Link, response: ReceivedResponse): boolean {
    const before = this.#folder.disk;
    if (before !== this.#ours) return false;
    let next = before;
    for (const { any, version } of response.resources) {
      const secret = decodeSecret(any);
      const versions = new Map(next.versions).set(secret.name, version);
      const content = contentOf(secret, version);
      next =
        content.kind === "leaf" ? { ...next, versions, leaf: content } : { ...next, versions, roots: content.roots };
    }
    const pending = this.#awaiting?.link === link ? this.#awaiting : undefined;
    const { failures } = pending ?? this.#folder;
    this.#folder.write(next);
    this.#ours = next;
    const names = new Set(response.resources.map(({ name }) => name));
    const older = (pending?.responses ?? []).filter(({ resources }) => !resources.every(({ name }) => names.has(name)));
    this.#awaiting = { link, responses: [...older, response], before: pending?.before ?? before, next, failures };
    return true;
  }

  /** Answers if it can by now; true when it did. */
  answer(): boolean {
    const waiting = this.#awaiting;
    if (waiting === undefined || !this.alive) return false;
    const { link, responses, before, next, failures } = waiting;
    if (this.#proves(next)) {
      this.#told = next;
      for (const response of responses) link.answer(response, undefined);
    } else if (this.#envoy === "running" && this.#folder.failures > failures) {
      if (this.#folder.disk !== next) return false;
      this.#ours = this.#folder.loaded ?? before;
      this.#folder.write(this.#ours);
      for (const response of responses) link.answer(response, "Envoy could not load it");
    } else return false;
    this.#awaiting = undefined;
    return true;
  }
}
