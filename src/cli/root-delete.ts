import type { Command } from "commander";
import type { MeshStatus } from "../controller/status.ts";
import { type Problem, raise } from "../core/errors.ts";
import { checkDelete } from "../core/roots/mesh-root-rules.ts";
import type { CliContext } from "./context.ts";
import { editRoots, findRoot, openMesh, type StoreFlags, withStore } from "./root-common.ts";

/** `meshroot root delete NAME`. */
export function addRootDelete(parent: Command, context: CliContext): void {
  withStore(parent.command("delete <name>").description("delete an inactive root; the server destroys its key")).action(
    async (name: string, flags: StoreFlags) => {
      const opened = openMesh(context, flags);
      await editRoots(context, opened, async (roots, listing) => {
        const root = findRoot(listing, name, opened.namespace);
        raise(checkDelete(listing.roots, root, opened.namespace));
        raise(stillSigning(await opened.mesh.status(), name));
        await roots.remove(root);
        context.stderr(`root ${name} deleted\n`);
        return listing.roots.filter((one) => one !== root);
      });
    },
  );
}

/** The roles are what is wanted; a root may sign on although its role is inactive, while another one waits for proxies. */
function stillSigning(status: MeshStatus | undefined, name: string): Problem | undefined {
  if (status?.roots.some((root) => root.name === name && root.signing) !== true) return undefined;
  const held = status.holds.find((hold) => hold.gate === "signer" || hold.gate === "roles");
  return {
    code: "MR1012",
    message: `root ${name} still signs${held === undefined ? "" : `: held: ${held.wants}: ${held.message}`}`,
    hint: "Delete it once another root signs; `meshroot proxy status` shows what that waits for.",
  };
}
