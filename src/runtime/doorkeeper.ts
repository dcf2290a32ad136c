/**
 * Who may stand in a port's door. Whoever has not proved yet who it is may stay for a limited time, whatever it sends meanwhile, in a
 * limited number; when there is no room, whoever has the most connections gives way first. A limit on all connections keeps file
 * descriptors free for the server's own files.
 */

export type Guest = {
  readonly remoteAddress?: string | undefined;
  destroy(): unknown;
  once(event: "close", listener: () => void): unknown;
};

export type DoorLimits = {
  readonly maxConnections: number;
  /** Of those that have not proved who they are. */
  readonly maxStrangers: number;
  /** How long one may stay a stranger; undefined: until there is no room. */
  readonly proveWithinMs?: number;
  /** A stranger that is younger has its chance, unless its address has more than the newcomer's. */
  readonly chanceMs: number;
};

export type TurnedAway = "late" | "crowded";

const STEPS = 10;

type Stranger = { readonly guest: Guest; readonly since: number; readonly cancel: () => void };

export type DoorkeeperDeps = {
  readonly limits: DoorLimits;
  /** Milliseconds of a clock that nobody sets. */
  readonly now: () => number;
  readonly after: (ms: number, callback: () => void) => () => void;
  readonly turnedAway: (why: TurnedAway, address: string) => void;
};

export class Doorkeeper {
  readonly #deps: DoorkeeperDeps;
  /** By network, each in the order of arrival. */
  readonly #strangers = new Map<string, Map<Guest, Stranger>>();
  #strangerCount = 0;
  #count = 0;

  constructor(deps: DoorkeeperDeps) {
    this.#deps = deps;
  }

  get connections(): number {
    return this.#count;
  }

  get strangers(): number {
    return this.#strangerCount;
  }

  /** A connection was accepted. False: there was no room, and it is destroyed. */
  enter(guest: Guest): boolean {
    const { limits, now } = this.#deps;
    const address = guest.remoteAddress ?? "";
    const network = networkOf(address);
    const isFull = () => this.#count >= limits.maxConnections || this.#strangerCount >= limits.maxStrangers;
    if (isFull()) this.#makeRoomFor(network);
    if (isFull()) {
      this.#deps.turnedAway("crowded", address);
      guest.destroy();
      return false;
    }
    const cancel = this.#giveTime(() => this.#turnAway(guest, network, "late"));
    const known = this.#strangers.get(network) ?? new Map<Guest, Stranger>();
    this.#strangers.set(network, known.set(guest, { guest, since: now(), cancel }));
    this.#strangerCount += 1;
    this.#count += 1;
    guest.once("close", () => {
      this.#count -= 1;
      this.#forget(guest, network);
    });
    return true;
  }

  /** It has proved who it is, and may stay. `address`: what it had when it came in. */
  welcome(guest: Guest, address: string): void {
    this.#forget(guest, networkOf(address));
  }

  /**
   * In steps, of which an event loop that is busy takes one in a turn: a storm of handshakes that takes us longer than the time
   * limit is not the clients' fault, and each of them is looked at in every turn.
   */
  #giveTime(late: () => void): () => void {
    const { limits, after } = this.#deps;
    const { proveWithinMs } = limits;
    if (proveWithinMs === undefined) return () => undefined;
    let cancel: () => void = () => undefined;
    const step = (left: number): void => {
      cancel = after(proveWithinMs / STEPS, () => (left > 1 ? step(left - 1) : late()));
    };
    step(STEPS);
    return () => cancel();
  }

  #makeRoomFor(network: string): void {
    let heaviest: [string, Map<Guest, Stranger>] | undefined;
    for (const entry of this.#strangers)
      if (heaviest === undefined || entry[1].size > heaviest[1].size) heaviest = entry;
    if (heaviest === undefined) return;
    const [oldest] = heaviest[1].values();
    if (oldest === undefined) return;
    const isUnfair = heaviest[1].size > (this.#strangers.get(network)?.size ?? 0) + 1;
    if (isUnfair || this.#deps.now() >= oldest.since + this.#deps.limits.chanceMs)
      this.#turnAway(oldest.guest, heaviest[0], "crowded");
  }

  /** It counts no more at once: `close` comes later. */
  #turnAway(guest: Guest, network: string, why: TurnedAway): void {
    if (!this.#forget(guest, network)) return;
    this.#deps.turnedAway(why, guest.remoteAddress ?? "");
    guest.destroy();
    if (why === "crowded") this.#leaving(guest);
  }

  #leaving(guest: Guest): void {
    // Its place is the newcomer's already, so its own `close` gives none back.
    this.#count -= 1;
    guest.once("close", () => {
      this.#count += 1;
    });
  }

  #forget(guest: Guest, network: string): boolean {
    const known = this.#strangers.get(network);
    const stranger = known?.get(guest);
    if (known === undefined || stranger === undefined) return false;
    stranger.cancel();
    known.delete(guest);
    if (known.size === 0) this.#strangers.delete(network);
    this.#strangerCount -= 1;
    return true;
  }
}

/** Whoever has one IPv6 address has a network of them. */
function networkOf(address: string): string {
  if (!address.includes(":") || /^::ffff:\d/i.test(address)) return address;
  const [head = "", tail] = address.split("::");
  const groups = head.split(":");
  return groups.length >= 4 || tail === undefined ? groups.slice(0, 4).join(":") : `${groups.join(":")}::`;
}
