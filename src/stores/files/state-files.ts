/** What the controller must not forget (evidence.md E7), under `<data>/state/`. */

import { join } from "node:path";
import type { EvidenceStore, TrustStore } from "../../ports/store.ts";
import { type BeforeStep, tryToWrite } from "../../runtime/atomic-write.ts";
import { rowJournal } from "./row-journal.ts";
import { trustFile, unwritable } from "./trust-file.ts";

export type StateFiles = {
  readonly trust: TrustStore;
  readonly evidence: EvidenceStore;
  close(): Promise<void>;
};

/** Opens the state under `directory` (DataDir.state). Nothing is read before it is asked for. */
export function stateFiles(directory: string, beforeStep?: BeforeStep): StateFiles {
  const journal = rowJournal(join(directory, "ledger.jsonl"), beforeStep);
  const trust = trustFile(join(directory, "trust.json"), journal, beforeStep);
  return {
    trust,
    evidence: {
      read: async () => journal.load(await trust.exists()),
      write: journal.write,
      async probe() {
        const probe = join(directory, "probe");
        try {
          await tryToWrite(probe, beforeStep);
        } catch (error) {
          throw unwritable(probe, error);
        }
      },
    },
    async close() {
      await trust.settled();
      await journal.close();
    },
  };
}
