import { Argument, type Command } from "commander";
import { MeshrootError, raise } from "../core/errors.ts";
import { isInUse, type MeshRoot, ROLES, type Role, rootKey } from "../core/roots/mesh-root.ts";
import { checkUpdate } from "../core/roots/mesh-root-rules.ts";
import type { CliContext } from "./context.ts";
import { editRoots, findRoot, openMesh, type StoreFlags, withStore } from "./root-common.ts";

/** `meshroot root set-role NAME ROLE [--force-unsafe REASON]`. */
export function addRootSetRole(parent: Command, context: CliContext): void {
  withStore(parent.command("set-role").description("move a root one step: active <-> passive <-> inactive"))
    .argument("<name>", "name of the root")
    .addArgument(new Argument("<role>", "its new role").choices(ROLES))
    .option("--force-unsafe <reason>", "do not wait for proxies: requests may fail; the reason is kept with the root")
    .action(async (name: string, role: Role, flags: StoreFlags & { forceUnsafe?: string }) => {
      const { forceUnsafe } = flags;
      if (forceUnsafe?.trim() === "")
        throw new MeshrootError(
          "MR5001",
          "--force-unsafe needs a reason",
          "Say why, for whoever reads the audit later.",
        );
      const opened = openMesh(context, flags);
      await editRoots(context, opened, async (roots, listing) => {
        const before = findRoot(listing, name, opened.namespace);
        const after: MeshRoot = { ...before, role };
        raise(checkUpdate(listing.roots, before, after, opened.namespace));
        if (!isInUse(before) && isInUse(after) && forceUnsafe === undefined) await opened.mesh.examine(after);
        await roots.setRole(before, role, forceUnsafe === undefined ? {} : { forceUnsafe });
        context.stderr(`root ${name}: ${before.role} -> ${role}\n`);
        if (forceUnsafe !== undefined)
          context.stderr(
            `warning: force-unsafe: this step waits for no proxy; set the role again without the flag to end it\n`,
          );
        else if (before.forceUnsafe !== undefined) context.stderr("force-unsafe taken off: gates hold again\n");
        return listing.roots.map((root) => (rootKey(root) === rootKey(before) ? after : root));
      });
    });
}
