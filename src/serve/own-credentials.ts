/** Our own certificate on the xDS port: at the start, and for as long as the server runs. */

import { createPrivateKey, X509Certificate } from "node:crypto";
import { clockSpan } from "../controller/checked-clock.ts";
import type { RotationController } from "../controller/rotation-controller.ts";
import { MeshrootError } from "../core/errors.ts";
import type { RootId, TrustInForce } from "../core/roots/trust.ts";
import { complainer } from "../ops/complainer.ts";
import { inspect } from "../pki/inspect.ts";
import { renewalTime } from "../pki/profiles.ts";
import type { Clock } from "../ports/clock.ts";
import type { Log } from "../ports/log.ts";
import { MANAGED_BY, type SecretStore } from "../ports/store.ts";
import type { ClientIdentity } from "../secrets/client-identity.ts";
import type { XdsServer } from "../xds/server.ts";
import type { FrontCredentials } from "../xds/tls-front.ts";
import { type CertificateMaker, clientCaPem } from "./certificate-maker.ts";

/**
 * A mesh that has run before starts even if its root can't sign for us any more, because the way out is a rotation to another
 * root, and only a running server makes it; `keepCredentials` goes on trying, and says what is wrong.
 */
export async function firstCredentials(controller: RotationController, own: ServerCredentials) {
  try {
    return (await own.for(controller.trust)).credentials;
  } catch (error) {
    if (controller.recoveringSince === undefined || !(error instanceof MeshrootError)) throw error;
    return undefined;
  }
}

/** Our own certificate and the client CA follow the trust in force. */
export function keepCredentials(
  controller: RotationController,
  own: ServerCredentials,
  xds: XdsServer<ClientIdentity>,
  log: Log,
): void {
  const complain = complainer(log.error.bind(log), "xds");
  let installed = "";
  let busy = false;
  controller.subscribe(() => {
    if (busy) return;
    busy = true;
    own
      .for(controller.trust)
      .then(({ credentials, problem }) => {
        const next = JSON.stringify(credentials);
        if (next !== installed) xds.setCredentials(credentials);
        installed = next;
        complain(problem, (message) => `our own xDS certificate could not be renewed yet: ${message}`);
      })
      .catch((error: unknown) => complain(error, (message) => `xDS has no certificate of its own: ${message}`))
      .finally(() => {
        busy = false;
      });
  });
}

type Entry = {
  readonly root: RootId;
  readonly certificatePem: string;
  readonly privateKeyPem: string;
  readonly renewAt: number;
  readonly notBefore: number;
  readonly notAfter: number;
  /** The doubt about the clock in which it was made; 0: there was none. */
  readonly doubt: number;
};

/**
 * Our own xDS certificate. It is stored with its key, because the root that it stands under may outlive its CA key: a
 * deleted MRC's key is destroyed at once, while its certificate stays on the xDS port until no connection needs it (C5).
 */
export class ServerCredentials {
  readonly #certificates: CertificateMaker;
  readonly #secrets: SecretStore;
  readonly #ref: { readonly name: string; readonly namespace: string };
  readonly #clock: Clock;
  #isSaved = true;
  #current: Entry | undefined;

  constructor(deps: { certificates: CertificateMaker; secrets: SecretStore; namespace: string; clock: Clock }) {
    this.#certificates = deps.certificates;
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
    const span = clockSpan(this.#clock);
    const now = this.#clock.now();
    // What was made in this very doubt about the clock is as good as its root lets it be.
    const isOfThisDoubt = span.doubt !== 0 && current?.doubt === span.doubt;
    const { earliest, latest } = isOfThisDoubt ? { earliest: now, latest: now } : span;
    const isValid = current !== undefined && current.notBefore <= earliest && latest < current.notAfter;
    const usable = isValid && current.root === trust.xdsServer;
    let problem: unknown;
    if (!usable || latest >= current.renewAt || (current.doubt !== 0 && current.doubt !== span.doubt)) {
      try {
        this.#current = await this.#make(trust.xdsServer);
        this.#isSaved = false;
      } catch (error) {
        if (!usable) throw error;
        problem = error;
      }
    }
    // Without a disk it is as good: what is lost with this process is only made again, or the old one found.
    if (!this.#isSaved) problem = (await this.#save()) ?? problem;
    const { certificatePem, privateKeyPem: keyPem } = this.#current as Entry;
    return { credentials: { certificatePem, privateKeyPem: keyPem, clientCaPem: clientCaPem(trust) }, problem };
  }

  async #make(root: RootId) {
    const made = await this.#certificates.server(root);
    return this.#entry(root, made.chainPem, made.privateKeyPem, made);
  }

  /** Why it could not be saved. */
  async #save(): Promise<unknown> {
    const { certificatePem, privateKeyPem, root } = this.#current as Entry;
    const labels = { [MANAGED_BY.key]: MANAGED_BY.value };
    const data = {
      "tls.crt": Buffer.from(certificatePem),
      "tls.key": Buffer.from(privateKeyPem),
      root: Buffer.from(root),
    };
    try {
      await this.#secrets.write({ ...this.#ref, labels, data });
      this.#isSaved = true;
      return undefined;
    } catch (error) {
      return error;
    }
  }

  /** Undefined also where it can't be used: it is ours alone, and is made again. */
  async #read() {
    try {
      const secret = await this.#secrets.read(this.#ref);
      const [certificate, key, root] = [secret?.data["tls.crt"], secret?.data["tls.key"], secret?.data.root];
      if (certificate === undefined || key === undefined || root === undefined) return undefined;
      if (!new X509Certificate(certificate).checkPrivateKey(createPrivateKey(key))) return undefined;
      const validity = inspect(certificate.toString());
      return this.#entry(root.toString(), certificate.toString(), key.toString(), validity);
    } catch {
      return undefined;
    }
  }

  #entry(root: RootId, certificatePem: string, keyPem: string, validity: Pick<Entry, "notBefore" | "notAfter">): Entry {
    const { notBefore, notAfter } = validity;
    const { doubt } = clockSpan(this.#clock);
    const renewAt = renewalTime(this.#clock.now(), notAfter);
    return { root, certificatePem, privateKeyPem: keyPem, notBefore, notAfter, renewAt, doubt };
  }
}
