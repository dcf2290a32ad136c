/** What the demo shows: one row for each step, and below it a line that lives while the step waits. */

import pc from "picocolors";
import type { MeshStatus } from "../../controller/status.ts";
import type { Cause, Load } from "./load.ts";
import type { Verdict } from "./rehearsal.ts";
import { type DemoResult, IN_PART, type StoryStep } from "./rotation-story.ts";
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
  const lively = (text: string) => {
    if (!isLive) return;
    out.write(`\r\u001b[K${pc.dim(text.slice(0, (out.columns ?? 100) - 1))}`);
    live = true;
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
    },
    warmingUp: (requestsPerSecond: number) => lively(`before the rotation: ${perSecond(requestsPerSecond)}`),
    heading: (wanted: number, carried: number, control: Load) => {
      if (control.requestsPerSecond < wanted)
        line(
          `This machine carried ${perSecond(carried)}, so that the rotation runs under ${perSecond(control.requestsPerSecond)} instead of ${wanted}.`,
        );
      line();
      line(pc.dim(row(COLUMNS.map(([title]) => title))));
    },
    waiting: (step: number, status: MeshStatus, traffic: TrafficResult) => {
      const hold = status.holds.find(({ gate }) => gate === "signer" || gate === "bundle");
      const synced = status.proxies.filter((proxy) => proxy.sync === "SYNCED").length;
      const why =
        hold === undefined
          ? `${synced}/${status.proxies.length} proxies have ACKed`
          : `${hold.wants} waits: ${hold.message}`;
      lively(`${step}     requests ${traffic.requests}  failed ${traffic.failures}  ${why}`);
    },
    step: (step: StoryStep, short: Readonly<Record<string, string>>, proxies: number) => {
      const names = Object.keys(short);
      const role = (name: string | undefined) =>
        name === undefined ? "-" : (step.roles[name] ?? (step.step === 6 ? "(deleted)" : "-"));
      const shorten = (loaded: string) => {
        const name = loaded.replace(IN_PART, "");
        return (short[name] ?? name) + loaded.slice(name.length);
      };
      const shown = (loaded: StoryStep["loaded"]) => {
        const lists = Object.values(loaded).map((list) => list.map(shorten).toSorted());
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
    requests: (verdict: Verdict, control: Load, rotationMs: number) => {
      const { load, leastPerPair, firstFailures } = verdict;
      line();
      const failed = load.failures === 0 ? pc.green("failed 0") : pc.red(`failed ${load.failures}`);
      line(`requests ${load.requests}  ${failed}  p99 ${ms(load.p99Ms)}  rotation ${seconds(rotationMs)}`);
      const rate = `${perSecond(load.requestsPerSecond)}, each pair at least ${leastPerPair} times`;
      line(pc.dim(`${rate}; the same rate before the rotation: failed ${control.failures}, p99 ${ms(control.p99Ms)}`));
      for (const text of explanation(verdict, control)) line(text);
      for (const { from, to, text } of firstFailures.slice(0, 3)) line(pc.dim(`  ${from} -> ${to}: ${text}`));
    },
    closing: (result: DemoResult, status: MeshStatus, control: boolean) => {
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
    .map((cell, index) => `${cell}  `.padEnd(COLUMNS[index]?.[1] ?? 0))
    .join("")
    .trimEnd();
}

/** For a demo that lost requests: what was measured, and what it tells. */
function explanation({ load, cause, refusals }: Verdict, control: Load): string[] {
  if (cause === "none") return [];
  const late = `${load.lateFailures} of the ${load.failures} failed for want of an answer in time`;
  const refused = `the Envoys refused ${refusals ?? "an unknown number of"} certificates or connections`;
  const stall = `event loop late by up to ${load.stallMs} ms, before the rotation ${control.stallMs} ms`;
  return [`${late}; ${refused}; ${stall}.`, CAUSES[cause]];
}

const CAUSES: Readonly<Record<Exclude<Cause, "none">, string>> = {
  rotation: "No load makes an Envoy refuse a certificate: the rotation lost requests.",
  overload:
    "All of it looks like an overloaded machine: take fewer --proxies or a lower --rate, or end what else keeps it busy, and run it again.",
  unclear:
    "This tells neither an overloaded machine nor a fault of the rotation for sure: see the Envoys' logs (--keep).",
};

function perSecond(rate: number): string {
  return `${Number(rate.toFixed(1))} requests a second`;
}

function ms(value: number): string {
  return `${value.toFixed(1)} ms`;
}

function seconds(ms: number): string {
  return `${(ms / 1000).toFixed(1)} s`;
}
