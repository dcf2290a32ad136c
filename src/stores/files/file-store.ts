/** The store of the standalone server: the files of a data directory (data-dir.ts). */

import { join } from "node:path";
import type { Clock } from "../../ports/clock.ts";
import type { Log } from "../../ports/log.ts";
import type { Audit, Store } from "../../ports/store.ts";
import type { BeforeStep } from "../../runtime/atomic-write.ts";
import { takeLock } from "../../runtime/file-lock.ts";
import { type DataDir, openDataDir, requireDataDir } from "./data-dir.ts";
import { rootFiles } from "./root-files.ts";
import { secretFiles } from "./secret-files.ts";
import { readServices, watchServices } from "./services-file.ts";
import { stateFiles } from "./state-files.ts";
import type { WatchOptions } from "./watch-files.ts";

/** How long an edit waits for another one. */
const EDIT_WAIT_MS = 5000;

export type FileStoreDeps = {
  readonly clock: Clock;
  readonly log: Log;
  readonly beforeStep?: BeforeStep | undefined;
  readonly watching?: Pick<WatchOptions, "holdoffMs" | "pollMs">;
};

/** Nothing is made, read or locked before it is asked for. `namespace`: of manifests that name none. */
export function openFileStore(
  { dataDir: place, namespace }: { readonly dataDir: string; readonly namespace: string },
  { clock, log, beforeStep, watching }: FileStoreDeps,
): Store {
  const state = stateFiles(join(place, "state"), beforeStep);
  const roots = rootFiles(join(place, "roots"), namespace, beforeStep);
  const services = join(place, "services.yaml");
  const after: Clock["after"] = (ms, callback) => clock.after(ms, callback);
  let held: DataDir | undefined;
  return {
    place,
    mustExist: () => requireDataDir(place),
    leadership: {
      async take() {
        held ??= await openDataDir(place, { lock: true, beforeStep });
      },
    },
    trust: state.trust,
    evidence: state.evidence,
    roots: {
      // A single look can't tell what an editor has taken away for a moment.
      list: async () => ({ ...(await roots.list()), provisional: true }),
      watch: (onChange, onError) => roots.watch(onChange, { ...watching, after, onError }),
    },
    rootEditing: {
      async edit(work) {
        const { editLock } = await openDataDir(place, { lock: false, beforeStep });
        const lock = await takeLock(editLock, EDIT_WAIT_MS, beforeStep);
        try {
          return await work(roots);
        } finally {
          await lock.release();
        }
      },
    },
    services: {
      read: () => readServices(services),
      watch: (onChange, onError) => watchServices(services, onChange, { ...watching, onError }),
    },
    secrets: secretFiles(join(place, "secrets"), beforeStep, (path, mode) => sayExposed(log, path, mode)),
    audit: auditLines(log),
    async close() {
      await state.close();
      await held?.close();
      held = undefined;
    },
  };
}

/** Standalone, the audit is the log. */
function auditLines(log: Log): Audit {
  return { write: (fields, message) => log.warn({ component: "audit", ...fields }, message) };
}

function sayExposed(log: Log, path: string, mode: string): void {
  const hint = `Run \`chmod 600 ${path}\`; if somebody may have read the key, rotate to a new root.`;
  const message = `${path} holds a private key, and others than its owner may open it (mode ${mode})`;
  log.warn({ component: "store", path, mode, hint }, message);
}
