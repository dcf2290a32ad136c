/** What a rotation waits for, as every command that looks at the mesh prints it, on standard error. */

import type { MeshStatus } from "../controller/status.ts";
import { waitingLines, waysOut } from "../core/rotation/hold-words.ts";
import type { CliContext } from "./context.ts";

const MAX_PROXIES = 10;

/** Holds, each with its proxies and the way out, and what else is wrong with roots. */
export function printHolds(context: CliContext, status: MeshStatus | undefined): void {
  for (const hold of status?.holds ?? []) {
    const lines = waitingLines(hold);
    const more = lines.length - MAX_PROXIES;
    context.stderr(`held (${hold.gate}): ${hold.wants}: ${hold.message}\n`);
    for (const line of lines.slice(0, MAX_PROXIES)) context.stderr(`  ${line}\n`);
    if (more > 0) context.stderr(`  and ${more} more; \`meshroot proxy status -o json\` lists all\n`);
    for (const way of waysOut(hold)) context.stderr(`  hint: ${way}\n`);
  }
  printWarnings(context, status);
  const said = new Set(status?.holds.map((hold) => hold.root));
  for (const { root, code, message, hint } of status?.authorityProblems ?? [])
    if (!said.has(root)) context.stderr(`warning: ${code} ${message}\nhint: ${hint}\n`);
}

/** What every command says that looks at a mesh, or edits it. */
export function printWarnings(context: CliContext, status: MeshStatus | undefined): void {
  for (const { code, message, hint } of status?.warnings ?? [])
    context.stderr(`warning: ${code} ${message}\nhint: ${hint}\n`);
}

/** Says whose word this is, where it is not a running server's. */
export function remarkOnSource(context: CliContext, status: MeshStatus | undefined, dataDir: string): void {
  if (status === undefined) context.stderr(`No server has run on ${dataDir} yet.\n`);
  else if (!status.live)
    context.stderr(
      `No server answers on ${dataDir}: this is what was last written down there; no proxy is connected.\n`,
    );
}
