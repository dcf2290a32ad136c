/**
 * All of a server but TLS, gRPC streams and X.509 of leaves, for a mesh through which crowds of short-lived proxies go. Its clock stands
 * still until it is put forward.
 */

import { createHash, randomUUID } from "node:crypto";
import { setImmediate as nextTurn } from "node:timers/promises";
import { AuthorityKeeper } from "../../src/controller/authority-keeper.ts";
import { LeafCache } from "../../src/controller/leaf-cache.ts";
import { MeshSecrets } from "../../src/controller/mesh-secrets.ts";
import { RotationController } from "../../src/controller/rotation-controller.ts";
import { TrustBundles } from "../../src/controller/trust-bundles.ts";
import { wantedVersion } from "../../src/controller/wanted-version.ts";
import type { ProxyIdentity } from "../../src/core/identity.ts";
import { createTresor } from "../../src/providers/tresor.ts";
import { SecretSource } from "../../src/secrets/secret-source.ts";
import { SideServices } from "../../src/serve/side-services.ts";
import { openFileStore } from "../../src/stores/files/file-store.ts";
import type { ResourceSession } from "../../src/xds/source.ts";
import { memorySecretStore } from "./memory-secret-store.ts";
import { root } from "./roots.ts";
import { trustingProofs } from "./trusting-proofs.ts";

const HOUR_MS = 3_600_000;
export const LEAF_MS = HOUR_MS;
export const CREDENTIAL_MS = 12 * HOUR_MS;
const NAMES = ["ROOTCA", "default"] as const;
/** Of another identity, and of nobody: said once each, and kept to say it once. */
const OTHERS = ["service-cert:shop/other", "no-such-name"] as const;

export type Crowd = {
  readonly controller: RotationController;
  readonly issuer: LeafCache;
  readonly side: SideServices;
  /** A proxy comes and takes its secrets. Returns the way to go. */
  visit(): Promise<() => void>;
  /** Puts the clock forward, and has the mesh look at that. */
  pass(ms: number): Promise<void>;
  stop(): Promise<void>;
};

/** `dataDir`: where the ledger is written. */
export async function startCrowd(dataDir: string): Promise<Crowd> {
  let now = Date.now();
  const timers = new Set<{ readonly at: number; readonly callback: () => void }>();
  const clock = {
    now: () => now,
    after: (ms: number, callback: () => void) => {
      const timer = { at: now + ms, callback };
      timers.add(timer);
      return () => timers.delete(timer);
    },
  };
  const quiet = () => undefined;
  const log = { debug: quiet, info: quiet, warn: quiet, error: quiet };
  const store = openFileStore({ dataDir, namespace: "osm-system" }, { clock, log });
  await store.leadership.take();
  const tresor = createTresor({ secrets: memorySecretStore(), clock, keyAlgorithm: "ec-p256" });
  const authorities = new AuthorityKeeper({ providers: [tresor], proofs: trustingProofs(), clock, log });
  const gates = { settleMs: 0, recoveryMs: 0, absentPolicy: "until-leaf-expiry" } as const;
  const settings = { ...gates, namespace: "osm-system", xdsCertValidityMs: CREDENTIAL_MS };
  const issuer = new LeafCache({
    clock,
    log,
    make: async (_kind, { uuid }) => ({
      chainPem: "-----BEGIN CERTIFICATE-----\n",
      privateKeyPem: "a private key",
      fingerprint: createHash("sha256").update(`${uuid} ${now}`).digest("hex"),
      serial: "1",
      notBefore: now,
      notAfter: now + LEAF_MS,
    }),
    renewalTime: (_now, notAfter) => notAfter,
  });
  const bundles = new TrustBundles(log);
  const wanted = wantedVersion(bundles, issuer);
  const controller = await RotationController.start(
    { clock, state: store, authorities, settings, log, wanted },
    { roots: [root("first", "active")], problems: [], outdated: [] },
  );
  const secrets = new MeshSecrets({ controller, issuer, bundles, wanted, clock });
  const source = new SecretSource({ controller, secrets, clock, log, leafValidityMs: LEAF_MS });
  const side = new SideServices({ controller, secrets });
  let visits = 0;

  async function take(session: ResourceSession, name: string): Promise<void> {
    let offer = session.offer(name, undefined);
    if (offer === "later") {
      await nextTurn();
      offer = session.offer(name, undefined);
    }
    if (typeof offer === "string") throw new Error(`${name} is ${offer}`);
    const { version } = offer;
    const nonce = `${name} ${version}`;
    await session.sending(nonce, [{ name, version, bytes: "unique" }], version).recorded;
    session.verdict(nonce, name, version, "acked", undefined);
  }

  return {
    controller,
    issuer,
    side,
    async visit() {
      visits += 1;
      // What a mesh issues in a second has its bounds (E15).
      now += 20;
      const proxy: ProxyIdentity = {
        ...{ uuid: randomUUID(), serviceAccount: "job", namespace: "shop" },
        ...{ kind: "sidecar", trustDomain: "cluster.local" },
      };
      const { signer } = controller.trust;
      const fingerprint = createHash("sha256").update(proxy.uuid).digest("hex");
      const credential = { fingerprint, root: signer, notBefore: now, notAfter: now + CREDENTIAL_MS };
      const node = { id: `job-${visits}`, userAgentName: "envoy" };
      const client = { identity: { proxy, credential }, streamId: `s${visits}`, node: node as never };
      side.noteNode(client);
      const session = source.open(client, () => undefined);
      session.asked(new Set([...NAMES, ...OTHERS]), false);
      for (const name of NAMES) await take(session, name);
      return () => session.close();
    },
    async pass(ms) {
      const planned = new Promise<void>((resolve) => {
        const end = controller.subscribe((what) => {
          if (what !== "plan") return;
          end();
          resolve();
        });
      });
      // What it waits with until more has come is over then, too.
      controller.replan();
      now += ms;
      for (const timer of [...timers]) {
        if (timer.at > now) continue;
        timers.delete(timer);
        timer.callback();
      }
      await planned;
    },
    async stop() {
      await controller.stop();
      await store.close();
    },
  };
}
