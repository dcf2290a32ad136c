/** Secrets as one resource source: what `MeshSecrets` decides, in Envoy's encoding, with every send in the ledger first. */

import { randomBytes } from "node:crypto";
import type { Material, MeshSecrets } from "../controller/mesh-secrets.ts";
import type { RotationController } from "../controller/rotation-controller.ts";
import type { Consumer } from "../core/evidence/ledger-state.ts";
import type { Clock } from "../ports/clock.ts";
import type { Log } from "../ports/log.ts";
import type { ResourceSession, ResourceSource, XdsClient } from "../xds/source.ts";
import type { Bytes } from "../xds/subscription-state.ts";
import { tellAll } from "../xds/tell-all.ts";
import { type AnyResource, MAX_ERROR_BYTES } from "../xds/wire.ts";
import { AGENT_NAME } from "./agent-name.ts";
import type { ClientIdentity } from "./client-identity.ts";
import { type ForeignLine, ForeignNames } from "./foreign-names.ts";
import { SECRET_TYPE_URL, type SecretWriter, tlsCertificateWriter, validationContextWriter } from "./secret-codec.ts";

export type SecretSourceDeps = {
  readonly controller: RotationController;
  readonly secrets: MeshSecrets;
  readonly clock: Clock;
  readonly log: Log;
};

/** Of names that lead to nothing: no gate waits for them. */
const NOTHING_SEEN = 20;

/** One stream's part, as the others see it. */
type Session = { readonly isWaiting: () => boolean; readonly wake: () => void };

function warnOfForeign(log: Log, proxy: string, { count, names }: ForeignLine): void {
  const fields = { component: "audit", proxy };
  if (count > names.length) {
    const message = `a proxy asked for ${count} secrets that are not its own; they were not answered`;
    log.warn({ ...fields, count, names }, message);
    return;
  }
  const message = "a proxy asked for a secret that is not its own; it was not answered";
  for (const name of names) log.warn({ ...fields, name }, message);
}

/** A client's words end up on terminals and in logs: no control characters, and no more than people read (R27). */
function printable(text: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is taken out
  return text.replaceAll(/[\u0000-\u001f\u007f-\u009f\u2028\u2029]+/g, " ").slice(0, MAX_ERROR_BYTES);
}

export class SecretSource implements ResourceSource<ClientIdentity> {
  readonly typeUrl = SECRET_TYPE_URL;
  /** A verdict has to be on one secret (R23), and nobody gets every key by not saying which (R35). */
  readonly packing = "one";
  readonly wildcard = false;
  readonly #deps: SecretSourceDeps;
  readonly #sessions = new Map<string, Set<Session>>();
  readonly #foreign = new ForeignNames();
  /** Writers of bundles, shared by all proxies: a bundle's bytes are made once per version. */
  #bundles = new Map<string, SecretWriter>();

  constructor(deps: SecretSourceDeps) {
    this.#deps = deps;
    deps.controller.subscribe((what) => {
      if (what !== "trust") return;
      this.#bundles = new Map();
      this.changed();
    });
  }

  /** Tells the streams of one proxy, or of all, that an offer may have changed. */
  changed(proxy?: string): void {
    const sets = proxy === undefined ? [...this.#sessions.values()] : [this.#sessions.get(proxy) ?? []];
    tellAll(sets.flatMap((set) => [...set].map(({ wake }) => wake)));
  }

  open(client: XdsClient<ClientIdentity>, changed: () => void): ResourceSession {
    const { controller, secrets, clock, log } = this.#deps;
    const { proxy, credential } = client.identity;
    const consumer: Consumer = client.node.userAgentName === AGENT_NAME ? "agent" : "envoy";
    const stream = client.streamId;
    const base = { proxy: proxy.uuid, stream };
    const seqs = new Map<string, number>();
    /** Something could not be had when it was last looked for. */
    let isWaiting = false;
    const session: Session = {
      isWaiting: () => isWaiting,
      wake: () => {
        isWaiting = false;
        changed();
      },
    };
    /** Names that lead to nothing as long as this trust is in force: there may be thousands, looked at every second. */
    const nothing = { trust: controller.trust, names: new Set<string>() };
    let asked: ReadonlySet<string> = new Set();
    const report = () => {
      nothing.trust = controller.trust;
      nothing.names.clear();
      const { seen, foreign } = secrets.sorted(proxy, asked, NOTHING_SEEN);
      controller.observe({ type: "asked", ...base, names: seen, at: clock.now() });
      const news = this.#foreign.news(proxy.uuid, foreign);
      if (news !== undefined) warnOfForeign(log, proxy.uuid, news);
    };
    /** A new trust domain makes something of names that were nothing. */
    const lookAgain = () => {
      if (nothing.names.size > 0) report();
      else nothing.trust = controller.trust;
    };
    controller.observe({ type: "connected", ...base, identity: proxy, consumer, credential, at: clock.now() });
    const sessions = this.#sessions.get(proxy.uuid) ?? new Set();
    this.#sessions.set(proxy.uuid, sessions.add(session));

    return {
      asked: (names) => {
        asked = names;
        report();
      },
      offer: (name, has) => {
        if (nothing.trust !== controller.trust) lookAgain();
        if (nothing.names.has(name)) return "absent";
        const offer = secrets.offer({ proxy, consumer, stream }, name, has);
        if (offer === "later") isWaiting = true;
        if (offer === "absent" && secrets.isNothing(proxy, name)) nothing.names.add(name);
        return offer;
      },
      resumed: (name, version) => {
        log.debug(
          { component: "xds", proxy: proxy.uuid, name, version },
          "resumed: the proxy goes on with what it has",
        );
        controller.observe({ type: "resumed", ...base, name, at: clock.now() });
      },
      all: () => [],
      sending: (nonce, items) => {
        const resources = items.map(({ name, version, bytes }) => {
          const material = secrets.material(proxy, name, version);
          const matchers = material.kind === "bundle" && material.sans !== undefined;
          const { content } = material;
          seqs.set(nonce, controller.observe({ type: "sent", ...base, name, matchers, content, at: clock.now() }));
          return this.#encode(name, material, bytes);
        });
        return { resources, recorded: items.length === 0 ? Promise.resolve() : controller.durable(proxy.uuid) };
      },
      verdict: (nonce, name, version, verdict, text) => {
        const message = text === undefined ? undefined : printable(text);
        const seq = seqs.get(nonce);
        if (seq === undefined) return;
        if (verdict !== "superseded") seqs.delete(nonce);
        if (verdict === "acked") controller.observe({ type: "acked", ...base, name, seq, at: clock.now() });
        if (verdict === "nacked") {
          log.warn(
            {
              component: "xds",
              proxy: proxy.uuid,
              identity: `${proxy.serviceAccount}.${proxy.namespace}`,
              name,
              version,
              envoy: message,
            },
            "NACK: the proxy refused its secrets",
          );
          controller.observe({ type: "nacked", ...base, name, seq, message: message ?? "", at: clock.now() });
        }
        // Another stream of this proxy may have waited for this answer (E5, E10).
        for (const other of [...sessions]) if (other !== session && other.isWaiting()) other.wake();
      },
      close: () => {
        sessions.delete(session);
        if (sessions.size === 0) this.#sessions.delete(proxy.uuid);
        controller.observe({ type: "ended", ...base, at: clock.now() });
      },
    };
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
