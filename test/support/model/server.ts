/** One process of the real server: all of its own code but TLS, gRPC, X.509 and the disk. */

import { AuthorityKeeper } from "../../../src/controller/authority-keeper.ts";
import { LeafCache, type LeafKind } from "../../../src/controller/leaf-cache.ts";
import { MeshSecrets } from "../../../src/controller/mesh-secrets.ts";
import { RotationController } from "../../../src/controller/rotation-controller.ts";
import { TrustBundles } from "../../../src/controller/trust-bundles.ts";
import { type WantedVersion, wantedVersion } from "../../../src/controller/wanted-version.ts";
import { MeshrootError } from "../../../src/core/errors.ts";
import { outdated } from "../../../src/core/evidence/outdated.ts";
import { type ProxyIdentity, principalOf, type ServiceIdentity } from "../../../src/core/identity.ts";
import type { ProviderSpec, RootListing } from "../../../src/core/roots/mesh-root.ts";
import { type RootId, rootOf } from "../../../src/core/roots/trust.ts";
import type { Clock } from "../../../src/ports/clock.ts";
import type { Log } from "../../../src/ports/log.ts";
import type { CertificateProvider } from "../../../src/ports/provider.ts";
import type { StateStore } from "../../../src/ports/store.ts";
import type { ClientIdentity } from "../../../src/secrets/client-identity.ts";
import { SecretSource } from "../../../src/secrets/secret-source.ts";
import { XdsStream } from "../../../src/xds/stream.ts";
import { trustingProofs } from "../trusting-proofs.ts";
import type { Connection } from "./credentials.ts";
import { leafText, rootText } from "./envoy.ts";
import type { Link } from "./link.ts";

/** Short, so that a history can live through renewals and expiries. */
export const LEAF_MS = 60 * 60_000;
export const XDS_LEAF_MS = 12 * LEAF_MS;
export const SETTINGS = {
  settleMs: 5_000,
  recoveryMs: 45_000,
  absentPolicy: "until-leaf-expiry",
  namespace: "osm-system",
  xdsCertValidityMs: XDS_LEAF_MS,
} as const;
/** The service whose outbound bundle carries SAN matchers for everyone. */
export const SERVICE = "shop/all";

export type Surroundings = {
  readonly now: () => number;
  readonly state: StateStore;
  readonly roots: RootListing;
  readonly identities: readonly ServiceIdentity[];
  readonly incarnation: number;
  /** Certificate authorities outlive the server: how often each was destroyed. */
  readonly destroyed: Map<string, number>;
  readonly serial: () => number;
  /** A leaf is about to be made. */
  readonly issuing: (kind: LeafKind, uuid: string, root: RootId) => void;
  /** A handshake takes its time. */
  readonly handshake: () => void;
  readonly uuidOf: (proxy: number) => string;
  /** The row of a proxy has left the ledger. */
  readonly retired: (uuid: string) => void;
  /** Resolves when the CA has signed; throws MR3004 where it refuses. */
  readonly signing: () => Promise<void>;
};

type Timer = { readonly at: number; readonly callback: () => void };

export class Server {
  readonly controller: RotationController;
  readonly secrets: MeshSecrets;
  readonly startedAt: number;
  /** Proxies in the ledger as it was read back, and those heard of since (E14). */
  /** The trust that was read back. */
  readonly firstTrust: RotationController["trust"];
  readonly inherited: ReadonlySet<string>;
  readonly heard = new Set<string>();
  /** Secrets that were not sent, because their client had them (E15). */
  resumed = 0;
  readonly #hadEnvoy = new Set<string>();
  readonly errors: unknown[];
  readonly #source: SecretSource;
  readonly #timers: Set<Timer>;
  readonly #around: Surroundings;
  readonly #streams = new Set<XdsStream<unknown>>();
  /** Connections that stand, each with the root that its client's certificate chains to. */
  readonly #connections = new Map<Connection, RootId>();
  #opened = 0;

  private constructor(around: Surroundings, controller: RotationController, parts: Parts) {
    this.#around = around;
    this.controller = controller;
    this.startedAt = around.now();
    this.firstTrust = controller.trust;
    this.inherited = new Set(controller.ledger.proxies.keys());
    for (const [uuid, { slots }] of controller.ledger.proxies)
      if ([...slots.values()].some(({ consumer }) => consumer === "envoy")) this.#hadEnvoy.add(uuid);
    this.#timers = parts.timers;
    this.errors = parts.errors;
    const { clock, log, issuer, bundles, wanted } = parts;
    this.secrets = new MeshSecrets({ controller, issuer, bundles, wanted, clock });
    const source = new SecretSource({ controller, secrets: this.secrets, clock, log, leafValidityMs: LEAF_MS });
    this.#source = source;
    // As serve.ts does (C4).
    controller.subscribe(() => this.#retire());
    controller.whenRetired(around.retired);
    this.secrets.setServices(new Map([[SERVICE, around.identities]]));
  }

  static async start(around: Surroundings): Promise<Server> {
    const timers = new Set<Timer>();
    const errors: unknown[] = [];
    const clock: Clock = {
      now: around.now,
      after: (ms, callback) => {
        const timer = { at: around.now() + ms, callback };
        timers.add(timer);
        return () => timers.delete(timer);
      },
    };
    const ignore = () => undefined;
    const log: Log = {
      debug: ignore,
      info: ignore,
      warn: ignore,
      error: (fields) => void (isExpected(fields) || errors.push(fields)),
    };
    const authorities = new AuthorityKeeper({
      ...{ providers: [provider(around)], proofs: trustingProofs(), clock, log, random: () => 0.5 },
    });
    const made = new Set<string>();
    const issuer = new LeafCache({
      clock,
      log,
      make: async (kind, proxy, root) => {
        const record = authorities.record(root);
        const isFirst = !made.has(`${kind} ${proxy.uuid}`);
        made.add(`${kind} ${proxy.uuid}`);
        // Who was given another one by this process meanwhile, as in a rotation that is taken back, is a case of its own.
        if (isFirst) around.issuing(kind, proxy.uuid, root);
        await around.signing();
        const serial = `${around.serial()}`;
        const san = principalOf(proxy, record.form);
        const notBefore = around.now();
        const validityMs = kind === "leaf" ? LEAF_MS : XDS_LEAF_MS;
        const notAfter = notBefore + validityMs;
        return {
          chainPem: leafText({ root: record.fingerprint, san: `${san.type}:${san.value}`, notAfter, serial }),
          privateKeyPem: "a private key",
          fingerprint: `leaf-${serial}`,
          serial,
          notBefore,
          notAfter,
        };
      },
      random: () => 0.5,
      renewalTime: (now, notAfter) => now + ((notAfter - now) * 2) / 3,
    });
    const bundles = new TrustBundles(log);
    const wanted = wantedVersion(bundles, issuer);
    const controller = await RotationController.start(
      { clock, state: around.state, authorities, settings: SETTINGS, log, wanted },
      around.roots,
    );
    return new Server(around, controller, { timers, errors, clock, log, issuer, bundles, wanted });
  }

  /** Timers that are due, once each; a loop that was busy fires them late, and so may we. */
  fireTimers(): void {
    const now = this.#around.now();
    for (const timer of [...this.#timers].filter(({ at }) => at <= now).sort((a, b) => a.at - b.at)) {
      if (this.#timers.delete(timer)) timer.callback();
    }
    for (const stream of [...this.#streams]) stream.sweep();
  }

  /** A new stream, after the handshake. False: not on this connection any more, or not with this certificate (C4). */
  accept(link: Link, identity: ProxyIdentity): boolean {
    const { connection } = link;
    const { version: fingerprint, notAfter, root: rootFingerprint } = connection.held.leaf;
    const { trust } = this.controller;
    const root = trust.xds.find((id) => rootOf(trust, id).fingerprint === rootFingerprint);
    if (connection.retired || root === undefined || notAfter <= this.#around.now()) return false;
    if (connection.openedAt === undefined) {
      connection.openedAt = this.#around.now();
      this.#around.handshake();
    }
    this.#connections.set(connection, root);
    this.#opened += 1;
    const notBefore = notAfter - XDS_LEAF_MS;
    const client: ClientIdentity = { proxy: identity, credential: { fingerprint, root, notBefore, notAfter } };
    const stream: XdsStream<ClientIdentity> = new XdsStream<ClientIdentity>({
      call: link.serverCall,
      variant: link.variant,
      serviceType: link.ads ? undefined : this.#source.typeUrl,
      sources: new Map([[this.#source.typeUrl, this.#source]]),
      identity: client,
      streamId: `${this.#around.incarnation}-${this.#opened}`,
      now: this.#around.now,
      onNode: () => undefined,
      onEvent: (event) => {
        // E14 asks after the Envoy, unless there never was one.
        const speaks = connection.consumer === "envoy" || !this.#hadEnvoy.has(identity.uuid);
        if (event.type === "resumed") this.resumed += 1;
        if (speaks && (event.type === "ack" || event.type === "resumed")) this.heard.add(identity.uuid);
      },
      onEnd: () => this.#streams.delete(stream as XdsStream<unknown>),
    });
    link.stream = stream as XdsStream<unknown>;
    this.#streams.add(link.stream);
    return true;
  }

  /** The server's half of C4: the streams of an outdated connection end with OK, and its socket after them. */
  #retire(): void {
    const now = this.#around.now();
    const { trust, ledger } = this.controller;
    for (const [connection, root] of this.#connections) {
      const { held, openedAt = 0, links, proxy } = connection;
      const { notAfter, version: fingerprint } = held.leaf;
      const row = ledger.proxies.get(this.#around.uuidOf(proxy));
      if (outdated({ fingerprint, root, notAfter, openedAt }, row, trust, now) === undefined) continue;
      connection.retired = true;
      this.#connections.delete(connection);
      for (const link of links) link.stream?.end();
    }
  }
}

/** A disk that fails now and then, and a signing root without a key, whose MRC was deleted against the rules: said, and survived. */
function isExpected(fields: object): boolean {
  const { err, code } = fields as { err?: unknown; code?: unknown };
  if (err === undefined) return code === "MR2002";
  return err instanceof MeshrootError && ["MR2002", "MR3004"].includes(err.code);
}

type Parts = {
  readonly timers: Set<Timer>;
  readonly errors: unknown[];
  readonly clock: Clock;
  readonly log: Log;
  readonly issuer: LeafCache;
  readonly bundles: TrustBundles;
  readonly wanted: WantedVersion;
};

function provider(around: Surroundings): CertificateProvider {
  const key = (spec: ProviderSpec) => (spec.kind === "tresor" ? spec.secretRef.name : spec.kind);
  return {
    kind: "tresor",
    open: (spec) => ({
      inspect: async () => {
        const name = key(spec);
        const fingerprint = `${name}#${around.destroyed.get(name) ?? 0}`;
        const life = { notBefore: 0, notAfter: Number.MAX_SAFE_INTEGER };
        const root = { fingerprint, certificatePem: rootText(fingerprint), serial: fingerprint, ...life };
        return { root, health: { kind: "signs" } };
      },
      issue: () => Promise.reject(new Error("model: leaves are made without X.509")),
    }),
    custody: {
      has: async () => true,
      create: async () => undefined,
      destroy: async (spec) => {
        around.destroyed.set(key(spec), (around.destroyed.get(key(spec)) ?? 0) + 1);
      },
    },
  };
}
