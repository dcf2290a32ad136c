import type { Command } from "commander";
import type { CliContext } from "./context.ts";
import { addRootCreate } from "./root-create.ts";
import { addRootDelete } from "./root-delete.ts";
import { addRootGet, addRootList } from "./root-list.ts";
import { addRootSetRole } from "./root-set-role.ts";

/** `meshroot root …` (alias `mrc`): the MeshRootCertificates of a data directory. */
export function addRootCommand(program: Command, context: CliContext): void {
  const root = program
    .command("root")
    .alias("mrc")
    .description("the roots (MeshRootCertificates): list, get, create, set-role, delete");
  for (const add of [addRootList, addRootGet, addRootCreate, addRootSetRole, addRootDelete]) add(root, context);
}
