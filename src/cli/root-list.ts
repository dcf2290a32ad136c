import type { Command } from "commander";
import type { MeshStatus, RootStatus } from "../controller/status.ts";
import type { MeshRoot } from "../core/mesh-root.ts";
import { meshRootManifest } from "../core/mesh-root-manifest.ts";
import type { CliContext } from "./context.ts";
import { age, type OutputFormat, outputOption, printItem, printList, type View } from "./output.ts";
import { findRoot, openStore, type StoreFlags, warnAboutProblems, withStore } from "./root-common.ts";

/** A root, what the server says about it, and the time it is now (for AGE). */
type Row = { readonly root: MeshRoot; readonly status: RootStatus | undefined; readonly now: number };

/** What only a running server knows is "-" without one. */
function known(value: (status: RootStatus) => string): (row: Row) => string {
  return ({ status }) => (status === undefined ? "-" : value(status));
}

const VIEW: View<Row> = {
  columns: [
    { title: "NAME", value: ({ root }) => root.name },
    { title: "ROLE", value: ({ root }) => root.role },
    { title: "PROVIDER", value: ({ root }) => root.provider.kind },
    { title: "STATE", value: known((status) => status.state) },
    { title: "SIGNING", value: known((status) => yesNo(status.signing)) },
    { title: "VALIDATING", value: known((status) => yesNo(status.validating)) },
    { title: "PROXIES", value: known(({ proxies }) => `${proxies.trusting}/${proxies.total}`) },
    { title: "EXPIRES", value: known((status) => status.notAfter.slice(0, 10)) },
    { title: "AGE", value: ({ root, now }) => age(now - root.createdAt) },
    { title: "FINGERPRINT", wide: true, value: known((status) => status.fingerprint.slice(0, 16)) },
    { title: "TRUST-DOMAIN", wide: true, value: ({ root }) => root.trustDomain },
    { title: "SPIFFE", wide: true, value: ({ root }) => yesNo(root.spiffeEnabled) },
    { title: "NAMESPACE", wide: true, value: ({ root }) => root.namespace },
  ],
  object: ({ root, status }) => ({
    ...meshRootManifest(root),
    ...(status === undefined ? {} : { status: statusOf(status) }),
  }),
  name: ({ root }) => `meshrootcertificate.config.openservicemesh.io/${root.name}`,
};

/** `meshroot root list`. */
export function addRootList(parent: Command, context: CliContext): void {
  withStore(parent.command("list").alias("ls").description("list all roots"))
    .addOption(outputOption())
    .action(async (flags: StoreFlags & { output: OutputFormat }) => {
      const store = openStore(context, flags);
      const listing = await store.admin.list();
      const rows = await rowsOf(context, store.dataDir, listing.roots);
      if (rows.length === 0) context.stderr(`No roots in ${store.dataDir}.\n`);
      if (rows.length > 0 || flags.output === "json" || flags.output === "yaml")
        context.stdout(printList(rows, VIEW, flags.output));
      warnAboutProblems(context, listing);
    });
}

/** `meshroot root get NAME`. */
export function addRootGet(parent: Command, context: CliContext): void {
  withStore(parent.command("get <name>").description("show one root"))
    .addOption(outputOption())
    .action(async (name: string, flags: StoreFlags & { output: OutputFormat }) => {
      const store = openStore(context, flags);
      const listing = await store.admin.list();
      warnAboutProblems(context, listing);
      const [row] = await rowsOf(context, store.dataDir, [findRoot(listing, name, store.namespace)]);
      if (row !== undefined) context.stdout(printItem(row, VIEW, flags.output));
    });
}

async function rowsOf(context: CliContext, dataDir: string, roots: readonly MeshRoot[]): Promise<Row[]> {
  const status: MeshStatus | undefined = await context.meshStatus(dataDir);
  const now = context.now();
  return roots.map((root) => ({
    root,
    status: status?.roots.find((each) => each.name === root.name && each.namespace === root.namespace),
    now,
  }));
}

function statusOf(status: RootStatus): object {
  const { state, fingerprint, notAfter, proxies, componentStatuses, signing, validating } = status;
  return { state, signing, validating, fingerprint, notAfter, proxies, componentStatuses };
}

function yesNo(value: boolean): string {
  return value ? "yes" : "no";
}
