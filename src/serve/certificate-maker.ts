/** Keys and certificates for proxies and for ourselves: profiles of pki/, signed by the authority of the wanted root. */

import { randomUUID } from "node:crypto";
import type { AuthorityKeeper } from "../controller/authority-keeper.ts";
import { clockSpan } from "../controller/checked-clock.ts";
import type { MadeLeaf, MakeLeaf } from "../controller/leaf-cache.ts";
import { bundleContent } from "../controller/trust-bundles.ts";
import { MeshrootError, raise } from "../core/errors.ts";
import type { HandedOut } from "../core/evidence/ledger-state.ts";
import { uuidProblem } from "../core/evidence/proxy-owner.ts";
import { isDnsLabel, type ProxyIdentity } from "../core/identity.ts";
import { type RootId, rootOf, type TrustInForce } from "../core/roots/trust.ts";
import { checkLeaf } from "../pki/check.ts";
import { generateKeyPair, type KeyAlgorithm, privateKeyPem } from "../pki/keys.ts";
import { type Period, renewalTime, serviceLeaf, xdsClient, xdsServer } from "../pki/profiles.ts";
import type { Clock } from "../ports/clock.ts";
import type { IssuedCertificate, KeyPair } from "../ports/provider.ts";

/** DNS SANs of our own certificate; bootstraps match the first, whatever the address is. */
export const XDS_SERVER_NAMES = ["xds.meshroot.internal", "localhost"] as const;

export type CertificateOptions = {
  readonly leafKeyAlgorithm: KeyAlgorithm;
  readonly leafValidityMs: number;
  readonly xdsCertValidityMs: number;
};

export type BootstrapCredentials = {
  readonly proxy: ProxyIdentity;
  readonly certPem: string;
  readonly keyPem: string;
  readonly caPem: string;
  /** RFC 3339. */
  readonly notAfter: string;
};

export class CertificateMaker {
  readonly #authorities: AuthorityKeeper;
  readonly #clock: Clock;
  readonly #options: CertificateOptions;

  constructor(authorities: AuthorityKeeper, clock: Clock, options: CertificateOptions) {
    this.#authorities = authorities;
    this.#clock = clock;
    this.#options = options;
  }

  /**
   * MakeLeaf of the leaf issuer. What fails our own check is withheld (R80): throws MR4003. A name that the root can't carry is
   * refused: MR3007.
   */
  readonly leaf: MakeLeaf = async (kind, proxy, root) => {
    raise(await this.#authorities.refusalOf(proxy, root));
    const now = this.#clock.now();
    const keyPair = await generateKeyPair(this.#options.leafKeyAlgorithm);
    const form = this.#authorities.formOf(root);
    const request =
      kind === "leaf"
        ? serviceLeaf(proxy, form, this.#period(root, this.#options.leafValidityMs), keyPair.publicKey)
        : xdsClient(
            { ...proxy, trustDomain: form.trustDomain },
            this.#period(root, this.#options.xdsCertValidityMs),
            keyPair.publicKey,
          );
    const issued = await this.#authorities.issue(root, request);
    return this.#checked(issued, keyPair, root, now);
  };

  /** Valid by every reading of a clock in doubt; not from before its root, which says nothing more. */
  #period(root: RootId, validityMs: number): Period {
    const { earliest, latest } = clockSpan(this.#clock);
    const rootFrom = this.#authorities.record(root).notBefore;
    return { now: latest, earliest: Math.max(earliest, Math.min(rootFrom, latest)), validityMs };
  }

  #checked(issued: IssuedCertificate, keyPair: KeyPair, root: RootId, now: number): MadeLeaf {
    const keyPem = privateKeyPem(keyPair);
    const rootPem = this.#authorities.record(root).certificatePem;
    raise(checkLeaf({ chainPem: issued.chainPem, privateKeyPem: keyPem, rootPem, now }));
    return { ...issued, privateKeyPem: keyPem };
  }

  /**
   * A new xDS credential for one proxy, under the signer, with the bundle of this trust: both get into its folder together, and
   * the ledger has to know of `handedOut` first if it knows the proxy (C5). Throws MR5002 for a name or uuid that can't be one.
   */
  async bootstrap(
    wanted: { serviceAccount: string; namespace: string; kind: "sidecar" | "gateway"; uuid?: string | undefined },
    trust: TrustInForce,
  ): Promise<{ readonly credentials: BootstrapCredentials; readonly handedOut: HandedOut }> {
    for (const [what, name] of [
      ["service account", wanted.serviceAccount],
      ["namespace", wanted.namespace],
    ] as const) {
      if (!isDnsLabel(name)) {
        throw new MeshrootError(
          "MR5002",
          `${what} "${name}" is not a DNS label`,
          "Use lower-case letters, digits and dashes, at most 63, no dots.",
        );
      }
    }
    if (wanted.uuid !== undefined) raise(uuidProblem(wanted.uuid));
    const root = rootOf(trust, trust.signer);
    const { serviceAccount, namespace, kind } = wanted;
    const proxy: ProxyIdentity = {
      serviceAccount,
      namespace,
      kind,
      uuid: wanted.uuid ?? randomUUID(),
      trustDomain: root.form.trustDomain,
    };
    const made = await this.leaf("xdsLeaf", proxy, root.id);
    const { fingerprint, notBefore, notAfter } = made;
    return {
      credentials: {
        proxy,
        certPem: made.chainPem,
        keyPem: made.privateKeyPem,
        caPem: clientCaPem(trust),
        notAfter: new Date(notAfter).toISOString(),
      },
      handedOut: { fingerprint, root: root.id, notBefore, notAfter, bundle: bundleContent("xdsBundle", trust) },
    };
  }

  /** A certificate of our own under `root`. */
  async server(root: RootId): Promise<MadeLeaf> {
    const now = this.#clock.now();
    const keyPair = await generateKeyPair("ec-p256");
    const request = xdsServer(XDS_SERVER_NAMES, this.#period(root, this.#options.xdsCertValidityMs), keyPair.publicKey);
    const issued = await this.#authorities.issue(root, request);
    return this.#checked(issued, keyPair, root, now);
  }
}

/** Earlier than needed by up to a tenth of what is left, which keeps proxies that joined together apart. */
export function spreadRenewal(now: number, notAfter: number): number {
  const latest = renewalTime(now, notAfter);
  return latest - Math.random() * 0.1 * (latest - now);
}

export function clientCaPem(trust: TrustInForce): string {
  return [...new Set(trust.xds.map((id) => rootOf(trust, id).certificatePem))].join("");
}
