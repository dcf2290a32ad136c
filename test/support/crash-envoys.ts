/** Real Envoys under traffic whose server is killed: at chosen writes, and at random moments. */

import { createHash } from "node:crypto";
import type { TestContext } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { serverStatus } from "../../src/access/admin-client.ts";
import { freePorts } from "../../src/cli/demo/free-ports.ts";
import type { EnvoyBinary } from "../../src/envoy/binary.ts";
import type { XdsVariant } from "../../src/envoy/secret-sources.ts";
import { type DiskChecks, diskChecks } from "./crash-checks.ts";
import { type CrashingServer, startCrashingServer } from "./crashing-server.ts";
import { type E2eMesh, startMesh } from "./e2e-mesh.ts";
import { TEST_SETTINGS } from "./e2e-server.ts";
import { SEED } from "./seed.ts";

export type CrashEnvoys = {
  readonly it: E2eMesh;
  readonly server: CrashingServer;
  readonly disk: DiskChecks;
  /** Kills it up to a second from now, and with `again` a second time, during the recovery or after it. */
  killAtRandom(again: boolean): Promise<void>;
  /** Waits for a crash at each place of `only`: what a test sees happen may come right before one. */
  untilKilledEverywhere(): Promise<void>;
};

export type CrashEnvoysOptions = {
  readonly envoy: EnvoyBinary;
  readonly names: readonly string[];
  readonly variants?: readonly XdsVariant[];
  /** Places of crash-child.ts. */
  readonly only?: readonly string[];
};

/** Random moments are those of `SEED`. Everything ends with the test. */
export async function startCrashEnvoys(t: TestContext, options: CrashEnvoysOptions): Promise<CrashEnvoys> {
  const [xdsPort = 0, httpPort = 0, healthPort = 0] = await freePorts(3);
  let server: CrashingServer | undefined;
  let disk: DiskChecks | undefined;
  const { only = [], ...mesh } = options;
  const it = await startMesh(t, {
    ...mesh,
    serve: async (dataDir) => {
      const checks = diskChecks(dataDir);
      const { settleMs: settle, drainWindowMs: drainWindow, logLevel } = TEST_SETTINGS;
      const ports = { xdsPort: `${xdsPort}`, httpPort: `${httpPort}`, healthPort: `${healthPort}` };
      const started = startCrashingServer(t, {
        // Beside the data, which is made by then.
        dir: `${dataDir}/..`,
        flags: { dataDir, settle, drainWindow, logLevel, ...ports },
        depth: 1,
        only,
        clockSpeed: 1,
        afterCrash: () => checks.check([]),
      });
      [server, disk] = [started, checks];
      const up = async () => {
        while ((await serverStatus(dataDir).catch(() => undefined)) === undefined) await sleep(50);
      };
      await Promise.race([up(), started.failed]);
      return { xdsPort, httpPort, logText: () => "", stop: started.stop };
    },
  });
  const running = server as CrashingServer;
  const random = generator(SEED);
  return {
    it,
    server: running,
    disk: disk as DiskChecks,
    async killAtRandom(again) {
      for (const within of again ? [1_000, 2_000] : [1_000]) {
        await sleep(random() * within);
        await running.kill();
      }
    },
    async untilKilledEverywhere() {
      for (const wanted of only)
        await it.until(`killed at: ${wanted}`, () => running.lives.some(({ place }) => place === wanted));
    },
  };
}

/** Numbers from 0 up to 1, the same for the same seed. */
function generator(seed: number): () => number {
  let count = 0;
  return () => createHash("sha256").update(`${seed} ${count++}`).digest().readUInt32BE() / 2 ** 32;
}
