/** One stream's part in the secrets: what is asked for, offered and answered on it, into the ledger before anything is written. */

import { clockSpan } from "../controller/checked-clock.ts";
import type { Material, MeshSecrets } from "../controller/mesh-secrets.ts";
import type { RotationController } from "../controller/rotation-controller.ts";
import type { Consumer } from "../core/evidence/ledger-state.ts";
import type { Clock } from "../ports/clock.ts";
import type { Log } from "../ports/log.ts";
import type { ResourceSession, XdsClient } from "../xds/source.ts";
import type { Bytes, Item, Offer, Verdict } from "../xds/subscription-state.ts";
import { type AnyResource, MAX_ERROR_BYTES } from "../xds/wire.ts";
import { AGENT_NAME } from "./agent-name.ts";
import type { ClientIdentity } from "./client-identity.ts";
import type { ForeignLine } from "./foreign-names.ts";

export type SecretSessionDeps = {
  readonly controller: RotationController;
  readonly secrets: MeshSecrets;
  readonly clock: Clock;
  readonly log: Log;
  readonly client: XdsClient<ClientIdentity>;
  /** What the client says of the state of the world that it holds; "": nothing. */
  readonly state: string;
  /** How long a leaf lives that this mesh issues. */
  readonly leafValidityMs: number;
  /** An offer may have changed. */
  readonly changed: () => void;
  readonly encode: (name: string, material: Material, bytes: Bytes) => AnyResource;
  /** What there is to say of these names, which are not the client's own. */
  readonly foreignNews: (names: readonly string[]) => ForeignLine | undefined;
  /** There is a verdict: another stream of this proxy may have waited for it. */
  readonly onVerdict: () => void;
  readonly onClose: () => void;
};

/** Of names that lead to nothing: no gate waits for them. */
const NOTHING_SEEN = 20;

export class SecretSession implements ResourceSession {
  readonly #deps: SecretSessionDeps;
  readonly #proxy: ClientIdentity["proxy"];
  readonly #consumer: Consumer;
  /** What every event of this stream says in the ledger. */
  readonly #base: { readonly proxy: string; readonly stream: string };
  /** By nonce: where in the ledger it stands that it was sent. */
  readonly #seqs = new Map<string, number>();
  #asked: ReadonlySet<string> = new Set();
  #isFirst = true;
  /** Names that lead to nothing as long as this trust is in force: there may be thousands, looked at every second. */
  readonly #nothing = new Set<string>();
  #nothingUnder: RotationController["trust"];
  /** Something could not be had when it was last looked for. */
  #isWaiting = false;

  constructor(deps: SecretSessionDeps) {
    const { identity, node, streamId } = deps.client;
    this.#deps = deps;
    this.#proxy = identity.proxy;
    this.#consumer = node.userAgentName === AGENT_NAME ? "agent" : "envoy";
    this.#base = { proxy: identity.proxy.uuid, stream: streamId };
    this.#nothingUnder = deps.controller.trust;
    const who = { identity: identity.proxy, consumer: this.#consumer, credential: identity.credential };
    deps.controller.observe({ type: "connected", ...this.#base, ...who, at: deps.clock.now() });
  }

  get isWaiting(): boolean {
    return this.#isWaiting;
  }

  wake(): void {
    this.#isWaiting = false;
    this.#deps.changed();
  }

  asked(names: ReadonlySet<string>, _all: boolean, reported: ReadonlyMap<string, string> = new Map()): void {
    this.#asked = names;
    if (this.#isFirst) this.#noteHeld(reported);
    this.#isFirst = false;
    this.#report();
  }

  /** Its first request says what the client holds (E13). */
  #noteHeld(reported: ReadonlyMap<string, string>): void {
    const { controller, secrets, clock, leafValidityMs, state } = this.#deps;
    const held = secrets.held(this.#proxy, this.#asked, reported, state);
    if (held.length === 0) return;
    const leafUntil = clockSpan(clock).latest + leafValidityMs;
    controller.observe({ type: "reported", ...this.#base, held, leafUntil, at: clock.now() });
  }

  offer(name: string, has: string | undefined): Offer {
    const { controller, secrets } = this.#deps;
    if (this.#nothingUnder !== controller.trust) this.#lookAgain();
    if (this.#nothing.has(name)) return "absent";
    const asking = { proxy: this.#proxy, consumer: this.#consumer, stream: this.#base.stream };
    const offer = secrets.offer(asking, name, has);
    if (offer === "later") this.#isWaiting = true;
    if (offer === "absent" && secrets.isNothing(this.#proxy, name)) this.#nothing.add(name);
    return offer;
  }

  resumed(name: string, version: string): void {
    const { controller, clock, log } = this.#deps;
    const fields = { component: "xds", proxy: this.#proxy.uuid, name, version };
    log.debug(fields, "resumed: the proxy goes on with what it has");
    controller.observe({ type: "resumed", ...this.#base, name, at: clock.now() });
  }

  all(): Iterable<string> {
    return [];
  }

  sending(nonce: string, items: readonly Item[]): ReturnType<ResourceSession["sending"]> {
    const { controller, secrets, clock, encode } = this.#deps;
    const resources = items.map(({ name, version, bytes }) => {
      const material = secrets.material(this.#proxy, name, version);
      const matchers = material.kind === "bundle" && material.sans !== undefined;
      const { content } = material;
      const sent = { type: "sent", ...this.#base, name, matchers, content, at: clock.now() } as const;
      this.#seqs.set(nonce, controller.observe(sent));
      return encode(name, material, bytes);
    });
    return { resources, recorded: items.length === 0 ? Promise.resolve() : controller.durable(this.#proxy.uuid) };
  }

  verdict(nonce: string, name: string, version: string, verdict: Verdict, text: string | undefined): void {
    const { controller, clock, onVerdict } = this.#deps;
    const seq = this.#seqs.get(nonce);
    if (seq === undefined) return;
    if (verdict !== "superseded") this.#seqs.delete(nonce);
    if (verdict === "acked") controller.observe({ type: "acked", ...this.#base, name, seq, at: clock.now() });
    if (verdict === "nacked") {
      const message = text === undefined ? undefined : printable(text);
      this.#warnOfRefusal(name, version, message);
      controller.observe({ type: "nacked", ...this.#base, name, seq, message: message ?? "", at: clock.now() });
    }
    onVerdict();
  }

  close(): void {
    const { controller, clock, onClose } = this.#deps;
    onClose();
    controller.observe({ type: "ended", ...this.#base, at: clock.now() });
  }

  #report(): void {
    const { controller, secrets, clock, log, foreignNews } = this.#deps;
    this.#nothingUnder = controller.trust;
    this.#nothing.clear();
    const { seen, foreign } = secrets.sorted(this.#proxy, this.#asked, NOTHING_SEEN);
    controller.observe({ type: "asked", ...this.#base, names: seen, at: clock.now() });
    const news = foreignNews(foreign);
    if (news !== undefined) warnOfForeign(log, this.#proxy.uuid, news);
  }

  /** A new trust domain makes something of names that were nothing. */
  #lookAgain(): void {
    if (this.#nothing.size > 0) this.#report();
    else this.#nothingUnder = this.#deps.controller.trust;
  }

  #warnOfRefusal(name: string, version: string, envoy: string | undefined): void {
    const { uuid, serviceAccount, namespace } = this.#proxy;
    const who = { proxy: uuid, identity: `${serviceAccount}.${namespace}` };
    this.#deps.log.warn({ component: "xds", ...who, name, version, envoy }, "NACK: the proxy refused its secrets");
  }
}

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
