/** Tresor: the built-in CA. Its certificate and key are an Opaque secret, in the form that OSM wrote. */

import { MeshrootError } from "../core/errors.ts";
import type { ProviderSpec, SecretRef } from "../core/roots/mesh-root.ts";
import { type KeyAlgorithm, privateKeyPem } from "../pki/keys.ts";
import { DEFAULT_ORGANIZATION, type LocalAuthority, localAuthority } from "../pki/local-authority.ts";
import { createRootCa } from "../pki/root-ca.ts";
import type { Clock } from "../ports/clock.ts";
import type { CertificateAuthority, CertificateProvider } from "../ports/provider.ts";
import { MANAGED_BY, type Secret, type SecretStore } from "../ports/store.ts";
import { corruptCa, OWN_KEYS, readCaSecret } from "./ca-secret.ts";

/** 87,600 h, as in OSM. */
const DEFAULT_ROOT_VALIDITY_MS = 87_600 * 3_600_000;

export type TresorOptions = {
  readonly secrets: SecretStore;
  readonly clock: Clock;
  /** O of new roots and of every leaf; OSM's by default. */
  readonly organization?: string;
  /** Of new roots; RSA-2048 by default, as in OSM. */
  readonly keyAlgorithm?: KeyAlgorithm;
  readonly rootValidityMs?: number;
};

/** The contract is in ports/provider.ts. A root is made where the MRC's secret is absent, and taken as it is elsewhere. */
export function createTresor(options: TresorOptions): CertificateProvider {
  const { secrets, clock, organization = DEFAULT_ORGANIZATION } = options;

  async function newRoot(ref: SecretRef): Promise<Secret> {
    const { certificatePem, keyPair } = await createRootCa({
      country: "US",
      locality: "CA",
      organization,
      commonName: "osm-ca.openservicemesh.io",
      algorithm: options.keyAlgorithm ?? "rsa-2048",
      validityMs: options.rootValidityMs ?? DEFAULT_ROOT_VALIDITY_MS,
      now: clock.now(),
      earliest: clock.span?.().earliest ?? clock.now(),
    });
    const data = {
      [OWN_KEYS.certificate]: Buffer.from(certificatePem),
      [OWN_KEYS.privateKey]: Buffer.from(privateKeyPem(keyPair)),
    };
    return { ...ref, data, labels: { [MANAGED_BY.key]: MANAGED_BY.value } };
  }

  return {
    kind: "tresor",

    open(spec) {
      const ref = refOf(spec);
      const read = async () => {
        const secret = await secrets.read(ref);
        if (secret === undefined) throw gone(ref);
        return authorityOf(secret, clock, organization);
      };
      return authorityIn(read);
    },

    custody: {
      has: async (spec) => (await secrets.read(refOf(spec))) !== undefined,
      async create(spec) {
        const ref = refOf(spec);
        // Of two that find nothing, both make a root; createOrLoad says whose counts.
        if ((await secrets.read(ref)) === undefined) await secrets.createOrLoad(await newRoot(ref));
      },
      async destroy(spec) {
        const ref = refOf(spec);
        const secret = await secrets.read(ref);
        if (secret?.labels?.[MANAGED_BY.key] === MANAGED_BY.value) await secrets.remove(ref);
      },
    },
  };
}

/** The key that was read last stays in memory: a secret that is taken away for a moment stops nobody. */
function authorityIn(read: () => Promise<LocalAuthority>): CertificateAuthority {
  let current: LocalAuthority | undefined;
  return {
    async inspect() {
      const { issue: _, ...root } = await read().then((found) => {
        // The same CA goes on: it has its key at hand, in whatever form that was read again.
        if (current?.fingerprint !== found.fingerprint) current = found;
        return found;
      });
      return { root, health: { kind: "signs" } };
    },
    async issue(request) {
      current ??= await read();
      return current.issue(request);
    },
  };
}

function refOf(spec: ProviderSpec): SecretRef {
  if (spec.kind === "tresor") return spec.secretRef;
  throw new MeshrootError("MR1011", `tresor can't serve a root of provider ${spec.kind}`, "Use that provider.");
}

function authorityOf(secret: Secret, clock: Clock, organization: string): LocalAuthority {
  const { certificatePem, privateKey } = readCaSecret(secret);
  try {
    return localAuthority({ certificatePem, privateKey, clock, organization });
  } catch (error) {
    if (!(error instanceof MeshrootError)) throw error;
    throw corruptCa(secret, error.message.slice(error.code.length + 1), error.hint);
  }
}

function gone(ref: SecretRef): MeshrootError {
  return new MeshrootError(
    "MR2005",
    `CA secret ${ref.namespace}/${ref.name} is gone`,
    "Put it back, from a backup or from where you keep it. Without one, create another MeshRootCertificate and rotate to it; nothing was made in its place.",
  );
}
