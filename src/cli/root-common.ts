/** What the `root` commands share. */

import type { Command } from "commander";
import type { MeshAccess } from "../access/mesh-access.ts";
import { loadSettings } from "../config.ts";
import { MeshrootError } from "../core/errors.ts";
import type { MeshRoot, RootListing } from "../core/roots/mesh-root.ts";
import { type RotationStep, stepOf } from "../core/rotation/rotation-steps.ts";
import type { RootEditor } from "../ports/store.ts";
import type { CliContext } from "./context.ts";
import { table } from "./output.ts";
import { printWarnings } from "./print-holds.ts";
import { addSettings } from "./settings.ts";

export type StoreFlags = { readonly dataDir?: string; readonly namespace?: string };
export type OpenedMesh = { readonly mesh: MeshAccess; readonly dataDir: string; readonly namespace: string };

/** Adds `--data-dir` and `--namespace`. */
export function withStore(command: Command): Command {
  return addSettings(command, ["dataDir", "namespace"]);
}

export function openMesh(context: CliContext, flags: StoreFlags): OpenedMesh {
  const at = loadSettings(["dataDir", "namespace"], flags, context.env);
  return { mesh: context.openMesh(at), ...at };
}

/** The root called `name` in the control namespace. Throws MR1009. */
export function findRoot({ roots }: RootListing, name: string, namespace: string): MeshRoot {
  const found = roots.find((root) => root.name === name && root.namespace === namespace);
  if (found !== undefined) return found;
  const names = roots.map((root) => root.name).join(", ");
  throw new MeshrootError(
    "MR1009",
    `no root ${name} in namespace ${namespace}`,
    names === "" ? "There is no root yet: `meshroot root create` makes one." : `There are: ${names}.`,
  );
}

/** Rules can't be checked against roots that can't be read, so an edit begins with mending those. */
function refuseWhileBroken({ problems }: RootListing): void {
  const [first] = problems;
  if (first === undefined) return;
  const { code, message, hint } = first.problem;
  throw new MeshrootError(code, `${first.source}: ${message}`, `${hint} Nothing was changed.`);
}

/** Says what the listing holds that is wrong; it is no reason to fail a command that only looks. */
export function warnAboutProblems(context: CliContext, { problems, outdated }: RootListing): void {
  for (const { source, problem } of problems)
    context.stderr(`warning: ${source}: ${problem.code} ${problem.message}\nhint: ${problem.hint}\n`);
  if (outdated.length > 0) context.stderr(`warning: shown as last read: ${outdated.join(", ")}\n`);
}

/** The rows of the step table that an edit leaves and reaches. */
function stepTable(before: readonly MeshRoot[], after: readonly MeshRoot[], namespace: string): string {
  const row = (title: string, roots: readonly MeshRoot[]): string[] => {
    const step = stepOf(roots.filter((root) => root.namespace === namespace));
    return [
      title,
      String(step.step ?? "-"),
      side(step.old),
      side(step.new),
      step.signs.join(" or ") || "-",
      step.validates.join(" + ") || "-",
    ];
  };
  return table([["", "STEP", "OLD", "NEW", "SIGNS", "VALIDATES"], row("before", before), row("after", after)]);
}

/** Edits roots under the lock, on a list that can be read; prints the row of the step table that it leaves and the one that it reaches. */
export async function editRoots(
  context: CliContext,
  opened: OpenedMesh,
  edit: (roots: RootEditor, listing: RootListing) => Promise<readonly MeshRoot[]>,
): Promise<void> {
  const steps = await opened.mesh.roots.edit(async (roots) => {
    const listing = await roots.list();
    refuseWhileBroken(listing);
    const after = await edit(roots, listing);
    return stepTable(listing.roots, after, opened.namespace);
  });
  context.stdout(steps);
  await remarkOnServer(context, opened);
}

/** Whether someone will act on an edit. Only a remark: the edit is made either way. */
async function remarkOnServer(context: CliContext, { mesh, dataDir }: OpenedMesh): Promise<void> {
  const status = await mesh.status().catch(() => undefined);
  printWarnings(context, status);
  if (status?.live !== true)
    context.stderr(`No server answers on ${dataDir}: the change takes effect when one runs (\`meshroot serve\`).\n`);
}

/** The active root that a new one follows: the one that has been active for longest. */
export function incumbent(roots: readonly MeshRoot[], namespace: string): MeshRoot | undefined {
  return roots
    .filter((root) => root.namespace === namespace && root.role === "active")
    .sort((a, b) => a.createdAt - b.createdAt)[0];
}

function side(root: RotationStep["old"]): string {
  return root === undefined ? "-" : `${root.name} ${root.role}`;
}
