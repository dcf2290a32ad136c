import type { Command } from "commander";
import type { MeshStatus, RootStatus } from "../controller/status.ts";
import type { MeshRoot } from "../core/roots/mesh-root.ts";
import { meshRootManifest } from "../core/roots/mesh-root-manifest.ts";
import type { Hold } from "../core/rotation/holds.ts";
import type { CliContext } from "./context.ts";
import { age, type OutputFormat, outputOption, printItem, printList, type View } from "./output.ts";
import { printHolds, remarkOnSource } from "./print-holds.ts";
import { findRoot, type OpenedMesh, openMesh, type StoreFlags, warnAboutProblems, withStore } from "./root-common.ts";

/** A root, what the server says about it, and the time it is now (for AGE). */
type Row = {
  readonly name: string;
  /** Undefined: no manifest of it can be read here, though the mesh still knows the root. */
  readonly root: MeshRoot | undefined;
  readonly status: RootStatus | undefined;
  readonly holds: readonly Hold[];
  readonly now: number;
};

/** What only a running server knows is "-" without one. */
function known(value: (status: RootStatus) => string): (row: Row) => string {
  return ({ status }) => (status === undefined ? "-" : value(status));
}

const VIEW: View<Row> = {
  columns: [
    { title: "NAME", value: ({ name }) => name },
    { title: "ROLE", value: roleOf },
    { title: "PROVIDER", value: ({ root }) => root?.provider.kind ?? "-" },
    { title: "STATE", value: known((status) => status.state) },
    { title: "SIGNING", value: known((status) => yesNo(status.signing)) },
    { title: "VALIDATING", value: known((status) => yesNo(status.validating)) },
    { title: "PROXIES", value: known(({ proxies }) => `${proxies.trusting}/${proxies.total}`) },
    { title: "EXPIRES", value: known((status) => status.notAfter.slice(0, 10)) },
    { title: "AGE", value: ({ root, now }) => (root === undefined ? "-" : age(now - root.createdAt)) },
    { title: "FINGERPRINT", wide: true, value: known((status) => status.fingerprint.slice(0, 16)) },
    { title: "TRUST-DOMAIN", wide: true, value: ({ root, status }) => root?.trustDomain ?? status?.trustDomain ?? "-" },
    {
      title: "SPIFFE",
      wide: true,
      value: ({ root, status }) => yesNo(root?.spiffeEnabled ?? status?.spiffeEnabled ?? false),
    },
    { title: "NAMESPACE", wide: true, value: ({ root }) => root?.namespace ?? "-" },
  ],
  object: ({ name, root, status, holds }) => ({
    ...(root === undefined ? { kind: "MeshRootCertificate", metadata: { name } } : meshRootManifest(root)),
    ...(status === undefined ? {} : { status: { ...statusOf(status), holds } }),
  }),
  name: ({ name }) => `meshrootcertificate.config.openservicemesh.io/${name}`,
};

/** `meshroot root list`. */
export function addRootList(parent: Command, context: CliContext): void {
  withStore(parent.command("list").alias("ls").description("list all roots"))
    .addOption(outputOption())
    .action(async (flags: StoreFlags & { output: OutputFormat }) => {
      const opened = openMesh(context, flags);
      const listing = await opened.mesh.roots.list();
      const { rows: all, status } = await rowsOf(context, opened, listing.roots);
      // Names are for other commands, which need a manifest.
      const rows = flags.output === "name" ? all.filter(({ root }) => root !== undefined) : all;
      if (rows.length === 0) context.stderr(`No roots in ${opened.dataDir}.\n`);
      if (rows.length > 0 || flags.output === "json" || flags.output === "yaml")
        context.stdout(printList(rows, VIEW, flags.output));
      warnAboutProblems(context, listing);
      printHolds(context, status);
      remarkOnSource(context, status, opened.dataDir);
    });
}

/** `meshroot root get NAME`. */
export function addRootGet(parent: Command, context: CliContext): void {
  withStore(parent.command("get <name>").description("show one root"))
    .addOption(outputOption())
    .action(async (name: string, flags: StoreFlags & { output: OutputFormat }) => {
      const opened = openMesh(context, flags);
      const listing = await opened.mesh.roots.list();
      warnAboutProblems(context, listing);
      const root = findRoot(listing, name, opened.namespace);
      const { rows, status } = await rowsOf(context, opened, listing.roots);
      const row = rows.find((one) => one.root === root);
      if (row !== undefined) context.stdout(printItem(row, VIEW, flags.output));
      printHolds(context, status);
      remarkOnSource(context, status, opened.dataDir);
    });
}

async function rowsOf(
  context: CliContext,
  { mesh }: OpenedMesh,
  roots: readonly MeshRoot[],
): Promise<{ rows: Row[]; status: MeshStatus | undefined }> {
  const status = await mesh.status();
  const now = context.now();
  const row = (name: string, root: MeshRoot | undefined, of: RootStatus | undefined): Row => {
    const holds = (status?.holds ?? []).filter((hold) => hold.root === name);
    return { name, root, status: of, holds, now };
  };
  const listed = roots.map((root) =>
    row(
      root.name,
      root,
      status?.roots.find((each) => each.name === root.name && each.namespace === root.namespace),
    ),
  );
  const others = (status?.roots ?? []).filter((each) => !roots.some((root) => root.name === each.name));
  return { rows: [...listed, ...others.map((each) => row(each.name, undefined, each))], status };
}

/** A server goes on with the role that it read last where the manifest can't be read now. */
function roleOf({ root, status }: Row): string {
  if (root !== undefined) return root.role;
  return status?.role === undefined ? "(deleted)" : `${status.role} (unreadable)`;
}

function statusOf(status: RootStatus): object {
  const { state, fingerprint, notAfter, proxies, componentStatuses, signing, validating } = status;
  return { state, signing, validating, fingerprint, notAfter, proxies, componentStatuses };
}

function yesNo(value: boolean): string {
  return value ? "yes" : "no";
}
