/** Runs histories in a process of its own: the async hooks of node:test cost a third of the time. */

import { spawn } from "node:child_process";
import { once } from "node:events";
import { text } from "node:stream/consumers";
import type { History } from "./history.ts";

export type HistoryOrders =
  /** So many from a seed, up to the first breach. */
  { readonly count: number; readonly seed: number } | { readonly known: readonly History[] };

export type HistoryOutcome = {
  /** How many were run. */
  readonly histories: number;
  readonly handshakes: number;
  /** Secrets that were not sent again, because their client had them (E15). */
  readonly resumed: number;
  /** A stack. */
  readonly breach?: string;
  /** The one with the breach, made as short as a minute allows. */
  readonly history?: History;
};

const SCRIPT = new URL("./run-histories.ts", import.meta.url).pathname;

/** Throws when the process dies instead of answering. */
export async function runHistories(orders: HistoryOrders, env = process.env): Promise<HistoryOutcome> {
  const child = spawn(process.execPath, [SCRIPT], { env, stdio: ["pipe", "pipe", "inherit"] });
  child.stdin.end(JSON.stringify(orders));
  const [output] = await Promise.all([text(child.stdout), once(child, "exit")]);
  return JSON.parse(output.trimEnd().split("\n").at(-1) ?? "") as HistoryOutcome;
}
