/** A whole mesh in one value: the real server (or none), simulated Envoys, the wires between them, the time. */

import { bundleContent } from "../../../src/controller/trust-bundles.ts";
import { principalOf } from "../../../src/core/identity.ts";
import { isInUse, type MeshRoot, type Role } from "../../../src/core/roots/mesh-root.ts";
import { sanForms } from "../../../src/core/roots/trust.ts";
import { root as meshRoot } from "../roots.ts";
import { checkIssuing, checkMoment, type Memory, newMemory, noteCounting } from "./checks.ts";
import type { Held } from "./credentials.ts";
import { OWN } from "./envoy.ts";
import type { Link } from "./link.ts";
import { MemoryState } from "./memory-state.ts";
import { MAX_PROXIES, type MeshProxy, newProxy, OUTBOUND } from "./proxy.ts";
import { Server, XDS_LEAF_MS } from "./server.ts";
import { SlowAuthority } from "./slow-authority.ts";
import { Turns } from "./turns.ts";
import { connect, deliverToClient, deliverToServer, hangUpAll, leave, reap } from "./wires.ts";

const IDENTITIES = Array.from({ length: MAX_PROXIES }, (_, index) => ({
  serviceAccount: `sa${index}`,
  namespace: "shop",
}));

export class World {
  readonly proxies: MeshProxy[] = [];
  /** Uuids that never come back. */
  readonly departed: string[] = [];
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
  #boots = 0;
  #firstHeld: Held | undefined;

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
    const fresh = this.#newHeld();
    // Some are started from what was written when the mesh began.
    const held = style % 11 === 10 ? this.#firstHeld : fresh;
    if (held === undefined) return;
    const { varied } = this;
    this.proxies.push(
      newProxy({ index, style, varied, leafOnly, held, serviceAccount: serviceAccount ?? `sa${index}` }),
    );
  }

  /** A proxy dies without a word, and another one, with a uuid of its own, takes its place. */
  replace(proxy: MeshProxy, style: number): void {
    const held = this.#newHeld();
    if (held === undefined) return;
    hangUpAll(this, proxy, false);
    proxy.agent?.die();
    for (const link of this.links.filter((one) => one.proxy === proxy.index)) reap(this, link);
    this.departed.push(proxy.identity.uuid);
    const { index } = proxy;
    const { serviceAccount } = proxy.identity;
    const generation = this.departed.length;
    const { varied } = this;
    this.proxies[index] = newProxy({ index, style, generation, serviceAccount, varied, leafOnly: false, held });
  }

  /** Its own configuration names its peers in each SAN form that is in force. */
  matchFormsOfNow({ envoy }: MeshProxy): void {
    const trust = this.server?.controller.trust ?? this.memory.trust;
    if (trust === undefined || envoy.shapes[OWN] === undefined) return;
    const sans = sanForms(trust).flatMap((form) => IDENTITIES.map((identity) => principalOf(identity, form)));
    envoy.ownSans = sans.map(({ type, value }) => `${type}:${value}`);
    envoy.rebuild(this.now);
  }

  /** The operator of a proxy that matches names by itself sees to them, and answers for it: for the roots of now. */
  answerFor(proxy: MeshProxy): void {
    const controller = this.server?.controller;
    if (controller === undefined) return;
    this.matchFormsOfNow(proxy);
    const { mesh, xds: roots } = controller.trust;
    const word = { reason: "its matchers have all forms", at: this.now, for: ["mesh-trust"], roots, mesh } as const;
    controller.observe({ type: "assume", proxy: proxy.identity.uuid, ...word });
  }

  /** A bootstrap of this moment; undefined while there is no server to make it. */
  #newHeld(): Held | undefined {
    const trust = this.server?.controller.trust;
    if (trust === undefined) return undefined;
    const root = (id: string) => trust.roots[id]?.fingerprint ?? "";
    const version = `boot-${++this.#boots}`;
    return {
      leaf: { version, root: root(trust.signer), notAfter: this.now + XDS_LEAF_MS },
      roots: trust.xds.map(root),
      versions: new Map(),
    };
  }

  /** An operator has new credentials written for a proxy. They are handed out once they are on record (C5). */
  bootstrap(proxy: MeshProxy): void {
    const controller = this.server?.controller;
    const held = this.#newHeld();
    if (controller === undefined || held === undefined || proxy.onTheWay.length > 0) return;
    const { uuid } = proxy.identity;
    const { version: fingerprint, notAfter } = held.leaf;
    const bundle = bundleContent("xdsBundle", controller.trust);
    const credential = { fingerprint, root: controller.trust.signer, notBefore: this.now, notAfter, bundle };
    controller.observe({ type: "issued", proxy: uuid, credential, at: this.now });
    const handOut = () => {
      proxy.onTheWay.push(held);
      if (!proxy.slowPost) this.receive(proxy);
    };
    void controller.durable(uuid).then(handOut, () => undefined);
  }

  /**
   * They get into the proxy's folder. Not if its Envoy has used a later credential since: then these are taken for lost.
   */
  receive(proxy: MeshProxy): void {
    const row = this.server?.controller.ledger.proxies.get(proxy.identity.uuid);
    for (const held of proxy.onTheWay.splice(0)) {
      const isOpen = row?.issued.some(({ fingerprint }) => fingerprint === held.leaf.version);
      if (isOpen !== false) proxy.folder.write(held);
    }
  }

  async startServer(): Promise<void> {
    if (this.server !== undefined || !this.roots.some((root) => isInUse(root) && root.role === "active")) return;
    this.#incarnation += 1;
    this.server = await Server.start({
      now: () => this.now,
      state: this.state.open(),
      roots: this.#listing(),
      identities: IDENTITIES,
      incarnation: this.#incarnation,
      destroyed: this.#destroyed,
      serial: () => ++this.#serial,
      issuing: (kind, uuid, root) => checkIssuing(this, kind, uuid, root),
      handshake: () => {
        this.now += 1;
      },
      uuidOf: (index) => this.proxies[index]?.identity.uuid ?? "",
      // A refusal ends with the names that it was about (E12); the next answer tells it again.
      retired: (uuid) => this.proxies.find(({ identity }) => identity.uuid === uuid)?.refused.clear(),
      signing: () => this.authority.sign(),
    });
    await this.turns.promises();
    this.#firstHeld ??= this.#newHeld();
    this.check("the server has started");
  }

  /** kill -9. What it had written to its sockets may still arrive. */
  crash(mask: number): void {
    if (this.server === undefined) return;
    this.memory.resumed += this.server.resumed;
    this.server = undefined;
    this.turns.clear();
    this.state.crash(mask);
    this.authority.forgetCallers();
    // What was not on disk yet, the next process does not know.
    for (const { refused } of this.proxies) for (const [name, { noted }] of refused) if (!noted) refused.delete(name);
    for (const link of this.links) {
      link.call.removeAllListeners();
      link.serverGone = true;
      link.call.end();
      link.connection.retired = true;
    }
  }

  /** One more name, over a stream of its own or the one for all. */
  ask(proxy: MeshProxy): void {
    if (proxy.asking < proxy.order.length) proxy.asking += 1;
  }

  /** A CDS update takes the outbound cluster, and so its bundle and its context, away. */
  dropOutbound(proxy: MeshProxy): void {
    proxy.outbound = false;
    proxy.refused.delete(OUTBOUND);
    proxy.envoy.drop("outbound", OUTBOUND);
    const mine = this.links.filter((one) => one.proxy === proxy.index && !one.clientGone);
    const link = mine.find((one) => one.names.includes(OUTBOUND));
    if (link === undefined) return;
    if (link.ads) link.unask(OUTBOUND);
    else leave(this, link, true);
  }

  /** Everything moves that nothing holds up, until all is quiet. */
  async pump(): Promise<void> {
    await this.settle("a step");
    for (let round = 0; ; round += 1) {
      if (round > 300) throw new Error("storm: the mesh does not come to rest");
      let moved = false;
      for (const proxy of this.proxies) if (connect(this, proxy) || proxy.agent?.answer()) moved = true;
      for (const link of [...this.links]) {
        if (link.slow === "both" || !this.proxies[link.proxy]?.online) continue;
        while (link.answers && (await deliverToServer(this, link))) moved = true;
        while (await deliverToClient(this, link)) moved = true;
      }
      if (moved) continue;
      if (this.state.pending > 0) return;
      if (this.server !== undefined) this.rolesSeen = true;
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
