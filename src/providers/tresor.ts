/** Tresor: a self-signed root whose certificate and key are kept in a Secret, as in OSM. */

import type { CertificateProvider, Clock, SecretStore } from "../controller/ports.ts";
import { MANAGED_BY } from "../controller/ports.ts";
import { MeshrootError } from "../core/errors.ts";
import type { ProviderSpec, SecretRef } from "../core/mesh-root.ts";
import { createAuthority, createRootCa } from "../pki/authority.ts";
import type { KeyAlgorithm } from "../pki/keys.ts";

const CERTIFICATE = "ca.crt";
const PRIVATE_KEY = "private.key";

export type TresorOptions = {
  readonly secrets: SecretStore;
  readonly clock: Clock;
  /** Of roots that Tresor makes; an operator's own may have another. */
  readonly keyAlgorithm: KeyAlgorithm;
  readonly rootValidityMs: number;
};

export function createTresor(options: TresorOptions): CertificateProvider {
  const { secrets, clock } = options;

  const makeSecret = async (ref: SecretRef) => {
    const made = await createRootCa({ algorithm: options.keyAlgorithm, validityMs: options.rootValidityMs, now: clock.now() });
    return secrets.createOrLoad({
      ...ref,
      labels: { [MANAGED_BY.key]: MANAGED_BY.value },
      data: { [CERTIFICATE]: Buffer.from(made.certificatePem), [PRIVATE_KEY]: Buffer.from(made.privateKeyPem) },
    });
  };

  return {
    kind: "tresor",
    load: async ({ provider }) => {
      const ref = refOf(provider);
      const secret = (await secrets.read(ref)) ?? (await makeSecret(ref));
      const [certificate, key] = [secret.data[CERTIFICATE], secret.data[PRIVATE_KEY]];
      if (certificate === undefined || key === undefined) {
        const missing = certificate === undefined ? CERTIFICATE : PRIVATE_KEY;
        throw new MeshrootError(
          "MR3001",
          `secret ${ref.namespace}/${ref.name} has no ${missing}`,
          "restore it from a backup, or point the root at another secret; nothing was overwritten",
        );
      }
      try {
        return createAuthority({ certificatePem: certificate.toString(), privateKeyPem: key.toString(), clock });
      } catch (error) {
        if (!(error instanceof MeshrootError)) throw error;
        const message = `secret ${ref.namespace}/${ref.name}: ${error.message.slice(error.code.length + 1)}`;
        throw new MeshrootError(error.code, message, error.hint, error);
      }
    },
    destroy: async (spec) => {
      const ref = refOf(spec);
      const secret = await secrets.read(ref);
      if (secret?.labels?.[MANAGED_BY.key] === MANAGED_BY.value) await secrets.remove(ref);
    },
  };
}

function refOf(spec: ProviderSpec): SecretRef {
  if (spec.kind !== "tresor") throw new Error(`invariant: Tresor was given a ${spec.kind} root`);
  return spec.secretRef;
}
