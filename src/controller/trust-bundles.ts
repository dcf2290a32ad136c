/** Trust bundles: which roots, and whose names, a proxy is to trust where; made once for each trust in force. */

import { createHash } from "node:crypto";
import type { BundleContent } from "../core/evidence/content.ts";
import { principalOf, type ServiceIdentity } from "../core/identity.ts";
import { rootOf, sanForms, type TrustInForce } from "../core/roots/trust.ts";
import type { Log } from "../ports/log.ts";
import type { Services } from "../ports/store.ts";

export type San = { readonly type: "DNS" | "URI"; readonly value: string };

export type Bundle = {
  readonly kind: "bundle";
  readonly content: BundleContent;
  readonly caPem: string;
  readonly sans: readonly San[] | undefined;
};

export class TrustBundles {
  readonly #log: Log;
  /** Undefined until it could be read once: then nobody knows whether a service exists. */
  #services: Services | undefined;
  #made = new Map<string, Bundle>();
  #madeOf: TrustInForce | undefined;

  constructor(log: Log) {
    this.#log = log;
  }

  get services(): Services | undefined {
    return this.#services;
  }

  setServices(services: Services): void {
    this.#services = services;
    this.#madeOf = undefined;
  }

  /** `service`: that only the identities behind it are to be trusted. `later`: it is not known yet whether there is one. */
  of(trust: TrustInForce, kind: BundleContent["kind"], service: string | undefined): Bundle | "later" | "absent" {
    if (service !== undefined && this.#services === undefined) return "later";
    const behind = service === undefined ? undefined : this.#services?.get(service);
    if (service !== undefined && behind === undefined) return "absent";
    if (this.#madeOf !== trust) {
      this.#madeOf = trust;
      this.#made = new Map();
    }
    const key = `${kind} ${service ?? ""}`;
    const known = this.#made.get(key);
    if (known !== undefined) return known;
    const bundle = makeBundle(trust, kind, behind);
    this.#made.set(key, bundle);
    this.#log.debug({ component: "secrets", version: bundle.content.version, service }, "trust bundle made");
    return bundle;
  }
}

function makeBundle(
  trust: TrustInForce,
  kind: BundleContent["kind"],
  behind: readonly ServiceIdentity[] | undefined,
): Bundle {
  const sans = behind && sanMatchers(trust, behind);
  const content = bundleContent(kind, trust, sans);
  // Newest first: Envoy before 1.40 lists only the first root of a bundle in /certs, and the newest is the one to prove.
  const caPem = [...new Set(content.roots.toReversed().map((id) => rootOf(trust, id).certificatePem))].join("");
  return { kind: "bundle", content, caPem, sans };
}

/** What a bundle of this trust means, and its version (E1). */
export function bundleContent(
  kind: BundleContent["kind"],
  trust: TrustInForce,
  sans?: readonly San[] | undefined,
): BundleContent {
  const roots = kind === "bundle" ? trust.mesh : trust.xds;
  const hash = createHash("sha256")
    .update(JSON.stringify([roots, sans ?? null]))
    .digest("hex");
  return { kind, version: `${trust.generation}-${hash.slice(0, 12)}`, roots };
}

/** Every identity in every SAN form in force, so that both forms match while a rotation changes it. */
function sanMatchers(trust: TrustInForce, identities: readonly ServiceIdentity[]): San[] {
  const sans = sanForms(trust).flatMap((form) => identities.map((identity) => principalOf(identity, form)));
  return sans.toSorted((a, b) => (a.type + a.value < b.type + b.value ? -1 : 1));
}
