/** Keys and certificates for proxies and for ourselves: profiles of pki/, signed by the authority of the wanted root. */

import { randomUUID } from "node:crypto";
import type { Authorities } from "../controller/authorities.ts";
import type { MakeLeaf } from "../controller/leaf-issuer.ts";
import type { Clock, IssuedCertificate, KeyPair, SecretStore } from "../controller/ports.ts";
import { MANAGED_BY } from "../controller/ports.ts";
import { MeshrootError, raise } from "../core/errors.ts";
import { isDnsLabel, type ProxyIdentity } from "../core/identity.ts";
import { type RootId, rootOf, type TrustInForce } from "../core/trust.ts";
import { checkLeaf } from "../pki/check.ts";
import { generateKeyPair, type KeyAlgorithm, privateKeyPem } from "../pki/keys.ts";
import { renewalTime, serviceLeaf, xdsClient, xdsServer } from "../pki/profiles.ts";
import type { FrontCredentials } from "../xds/tls-front.ts";

/** DNS SANs of our own certificate; bootstraps match the first, whatever the address is. */
export const XDS_SERVER_NAMES = ["xds.meshroot.internal", "localhost"] as const;

export type IssuingOptions = {
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

export class Issuing {
  readonly #authorities: Authorities;
  readonly #clock: Clock;
  readonly #options: IssuingOptions;

  constructor(authorities: Authorities, clock: Clock, options: IssuingOptions) {
    this.#authorities = authorities;
    this.#clock = clock;
    this.#options = options;
  }

  /** MakeLeaf of the leaf issuer. What fails our own check is withheld (R80): throws MR4003. */
  readonly leaf: MakeLeaf = async (kind, proxy, root) => {
    const now = this.#clock.now();
    const keyPair = await generateKeyPair(this.#options.leafKeyAlgorithm);
    const form = this.#authorities.formOf(root);
    const request =
      kind === "leaf"
        ? serviceLeaf(proxy, form, { now, validityMs: this.#options.leafValidityMs }, keyPair)
        : xdsClient(
            { ...proxy, trustDomain: form.trustDomain },
            { now, validityMs: this.#options.xdsCertValidityMs },
            keyPair,
          );
    const issued = await this.#authorities.authority(root).issue(request);
    // Earlier by up to a tenth of what is left, which keeps proxies that joined together apart.
    const latest = renewalTime(now, issued.notAfter);
    const renewAt = latest - Math.random() * 0.1 * (latest - now);
    return { ...this.#checked(issued, keyPair, root, now), renewAt };
  };

  #checked(
    issued: IssuedCertificate,
    keyPair: KeyPair,
    root: RootId,
    now: number,
  ): IssuedCertificate & { privateKeyPem: string } {
    const keyPem = privateKeyPem(keyPair);
    const rootPem = this.#authorities.authority(root).certificatePem;
    raise(checkLeaf({ chainPem: issued.chainPem, privateKeyPem: keyPem, rootPem, now }));
    return { ...issued, privateKeyPem: keyPem };
  }

  /**
   * A new xDS credential for one proxy, under the signer, with the bundle of this moment: both are handed out together
   * (gates.ts relies on it). Throws MR5002 for a name that can't be one.
   */
  async bootstrap(
    wanted: { serviceAccount: string; namespace: string; kind: "sidecar" | "gateway"; uuid?: string | undefined },
    trust: TrustInForce,
  ): Promise<BootstrapCredentials> {
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
    const caPem = clientCaPem(trust);
    return {
      proxy,
      certPem: made.chainPem,
      keyPem: made.privateKeyPem,
      caPem,
      notAfter: new Date(made.notAfter).toISOString(),
    };
  }

  /** A certificate of our own under `root`. */
  async server(root: RootId): Promise<{ chainPem: string; privateKeyPem: string; notAfter: number }> {
    const now = this.#clock.now();
    const keyPair = await generateKeyPair("ec-p256");
    const request = xdsServer(XDS_SERVER_NAMES, { now, validityMs: this.#options.xdsCertValidityMs }, keyPair);
    const issued = await this.#authorities.authority(root).issue(request);
    return this.#checked(issued, keyPair, root, now);
  }
}

function clientCaPem(trust: TrustInForce): string {
  return [...new Set(trust.xds.map((id) => rootOf(trust, id).certificatePem))].join("");
}

/**
 * Our own xDS certificate. It is stored with its key, because the root that it stands under may outlive its CA key: a
 * deleted MRC's key is destroyed at once, while its certificate stays on the xDS port until no connection needs it (C5).
 */
export class ServerCredentials {
  readonly #issuing: Issuing;
  readonly #secrets: SecretStore;
  readonly #ref: { readonly name: string; readonly namespace: string };
  readonly #clock: Clock;
  #current:
    | { root: RootId; certificatePem: string; privateKeyPem: string; renewAt: number; notAfter: number }
    | undefined;

  constructor(deps: { issuing: Issuing; secrets: SecretStore; namespace: string; clock: Clock }) {
    this.#issuing = deps.issuing;
    this.#secrets = deps.secrets;
    this.#clock = deps.clock;
    this.#ref = { name: "meshroot-xds-server", namespace: deps.namespace };
  }

  /**
   * Credentials for the trust in force; made or renewed where needed. If renewing fails while the present certificate is
   * still valid, that one stays, and `problem` says why.
   */
  async for(trust: TrustInForce): Promise<{ credentials: FrontCredentials; problem?: unknown }> {
    this.#current ??= await this.#read();
    const current = this.#current;
    const now = this.#clock.now();
    const usable = current !== undefined && current.root === trust.xdsServer && now < current.notAfter;
    let problem: unknown;
    if (!usable || now >= current.renewAt) {
      try {
        this.#current = await this.#make(trust.xdsServer);
      } catch (error) {
        if (!usable) throw error;
        problem = error;
      }
    }
    const { certificatePem, privateKeyPem: keyPem } = this.#current as NonNullable<typeof current>;
    return { credentials: { certificatePem, privateKeyPem: keyPem, clientCaPem: clientCaPem(trust) }, problem };
  }

  async #make(root: RootId) {
    const made = await this.#issuing.server(root);
    const labels = { [MANAGED_BY.key]: MANAGED_BY.value };
    const data = {
      "tls.crt": Buffer.from(made.chainPem),
      "tls.key": Buffer.from(made.privateKeyPem),
      root: Buffer.from(root),
    };
    await this.#secrets.write({ ...this.#ref, labels, data });
    return this.#entry(root, made.chainPem, made.privateKeyPem, made.notAfter);
  }

  async #read() {
    const secret = await this.#secrets.read(this.#ref);
    const [certificate, key, root] = [secret?.data["tls.crt"], secret?.data["tls.key"], secret?.data.root];
    if (certificate === undefined || key === undefined || root === undefined) return undefined;
    const { inspect } = await import("../pki/inspect.ts");
    const { notAfter } = inspect(certificate.toString());
    return this.#entry(root.toString(), certificate.toString(), key.toString(), notAfter);
  }

  #entry(root: RootId, certificatePem: string, keyPem: string, notAfter: number) {
    const now = this.#clock.now();
    return { root, certificatePem, privateKeyPem: keyPem, notAfter, renewAt: renewalTime(now, notAfter) };
  }
}
