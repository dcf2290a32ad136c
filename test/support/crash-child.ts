/**
 * The real server in a process that kills itself (SIGKILL) right before a step that changes the disk. It is forked ahead
 * of time, loads its modules, and starts when its parent says so. See crashing-server.ts.
 */

import { appendFileSync, statSync, truncateSync, writeSync } from "node:fs";
import { basename, dirname } from "node:path";
import { loadConfig } from "../../src/config.ts";
import { createLog } from "../../src/ops/log.ts";
import type { Clock } from "../../src/ports/clock.ts";
import type { BeforeStep, WriteStep } from "../../src/runtime/atomic-write.ts";
import { serve } from "../../src/serve/serve.ts";

/** Of one process. */
export type Orders = {
  /** As `loadConfig` takes them. */
  readonly flags: Readonly<Record<string, string>>;
  /** Where the place of the crash is written to. */
  readonly report: string;
  /** Places that need no crash any more. */
  readonly covered: readonly string[];
  /** Places to crash at; all, where there is no list. */
  readonly only?: readonly string[] | undefined;
  /** How many groups of ledger rows are crashed at within a phase of one process. */
  readonly depth: number;
  readonly clock: { readonly from: number; readonly at: number; readonly speed: number };
  readonly phase: string;
};

export type Message = { readonly start: Orders } | { readonly phase: string };

/** What a crash can leave for good, so that it matters at which step of a rotation it comes. */
const LASTING: ReadonlySet<WriteStep> = new Set(["append", "sync", "rename", "link", "remove", "sync-directory"]);

/** The same for the other files: a phase changes the trust twice at most. */
const OFTEN = 2;

/** The lock, what a rename has yet to put in place, and the ledger's compaction, which comes when it comes. */
const ANY_TIME = /^(lock|data\/|ledger rename|(?!ledger ).* sync$)/;

let phase = "";

process.on("message", (message: Message) => {
  if ("phase" in message) phase = message.phase;
  else void run(message.start);
});
process.on("disconnect", () => process.exit(1));

async function run(orders: Orders): Promise<void> {
  phase = orders.phase;
  const config = loadConfig(orders.flags, {});
  const write = (line: string) => void writeSync(1, line);
  const log = createLog({ level: config.logLevel, format: "json", destination: { write } });
  try {
    const { xdsPort, httpPort } = await serve(config, log, {
      ...{ version: "test", clock: clockOf(orders), beforeStep: crashAt(orders) },
    });
    process.send?.({ xdsPort, httpPort });
  } catch (error) {
    writeSync(2, `${error instanceof Error ? error.stack : String(error)}\n`);
    process.exit(1);
  }
}

/** Runs faster than the wall, from a moment that lies before it, so that nothing is dated in the future. */
function clockOf({ clock: { from, at, speed } }: Orders): Clock {
  return {
    now: () => from + (Date.now() - at) * speed,
    after: (ms, callback) => {
      const timer = setTimeout(callback, ms / speed);
      return () => clearTimeout(timer);
    },
  };
}

function crashAt({ covered, depth, only, report }: Orders): BeforeStep {
  const done = new Set(covered);
  const counts = new Map<string, number>();
  return (step, path) => {
    const file = roleOf(step === "sync-directory" || step === "make-directory" ? `${path}/` : path);
    const isLasting = LASTING.has(step) && !ANY_TIME.test(`${file} ${step}`);
    const where = `${file} ${step}${isLasting ? ` in ${phase}` : ""}`;
    const count = (counts.get(where) ?? 0) + 1;
    counts.set(where, count);
    const place = isLasting && count > 1 ? `${where} #${count}` : where;
    if (count > (file === "ledger" ? depth : OFTEN) || done.has(place) || only?.includes(place) === false) return;
    // What was not synced may be lost (a power cut), in part too.
    if (step === "sync") truncateSync(path, Math.max(0, statSync(path).size - 7));
    appendFileSync(report, place);
    process.kill(process.pid, "SIGKILL");
  };
}

/** `.trust.json.4711.0a0b0c0d.tmp` is trust.json's; CAs and manifests have a new name in each rotation. */
function roleOf(path: string): string {
  const folder = basename(dirname(path));
  if (path.endsWith("/")) return `${basename(path)}/`;
  const name = basename(path)
    .replace(/^\.(.*)\.\d+\.[0-9a-f]{8}\.tmp$/, "$1")
    .replace(/\.[0-9a-f]{8}\.stale$/, " aside");
  if (name === "ledger.jsonl") return "ledger";
  if (name === "meshroot-xds-server.yaml" || folder === "state" || name.startsWith("lock")) return name;
  return folder === "roots" ? "manifest" : "CA secret";
}
