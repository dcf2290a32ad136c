/** The files of a data directory keep what a store has to. */

import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { TestContext } from "node:test";
import { stringify } from "yaml";
import type { Clock } from "../../../src/ports/clock.ts";
import type { BeforeStep } from "../../../src/runtime/atomic-write.ts";
import { openFileStore } from "../../../src/stores/files/file-store.ts";
import { temporaryDirectory } from "../../support/data-dir.ts";
import { type StoreUnderTest, storeContract } from "../contract.ts";

async function fileStores(t: TestContext): Promise<StoreUnderTest> {
  const dataDir = join(await temporaryDirectory(t), "data");
  let failing: "late" | "early" | undefined;
  let renamed = "";
  const beforeStep: BeforeStep = (step, path) => {
    if (step === "rename") renamed = path;
    const place = failing === "late" ? "sync-directory" : "rename";
    if (failing === undefined || step !== place || !renamed.endsWith("trust.json")) return;
    failing = undefined;
    throw new Error("EIO");
  };
  const timers = new Set<() => void>();
  const clock: Clock = {
    now: Date.now,
    after: (_ms, callback) => {
      timers.add(callback);
      return () => timers.delete(callback);
    },
  };
  const audited: string[] = [];
  const ignore = () => undefined;
  const warn = (fields: object, message: string) => void audited.push(`${JSON.stringify(fields)} ${message}`);
  const log = { debug: ignore, info: ignore, warn, error: ignore };
  const open = () =>
    openFileStore(
      { dataDir, namespace: "osm-system" },
      { clock, log, beforeStep, watching: { holdoffMs: 20, pollMs: 200 } },
    );
  const [store, other] = [open(), open()];
  t.after(() => Promise.all([store.close(), other.close()]));
  return {
    store,
    other,
    state: store,
    replica: other,
    audited,
    failTrust(how) {
      failing = how;
    },
    pass() {
      for (const callback of [...timers]) callback();
    },
    setServices: (services) => writeFile(join(dataDir, "services.yaml"), stringify(Object.fromEntries(services))),
  };
}

storeContract("files", fileStores);
