/** A whole mesh in one value: the real server (or none), simulated Envoys, the wires between them, the time. */

import { isInUse, type MeshRoot, type Role } from "../../../src/core/mesh-root.ts";
import { root as meshRoot } from "../roots.ts";
import { checkMoment, checkNames, checkRefused, type Memory, newMemory, noteCounting } from "./checks.ts";
import { Link } from "./link.ts";
import { MemoryState } from "./memory-state.ts";
import { MAX_PROXIES, type MeshProxy, newProxy, OUTBOUND } from "./proxy.ts";
import { Server } from "./server.ts";
import { SlowAuthority } from "./slow-authority.ts";
import { Turns } from "./turns.ts";

export class World {
  readonly proxies: MeshProxy[] = [];
  readonly state = new MemoryState();
  readonly turns = new Turns();
  readonly authority = new SlowAuthority();
  readonly memory: Memory = newMemory();
  links: Link[] = [];
  roots: MeshRoot[];
  server: Server | undefined;
  /** The server has planned with the roles as they are: nothing decided earlier is still on its way to the disk. */
  rolesSeen = true;
  now = Date.UTC(2026, 0, 1);
  /** Roots of this history have SAN forms of their own. */
  readonly varied: boolean;
  /** A line for each thing that happens, for a person to read; see replay.ts. */
  trace: ((line: string) => void) | undefined;
  readonly #destroyed = new Map<string, number>();
  #incarnation = 0;
  #serial = 0;
  #made = 1;

  constructor(varied: boolean) {
    this.varied = varied;
    this.roots = [this.#newRoot("active")];
  }

  #newRoot(role: Role): MeshRoot {
    const index = this.#made++;
    const form = this.varied
      ? { trustDomain: index % 2 ? "one.example" : "two.example", spiffeEnabled: index % 3 === 0 }
      : {};
    return meshRoot(`r${index}`, role, { createdAt: index, ...form });
  }

  addRoot(role: Role): void {
    this.setRoots([...this.roots, this.#newRoot(role)]);
  }

  setRoots(roots: readonly MeshRoot[]): void {
    this.roots = [...roots];
    this.rolesSeen = false;
    this.server?.controller.setRoots(this.#listing());
  }

  #listing() {
    return { roots: this.roots, outdated: [], problems: [] };
  }

  /** See `newProxy`. */
  addProxy(style: number, serviceAccount?: string, leafOnly = false): void {
    const index = this.proxies.length;
    if (index >= MAX_PROXIES) return;
    const credential = this.server?.controller.trust.signer ?? "";
    const { varied } = this;
    this.proxies.push(
      newProxy({ index, style, varied, leafOnly, credential, serviceAccount: serviceAccount ?? `sa${index}` }),
    );
  }

  async startServer(): Promise<void> {
    if (this.server !== undefined || !this.roots.some((root) => isInUse(root) && root.role === "active")) return;
    this.#incarnation += 1;
    this.server = await Server.start({
      now: () => this.now,
      state: this.state.open(),
      roots: this.#listing(),
      identities: Array.from({ length: MAX_PROXIES }, (_, index) => ({
        serviceAccount: `sa${index}`,
        namespace: "shop",
      })),
      incarnation: this.#incarnation,
      destroyed: this.#destroyed,
      serial: () => ++this.#serial,
      signing: () => this.authority.sign(),
    });
    await this.turns.promises();
    this.check("the server has started");
  }

  /** kill -9. What it had written to its sockets may still arrive. */
  crash(mask: number): void {
    if (this.server === undefined) return;
    this.server = undefined;
    this.turns.clear();
    this.state.crash(mask);
    this.authority.forgetCallers();
    for (const link of this.links) {
      link.call.removeAllListeners();
      link.serverGone = true;
      link.call.end();
    }
  }

  /** One more name, over a stream of its own or the one for all. */
  ask(proxy: MeshProxy): void {
    if (proxy.asking < proxy.order.length) proxy.asking += 1;
  }

  /** A CDS update takes the outbound cluster, and so its bundle and its context, away. */
  dropOutbound(proxy: MeshProxy): void {
    proxy.outbound = false;
    proxy.envoy.drop("outbound", OUTBOUND);
    const mine = this.links.filter((one) => one.proxy === proxy.index && !one.clientGone);
    const link = mine.find((one) => one.names.includes(OUTBOUND));
    if (link === undefined) return;
    if (link.ads) link.unask(OUTBOUND);
    else this.leave(link, true);
  }

  /** The streams that this Envoy would have and hasn't: the next of them, or all. False: there are none. */
  connect(proxy: MeshProxy): boolean {
    if (!proxy.alive || !proxy.online || this.server === undefined) return false;
    const mine = this.links.filter((link) => link.proxy === proxy.index && !link.clientGone);
    const asked = proxy.order.slice(0, proxy.asking).filter((name) => proxy.outbound || name !== OUTBOUND);
    const wanted = asked.filter((name) => !mine.some((link) => link.names.includes(name)));
    for (const name of wanted) {
      const open = proxy.ads ? this.links.find((link) => link.proxy === proxy.index && !link.clientGone) : undefined;
      const { accepted } = proxy.envoy;
      const version = proxy.ads ? [...accepted.values()].at(-1) : accepted.get(name);
      const link = open ?? new Link(proxy.index, proxy.variant, proxy.ads, version ?? "");
      if (open === undefined) {
        link.slow = proxy.lag;
        this.links.push(link);
      }
      const known = accepted.get(name);
      // A new stream of the aggregated kind begins with all its names.
      const names = proxy.ads && open === undefined ? wanted : [name];
      const initial = new Map([...accepted].filter(([other]) => names.includes(other)));
      link.ask(names, known === undefined && names.length === 1 ? new Map() : initial);
      if (names.length > 1 || !proxy.hasty) break;
    }
    return wanted.length > 0;
  }

  /** The client leaves its stream. `told`: the server hears of it. */
  leave(link: Link, told: boolean): void {
    if (link.clientGone) return;
    if (told) link.toServer.push("fin");
    link.clientGone = true;
  }

  /** The server's keepalive finds that nobody is there any more. */
  reap(link: Link): void {
    if (link.clientGone) this.#closeAtServer(link);
  }

  #closeAtServer(link: Link): void {
    link.toServer.length = 0;
    if (!link.serverGone) link.call.emit("cancelled");
    link.serverGone = true;
    link.call.end();
    this.#tidy();
  }

  #tidy(): void {
    this.links = this.links.filter((link) => !(link.clientGone && link.serverGone));
  }

  /** Moves one message towards the server; false when there was none. */
  async deliverToServer(link: Link): Promise<boolean> {
    if (link.serverGone) link.toServer.length = 0;
    const message = link.toServer.shift();
    if (message === undefined) return false;
    const { server } = this;
    const proxy = this.proxies[link.proxy];
    this.trace?.(`${this.#label(link)} -> ${message === "fin" ? "end" : message.words()}`);
    if (message === "fin" || server === undefined || proxy === undefined) {
      this.#closeAtServer(link);
    } else {
      if (link.stream === undefined && !this.#authenticate(server, proxy)) this.#closeAtServer(link);
      else {
        if (link.stream === undefined) server.accept(link, proxy.identity, proxy.credential);
        link.call.emit("data", message.bytes);
      }
    }
    await this.settle("a request");
    return true;
  }

  #label(link: Link): string {
    return this.proxies[link.proxy]?.identity.serviceAccount ?? "?";
  }

  /** C5: the root of a credential leaves the port only when no proxy that counts needs it. A stale one gets a new file. */
  #authenticate(server: Server, proxy: MeshProxy): boolean {
    if (server.controller.trust.xds.includes(proxy.credential)) return true;
    checkRefused(this, proxy);
    proxy.credential = server.controller.trust.signer;
    return false;
  }

  async deliverToClient(link: Link): Promise<boolean> {
    if (link.clientGone) {
      link.call.toClient.length = 0;
      return false;
    }
    const message = link.call.toClient.shift();
    if (message === undefined) return false;
    const proxy = this.proxies[link.proxy];
    if (message === "fin" || proxy === undefined) {
      link.clientGone = true;
      this.#tidy();
      return true;
    }
    const response = link.decode(message);
    this.trace?.(`${this.#label(link)} <- ${link.show(response)}`);
    let error: string | undefined;
    for (const resource of response.resources) {
      const version = link.variant === "delta" ? resource.version : response.version;
      error ??= proxy.envoy.take(version, resource.any, link.names, this.now);
    }
    for (const name of response.removed) proxy.envoy.remove(name);
    link.answer(response, error);
    checkNames(this, proxy);
    this.check(`proxy ${proxy.index} took a response`);
    return true;
  }

  /** Everything moves that nothing holds up, until all is quiet. */
  async pump(): Promise<void> {
    await this.settle("a step");
    for (let round = 0; ; round += 1) {
      if (round > 300) throw new Error("storm: the mesh does not come to rest");
      let moved = false;
      for (const proxy of this.proxies) if (this.connect(proxy)) moved = true;
      for (const link of [...this.links]) {
        if (link.slow === "both" || !this.proxies[link.proxy]?.online) continue;
        while (link.answers && (await this.deliverToServer(link))) moved = true;
        while (await this.deliverToClient(link)) moved = true;
      }
      if (moved) continue;
      if (this.state.pending > 0) return;
      this.rolesSeen = true;
      noteCounting(this);
      return;
    }
  }

  async settle(what: string): Promise<void> {
    await this.turns.drain();
    this.check(what);
  }

  check(what: string): void {
    if (this.trace !== undefined && this.memory.trust !== this.server?.controller.trust) {
      const trust = this.server?.controller.trust;
      if (trust)
        this.trace(
          `TRUST ${trust.generation}: signer ${trust.signer} mesh ${trust.mesh.join(" ")} xds ${trust.xds.join(" ")}`,
        );
    }
    checkMoment(this, what);
  }

  /** Time passes in one leap: what was due fires late, as in a process that was suspended. */
  async pass(ms: number): Promise<void> {
    this.now += ms;
    this.server?.fireTimers();
    await this.pump();
  }
}
