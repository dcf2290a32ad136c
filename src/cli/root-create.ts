import { type Command, Option } from "commander";
import { loadSettings } from "../config.ts";
import { MeshrootError, type Problem, raise } from "../core/errors.ts";
import { isInUse, type MeshRoot, ROLES, type Role } from "../core/roots/mesh-root.ts";
import { meshRootManifest } from "../core/roots/mesh-root-manifest.ts";
import { parseMeshRoot } from "../core/roots/mesh-root-parse.ts";
import { checkCreate } from "../core/roots/mesh-root-rules.ts";
import type { CliContext } from "./context.ts";
import { editRoots, incumbent, type OpenedMesh, openMesh, type StoreFlags, withStore } from "./root-common.ts";

type CreateFlags = StoreFlags & {
  readonly file?: string;
  readonly role?: Role;
  readonly trustDomain?: string;
  readonly spiffe?: boolean;
  readonly secretName?: string;
  readonly acceptShortLife?: string;
};
type NewRoot = { readonly root: MeshRoot; readonly text?: string };

/** `meshroot root create NAME …` or `meshroot root create -f FILE`. */
export function addRootCreate(parent: Command, context: CliContext): void {
  withStore(parent.command("create [name]").description("create a root, or the roots of a manifest file"))
    .option("-f, --file <file>", "manifest file, - for standard input")
    .addOption(
      new Option("--role <role>", "active, passive or inactive (default passive, active for the first)").choices(ROLES),
    )
    .option("--trust-domain <name>", "trust domain (default that of the active root)")
    .option("--spiffe", "write SPIFFE URIs into certificates (default as the active root does)")
    .option("--no-spiffe", "write none")
    .addOption(
      new Option("--provider <kind>", "for vault and certManager use -f").choices(["tresor"]).default("tresor"),
    )
    .option("--secret-name <name>", "secret that keeps the new certificate authority (default NAME-ca)")
    .option("--accept-short-life <reason>", "take a CA that ends before this mesh could rotate away from it")
    .action(async (name: string | undefined, flags: CreateFlags) => {
      const opened = openMesh(context, flags);
      if ((name === undefined) === (flags.file === undefined)) throw usage("give either a name or -f FILE");
      const text = flags.file === undefined ? undefined : await context.readInput(flags.file);
      await editRoots(context, opened, async (roots, listing) => {
        const created =
          text === undefined
            ? [fromFlags(context, opened, listing.roots, name ?? "", flags)]
            : createdNow(fromText(opened, text), listing.roots, context.now());
        // All are checked before any is written: a file is taken as a whole or not at all.
        const after = [...listing.roots];
        // A list is in the order of names: an active root first, so that a passive one never stands alone for want of it.
        for (const { root } of created.toSorted((a, b) => ROLES.indexOf(a.root.role) - ROLES.indexOf(b.root.role))) {
          raise(checkCreate(after, root, opened.namespace));
          if (isInUse(root)) await opened.mesh.examine(root);
          after.push(root);
        }
        for (const each of created) await roots.create(each.root, each.text);
        for (const { root } of created) context.stderr(`root ${root.name} created, ${root.role}\n`);
        return after;
      });
    });
}

/** A new root is like the one it follows unless flags say otherwise: a rotation must not change identities by accident. */
function fromFlags(
  context: CliContext,
  { namespace }: OpenedMesh,
  existing: readonly MeshRoot[],
  name: string,
  flags: CreateFlags,
): NewRoot {
  const old = incumbent(existing, namespace);
  const domain = flags.trustDomain ?? old?.trustDomain;
  const root: MeshRoot = {
    name,
    namespace,
    role: flags.role ?? (old === undefined ? "active" : "passive"),
    trustDomain: domain ?? loadSettings(["trustDomain"], {}, context.env).trustDomain,
    spiffeEnabled: flags.spiffe ?? old?.spiffeEnabled ?? false,
    provider: { kind: "tresor", secretRef: { name: flags.secretName ?? `${name}-ca`, namespace } },
    createdAt: Math.max(context.now(), ...existing.map((each) => each.createdAt + 1)),
    ...(flags.acceptShortLife === undefined ? {} : { acceptShortLife: flags.acceptShortLife }),
  };
  const parsed = parseMeshRoot(meshRootManifest(root), { createdAt: root.createdAt, defaultNamespace: namespace });
  if ("problems" in parsed) throw combined(parsed.problems);
  return { root };
}

function fromText({ mesh }: OpenedMesh, text: string): NewRoot[] {
  const documents = mesh.roots.parse(text);
  const problems = documents.flatMap((document) => document.problems);
  if (problems.length > 0) throw combined(problems);
  return documents.flatMap(({ root, text: own }) => (root === undefined ? [] : [{ root, text: own }]));
}

/**
 * A root counts from its creation here, as one created in Kubernetes does: with the date of an exported manifest it would be
 * taken for the old root of the rotation. Among themselves the new ones keep their order.
 */
function createdNow(created: readonly NewRoot[], existing: readonly MeshRoot[], now: number): NewRoot[] {
  const youngest = Math.max(now, ...existing.map((root) => root.createdAt + 1));
  const byAge = created.map(({ root }) => root).sort((a, b) => a.createdAt - b.createdAt);
  return created.map((each) => ({ ...each, root: { ...each.root, createdAt: youngest + byAge.indexOf(each.root) } }));
}

/** All problems of a manifest in one error, under the code of the first. */
function combined(problems: readonly Problem[]): MeshrootError {
  const [first, ...rest] = problems;
  const more = rest.map(({ code, message }) => `\n       ${code} ${message}`).join("");
  return new MeshrootError(first?.code ?? "MR1003", `${first?.message}${more}`, first?.hint ?? "");
}

function usage(message: string): MeshrootError {
  return new MeshrootError("MR5001", message, "`meshroot root create --help` shows both forms.");
}
