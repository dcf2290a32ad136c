/** Secrets as one resource source: what `MeshSecrets` decides, in Envoy's encoding, with every send in the ledger first. */

import { randomBytes } from "node:crypto";
import type { Material, MeshSecrets } from "../controller/mesh-secrets.ts";
import type { Clock, Log } from "../controller/ports.ts";
import type { RotationController } from "../controller/rotation-controller.ts";
import type { Consumer } from "../core/ledger.ts";
import type { ClientIdentity } from "./client-identity.ts";
import { encodeTlsCertificate, encodeValidationContext, SECRET_TYPE_URL } from "./secret-codec.ts";
import type { ResourceSession, ResourceSource, XdsClient } from "./source.ts";
import type { Bytes } from "./subscription.ts";

/** What `meshroot proxy agent` calls itself in `node.user_agent_name`. */
const AGENT_NAME = "meshroot-agent";

export type SecretSourceDeps = {
  readonly controller: RotationController;
  readonly secrets: MeshSecrets;
  readonly clock: Clock;
  readonly log: Log;
};

export class SecretSource implements ResourceSource<ClientIdentity> {
  readonly typeUrl = SECRET_TYPE_URL;
  readonly #deps: SecretSourceDeps;
  readonly #sessions = new Map<string, Set<() => void>>();
  /** Plain encodings of bundles, shared by all proxies: one per name and version. */
  readonly #plain = new Map<string, Buffer>();

  constructor(deps: SecretSourceDeps) {
    this.#deps = deps;
    deps.controller.subscribe((what) => {
      if (what === "trust") this.changed();
    });
  }

  /** Tells the streams of one proxy, or of all, that an offer may have changed. */
  changed(proxy?: string): void {
    const sets = proxy === undefined ? [...this.#sessions.values()] : [this.#sessions.get(proxy) ?? new Set<() => void>()];
    for (const set of sets) for (const changed of [...set]) changed();
  }

  open(client: XdsClient<ClientIdentity>, changed: () => void): ResourceSession {
    const { controller, secrets, clock, log } = this.#deps;
    const { proxy, root } = client.identity;
    const consumer: Consumer = client.node.userAgentName === AGENT_NAME ? "agent" : "envoy";
    const stream = client.streamId;
    const base = { proxy: proxy.uuid, stream };
    const seqs = new Map<string, number>();
    const warned = new Set<string>();
    controller.observe({ type: "connected", ...base, identity: proxy, consumer, root, at: clock.now() });
    const sessions = this.#sessions.get(proxy.uuid) ?? new Set();
    this.#sessions.set(proxy.uuid, sessions.add(changed));

    return {
      asked: (names) => {
        controller.observe({ type: "asked", ...base, names, at: clock.now() });
        for (const name of names) {
          if (warned.has(name) || !secrets.isForbidden(proxy, name)) continue;
          warned.add(name);
          log.warn({ component: "audit", proxy: proxy.uuid, name }, "a proxy asked for a secret that is not its own; it was not answered");
        }
      },
      offer: (name) => secrets.offer(proxy, consumer, name),
      sending: (nonce, name, version, bytes) => {
        const material = secrets.material(proxy, name, version);
        const matchers = material.kind === "bundle" && material.sans !== undefined;
        const seq = controller.observe({ type: "sent", ...base, name, matchers, content: material.content, at: clock.now() });
        seqs.set(nonce, seq);
        return { any: this.#encode(name, material, bytes), recorded: controller.durable(proxy.uuid) };
      },
      verdict: (nonce, name, version, verdict, message) => {
        const seq = seqs.get(nonce);
        if (seq === undefined) return;
        if (verdict !== "superseded") seqs.delete(nonce);
        if (verdict === "acked") controller.observe({ type: "acked", ...base, name, seq, at: clock.now() });
        if (verdict === "nacked") {
          log.warn({ component: "xds", proxy: proxy.uuid, identity: `${proxy.serviceAccount}.${proxy.namespace}`, name, version, envoy: message }, "NACK: the proxy refused its secrets");
          controller.observe({ type: "nacked", ...base, name, seq, message: message ?? "", at: clock.now() });
        }
        // Another stream of this proxy may have waited for this answer (E5, E10).
        for (const other of [...sessions]) if (other !== changed) other();
      },
      close: () => {
        sessions.delete(changed);
        if (sessions.size === 0) this.#sessions.delete(proxy.uuid);
        controller.observe({ type: "ended", ...base, at: clock.now() });
      },
    };
  }

  #encode(name: string, material: Material, bytes: Bytes): Buffer {
    // E2: random and not numbered, because numbers repeat after a crash.
    const comment = bytes === "unique" ? `meshroot ${randomBytes(8).toString("hex")}` : undefined;
    const unique = comment === undefined ? {} : { comment };
    if (material.kind === "leaf") {
      const { chainPem, privateKeyPem } = material.leaf;
      return encodeTlsCertificate({ name, chainPem, privateKeyPem, ...unique });
    }
    const sans = material.sans === undefined ? {} : { sans: material.sans };
    const make = () => encodeValidationContext({ name, trustedCaPem: material.caPem, ...sans, ...unique });
    if (bytes === "unique") return make();
    const key = `${name} ${material.content.version}`;
    const cached = this.#plain.get(key) ?? make();
    if (this.#plain.size > 1_000) this.#plain.clear();
    this.#plain.set(key, cached);
    return cached;
  }
}
