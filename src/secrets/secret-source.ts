/** Secrets as one resource source: what `MeshSecrets` decides, in Envoy's encoding, with every send in the ledger first. */

import { randomBytes } from "node:crypto";
import type { Material, MeshSecrets } from "../controller/mesh-secrets.ts";
import type { RotationController } from "../controller/rotation-controller.ts";
import type { Clock } from "../ports/clock.ts";
import type { Log } from "../ports/log.ts";
import type { ResourceSession, ResourceSource, XdsClient } from "../xds/source.ts";
import type { Bytes } from "../xds/subscription-state.ts";
import { tellAll } from "../xds/tell-all.ts";
import type { AnyResource } from "../xds/wire.ts";
import type { ClientIdentity } from "./client-identity.ts";
import { ForeignNames } from "./foreign-names.ts";
import { SECRET_TYPE_URL, type SecretWriter, tlsCertificateWriter, validationContextWriter } from "./secret-codec.ts";
import { SecretSession } from "./secret-session.ts";

export type SecretSourceDeps = {
  readonly controller: RotationController;
  readonly secrets: MeshSecrets;
  readonly clock: Clock;
  readonly log: Log;
  /** How long a leaf lives that this mesh issues. */
  readonly leafValidityMs: number;
};

export class SecretSource implements ResourceSource<ClientIdentity> {
  readonly typeUrl = SECRET_TYPE_URL;
  /** A verdict has to be on one secret (R23), and nobody gets every key by not saying which (R35). */
  readonly packing = "one";
  readonly wildcard = false;
  readonly #deps: SecretSourceDeps;
  /** By proxy. */
  readonly #sessions = new Map<string, Set<SecretSession>>();
  readonly #foreign = new ForeignNames();
  /** Writers of bundles, shared by all proxies: a bundle's bytes are made once per version. */
  #bundles = new Map<string, SecretWriter>();

  constructor(deps: SecretSourceDeps) {
    this.#deps = deps;
    deps.controller.whenRetired((proxy) => this.#foreign.forget(proxy));
    deps.controller.subscribe((what) => {
      if (what !== "trust") return;
      this.#bundles = new Map();
      this.#wake();
    });
    deps.secrets.subscribe((proxy) => this.#wake(proxy));
  }

  /** Tells the streams of one proxy, or of all, that an offer may have changed. */
  #wake(proxy?: string): void {
    const sets = proxy === undefined ? [...this.#sessions.values()] : [this.#sessions.get(proxy) ?? []];
    tellAll(sets.flatMap((set) => [...set].map((session) => () => session.wake())));
  }

  open(client: XdsClient<ClientIdentity>, changed: () => void, _returning = false, state = ""): ResourceSession {
    const { uuid } = client.identity.proxy;
    const sessions = this.#sessions.get(uuid) ?? new Set();
    const session: SecretSession = new SecretSession({
      ...this.#deps,
      client,
      state,
      changed,
      encode: (name, material, bytes) => this.#encode(name, material, bytes),
      foreignNews: (names) => this.#foreign.news(uuid, names),
      // Another stream of this proxy may have waited for this answer (E5, E10).
      onVerdict: () => {
        for (const other of [...sessions]) if (other !== session && other.isWaiting) other.wake();
      },
      onClose: () => {
        sessions.delete(session);
        if (sessions.size === 0) this.#sessions.delete(uuid);
      },
    });
    this.#sessions.set(uuid, sessions.add(session));
    return session;
  }

  #encode(name: string, material: Material, bytes: Bytes): AnyResource {
    // E2: random and not numbered, because numbers repeat after a crash.
    const comment = bytes === "unique" ? `meshroot ${randomBytes(8).toString("hex")}` : undefined;
    return this.#writer(material)(name, comment);
  }

  #writer(material: Material): SecretWriter {
    if (material.kind === "leaf") return tlsCertificateWriter(material.leaf);
    const { content, caPem, sans } = material;
    const known = this.#bundles.get(content.version);
    if (known !== undefined) return known;
    const writer = validationContextWriter({ trustedCaPem: caPem, ...(sans === undefined ? {} : { sans }) });
    this.#bundles.set(content.version, writer);
    return writer;
  }
}
