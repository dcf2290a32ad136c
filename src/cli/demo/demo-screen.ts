/** What the demo shows: one row for each step, and below it a line that lives while the step waits. */

import pc from "picocolors";
import type { MeshStatus } from "../../controller/status.ts";
import type { DemoResult, StoryStep } from "./rotation-story.ts";
import type { TrafficResult } from "./traffic.ts";

const COLUMNS = [
  ["STEP", 6],
  ["OLD MRC", 11],
  ["NEW MRC", 11],
  ["SIGNS", 7],
  ["VALIDATES", 11],
  ["ACKED", 8],
  ["TIME", 8],
  ["LOADED (/certs)", 17],
  ["ON XDS (/certs)", 0],
] as const;

/** People read stderr while `json` keeps stdout for the one object. */
export function demoScreen(json: boolean) {
  const out = json ? process.stderr : process.stdout;
  const isLive = out.isTTY === true && process.env.TERM !== "dumb";
  let live = false;
  const clear = () => {
    if (live) out.write("\r\u001b[K");
    live = false;
  };
  const line = (text = "") => {
    clear();
    out.write(`${text}\n`);
  };
  return {
    progress: (text: string) => {
      clear();
      process.stderr.write(`${text}\n`);
    },
    opening: (envoy: string, names: readonly string[]) => {
      line(
        `${pc.bold("meshroot demo")}: ${names.length} Envoys ${envoy} (${names.join(", ")}), mTLS on a new connection for every request`,
      );
      line();
      line(pc.dim(row(COLUMNS.map(([title]) => title))));
    },
    waiting: (step: number, status: MeshStatus, traffic: TrafficResult) => {
      if (!isLive) return;
      const hold = status.holds.find(({ gate }) => gate === "signer" || gate === "bundle");
      const synced = status.proxies.filter((proxy) => proxy.sync === "SYNCED").length;
      const why =
        hold === undefined
          ? `${synced}/${status.proxies.length} proxies have ACKed`
          : `${hold.wants} waits: ${hold.message}`;
      const text = `${step}     requests ${traffic.requests}  failed ${traffic.failures}  ${why}`;
      out.write(`\r\u001b[K${pc.dim(text.slice(0, (out.columns ?? 100) - 1))}`);
      live = true;
    },
    step: (step: StoryStep, short: Readonly<Record<string, string>>, proxies: number) => {
      const names = Object.keys(short);
      const role = (name: string | undefined) =>
        name === undefined ? "-" : (step.roles[name] ?? (step.step === 6 ? "(deleted)" : "-"));
      const shown = (loaded: StoryStep["loaded"]) => {
        const lists = Object.values(loaded).map((list) => list.map((name) => short[name] ?? name).toSorted());
        return [...new Set(lists.map((list) => list.toReversed().join(" + ")))].join(" | ");
      };
      const validates = step.trusted.length === 2 ? "old + new" : step.step < 4 ? "old" : "new";
      const signs = step.step < 4 ? "old" : "new";
      const acked = `${step.acked}/${proxies}`;
      line(
        row([
          String(step.step),
          role(names[0]),
          role(names[1]),
          signs,
          validates,
          acked,
          seconds(step.ms),
          shown(step.loaded),
          shown(step.loadedOnXds),
        ]),
      );
    },
    closing: (result: DemoResult, failures: readonly string[], status: MeshStatus, control: boolean) => {
      line();
      const failed = result.failed === 0 ? pc.green("failed 0") : pc.red(`failed ${result.failed}`);
      line(
        `requests ${result.requests}  ${failed}  p99 ${result.p99Ms.toFixed(1)} ms  rotation ${seconds(result.rotationMs)}`,
      );
      for (const failure of failures.slice(0, 3)) line(pc.dim(`  ${failure}`));
      if (control) line("The gates were overridden and one proxy was cut off: this is what they are for.");
      for (const root of status.roots)
        line(pc.dim(`${root.name}  serial ${root.serial.slice(0, 16)}…  sha256 ${root.fingerprint.slice(0, 16)}…`));
      for (const hold of status.holds) line(pc.dim(`still held (${hold.gate}): ${hold.wants}: ${hold.message}`));
      if (json) process.stdout.write(`${JSON.stringify(result)}\n`);
    },
    end: clear,
  };
}

function row(cells: readonly string[]): string {
  return cells
    .map((cell, index) => cell.padEnd(COLUMNS[index]?.[1] ?? 0))
    .join("")
    .trimEnd();
}

function seconds(ms: number): string {
  return `${(ms / 1000).toFixed(1)} s`;
}
