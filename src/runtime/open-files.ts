/** How many connections each port may have, so that files and sockets of our own can always be opened. */

import { readFileSync } from "node:fs";

/** Of this process: connections are files to the system. Infinity where nobody says. */
export function openFilesLimit(): number {
  try {
    const found = /^Max open files\s+(\d+|unlimited)/m.exec(readFileSync("/proc/self/limits", "utf8"))?.[1];
    return found === undefined || found === "unlimited" ? Number.POSITIVE_INFINITY : Number(found);
  } catch {
    const { userLimits } = process.report.getReport() as { userLimits?: { open_files?: { soft?: unknown } } };
    const soft = Number(userLimits?.open_files?.soft);
    return Number.isFinite(soft) && soft > 0 ? soft : Number.POSITIVE_INFINITY;
  }
}

export type ConnectionBudget = {
  readonly xds: number;
  readonly xdsStrangers: number;
  /** For each of the smaller doors: HTTP, health, and both sockets of the operator. */
  readonly each: number;
};

const SIDE_DOORS = 4;
const MAX_STRANGERS = 4_096;

/** `limit`: files that may be open. */
export function connectionBudget(limit: number): ConnectionBudget {
  const isTight = limit < 1_024;
  const each = isTight ? 16 : 64;
  // What a quiet server has open, its files, and a CA's connections.
  const own = isTight ? 64 : 128;
  const xds = Math.max(16, limit - own - SIDE_DOORS * each);
  return { xds, xdsStrangers: Math.min(MAX_STRANGERS, Math.ceil(xds / 4)), each };
}
