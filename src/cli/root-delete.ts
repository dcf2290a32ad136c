import type { Command } from "commander";
import { raise } from "../core/errors.ts";
import { checkDelete } from "../core/mesh-root-rules.ts";
import type { CliContext } from "./context.ts";
import { findRoot, openStore, refuseWhileBroken, remarkOnServer, type StoreFlags, withStore } from "./root-common.ts";

/** `meshroot root delete NAME`. */
export function addRootDelete(parent: Command, context: CliContext): void {
  withStore(parent.command("delete <name>").description("delete an inactive root; the server destroys its key")).action(
    async (name: string, flags: StoreFlags) => {
      const store = openStore(context, flags);
      await store.admin.edit(async (roots) => {
        const listing = await roots.list();
        refuseWhileBroken(listing);
        const root = findRoot(listing, name, store.namespace);
        raise(checkDelete(listing.roots, root, store.namespace));
        await roots.remove(root);
      });
      context.stderr(`root ${name} deleted\n`);
      await remarkOnServer(context, store);
    },
  );
}
