/** The heart of a server on one store: the controller, and all that makes certificates and says who gets them. */

import type { Config } from "../config.ts";
import type { CheckedClock } from "../controller/checked-clock.ts";
import { LeafCache, type MakeLeaf } from "../controller/leaf-cache.ts";
import { MeshSecrets } from "../controller/mesh-secrets.ts";
import type { RootProofs } from "../controller/root-proofs.ts";
import { RotationController } from "../controller/rotation-controller.ts";
import { TrustBundles } from "../controller/trust-bundles.ts";
import { wantedVersion } from "../controller/wanted-version.ts";
import { createMetrics, type Metrics } from "../ops/metrics.ts";
import type { Log } from "../ports/log.ts";
import type { CertificateProvider } from "../ports/provider.ts";
import type { Store } from "../ports/store.ts";
import { SecretSource } from "../secrets/secret-source.ts";
import { assemble, type Mesh } from "./assemble.ts";
import { auditStandingWords } from "./audited-operator.ts";
import { CertificateMaker, spreadRenewal } from "./certificate-maker.ts";
import { firstRoot } from "./first-root.ts";

export type RunningMesh = Pick<Mesh, "authorities"> & {
  readonly store: Store;
  readonly config: Config;
  readonly clock: CheckedClock;
  readonly log: Log;
  readonly metrics: Metrics;
  readonly controller: RotationController;
  readonly certificates: CertificateMaker;
  readonly secrets: MeshSecrets;
  readonly source: SecretSource;
};

type Around = Pick<RunningMesh, "store" | "config" | "clock" | "log"> & {
  readonly proofs: RootProofs | undefined;
  readonly providers: readonly CertificateProvider[] | undefined;
};

/** Makes the first root where there never was one. Throws what `RotationController.start` throws. The caller stops the controller. */
export async function startMesh(around: Around): Promise<RunningMesh> {
  const { store, config, clock, log } = around;
  const { state, authorities } = assemble(store, config, around);
  await firstRoot(store, config, clock, log);
  const metrics = createMetrics();
  const certificates = new CertificateMaker(authorities, clock, config);
  const issuer = new LeafCache({
    clock,
    log,
    make: counted(certificates.leaf, metrics),
    isReady: (root) => authorities.isReady(root),
    renewalTime: spreadRenewal,
  });
  const bundles = new TrustBundles(log);
  // A broken list is told of by its watch.
  const read = await store.services.read();
  if (read.problems.length === 0) bundles.setServices(read.services);
  const wanted = wantedVersion(bundles, issuer);
  const controller = await RotationController.start(
    { clock, state, authorities, settings: settingsOf(config), log, wanted, services: () => bundles.services },
    await store.roots.list(),
  );
  // Not by spreading them into Math.max: a call takes some 100,000 arguments.
  clock.recall([...controller.ledger.proxies.values()].reduce((last, row) => Math.max(last, row.lastContactAt), 0));
  auditStandingWords(controller.ledger, store.audit);

  const secrets = new MeshSecrets({ controller, issuer, bundles, wanted, clock });
  const source = new SecretSource({ controller, secrets, clock, log, leafValidityMs: config.leafValidityMs });
  return { store, config, clock, log, metrics, controller, certificates, secrets, source, authorities };
}

function settingsOf(config: Config) {
  const { settleMs, recoveryWindowMs: recoveryMs, absentPolicy, namespace, xdsCertValidityMs } = config;
  return { settleMs, recoveryMs, absentPolicy, namespace, xdsCertValidityMs };
}

function counted(make: MakeLeaf, metrics: Metrics): MakeLeaf {
  return async (kind, proxy, root) => {
    const end = metrics.certificateIssueSeconds.startTimer();
    try {
      const leaf = await make(kind, proxy, root);
      metrics.certificatesIssued.inc({ kind, result: "ok" });
      return leaf;
    } catch (error) {
      metrics.certificatesIssued.inc({ kind, result: "error" });
      throw error;
    } finally {
      end();
    }
  };
}
