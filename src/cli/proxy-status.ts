import type { Command } from "commander";
import type { MeshStatus, ProxyStatus } from "../controller/status.ts";
import { MeshrootError } from "../core/errors.ts";
import type { CliContext } from "./context.ts";
import { age, type OutputFormat, outputOption, printItem, printList, type View } from "./output.ts";
import { printHolds, remarkOnSource } from "./print-holds.ts";
import { openMesh, type StoreFlags, withStore } from "./root-common.ts";

/** `holds`: what waits for this proxy. */
type Row = { readonly proxy: ProxyStatus; readonly now: number; readonly holds: readonly object[] };

const VIEW: View<Row> = {
  columns: [
    { title: "NAME", value: ({ proxy }) => proxy.proxy },
    { title: "IDENTITY", value: ({ proxy }) => proxy.identity },
    { title: "SYNC", value: ({ proxy }) => `${proxy.sync}${presence(proxy)}` },
    { title: "SIGNED-BY", value: ({ proxy }) => proxy.signedBy.join(",") || "-" },
    { title: "TRUSTS", value: ({ proxy }) => proxy.trusts.join(",") || "-" },
    { title: "LAST-CONTACT", value: ({ proxy, now }) => `${age(now - Date.parse(proxy.lastContact))} ago` },
    { title: "LEAF-EXPIRES", value: ({ proxy }) => proxy.leafExpires?.slice(0, 16).replace("T", " ") ?? "-" },
    { title: "NODE", wide: true, value: ({ proxy }) => proxy.node ?? "-" },
    { title: "XDS-CREDENTIAL", wide: true, value: ({ proxy }) => proxy.xdsCredentialRoot ?? "-" },
    {
      title: "COUNTS",
      wide: true,
      value: ({ proxy }) => (proxy.counts ? (proxy.countsUntil?.slice(0, 16) ?? "yes") : "no"),
    },
    { title: "OPERATOR", wide: true, value: ({ proxy }) => wordsOf(proxy).join("; ") || "-" },
    {
      title: "VERSIONS",
      wide: true,
      value: ({ proxy }) =>
        Object.entries(proxy.versions)
          .map(([name, version]) => `${name}=${version.slice(0, 20)}`)
          .join(" "),
    },
  ],
  object: ({ proxy, holds }) => ({ kind: "Proxy", metadata: { name: proxy.proxy }, status: { ...proxy, holds } }),
  name: ({ proxy }) => `proxy/${proxy.proxy}`,
};

/** `meshroot proxy status [NAME]`. */
export function addProxyStatus(parent: Command, context: CliContext): void {
  withStore(
    parent.command("status [name]").alias("ps").description("what every proxy runs, and what a rotation waits for"),
  )
    .addOption(outputOption())
    .action(async (name: string | undefined, flags: StoreFlags & { output: OutputFormat }) => {
      const { mesh, dataDir } = openMesh(context, flags);
      const status = await mesh.status();
      const now = context.now();
      const rows = (status?.proxies ?? []).map((proxy) => ({ proxy, now, holds: holdsOn(proxy, status) }));
      const found = rows.filter(
        ({ proxy }) => name === undefined || proxy.proxy.startsWith(name) || proxy.identity === name,
      );
      if (name !== undefined && found.length === 0) {
        throw new MeshrootError(
          "MR5005",
          `no proxy ${name}`,
          "Give its name (or the beginning of it) or its identity, as `meshroot proxy status` lists them.",
        );
      }
      const [only] = found;
      if (name !== undefined && found.length === 1 && only !== undefined)
        context.stdout(printItem(only, VIEW, flags.output));
      else if (rows.length > 0 || flags.output === "json" || flags.output === "yaml")
        context.stdout(printList(found, VIEW, flags.output));
      if (rows.length === 0 && status?.live === true)
        context.stderr("No proxy has connected yet: `meshroot proxy bootstrap` makes the files for one.\n");
      for (const { proxy } of found)
        if (proxy.error !== undefined)
          context.stderr(`refused by ${proxy.identity} (${proxy.proxy}): ${proxy.error}\n`);
      for (const { proxy } of found)
        for (const word of wordsOf(proxy)) context.stderr(`operator on ${proxy.identity} (${proxy.proxy}): ${word}\n`);
      for (const { proxy } of found)
        if (proxy.unknownNames.length > 0)
          context.stderr(
            `warning: ${proxy.identity} (${proxy.proxy}) asks for what it can't be given: ${proxy.unknownNames.join(", ")}\nhint: A service has to be in services.yaml; no gate waits for these names.\n`,
          );
      printHolds(context, status);
      remarkOnSource(context, status, dataDir);
    });
}

function presence({ connected, forgotten }: ProxyStatus): string {
  if (connected) return "";
  return forgotten === undefined ? " (absent)" : " (forgotten)";
}

/** What operators have said about this proxy. */
function wordsOf({ assumed, forgotten }: ProxyStatus): string[] {
  return [
    ...(assumed === undefined
      ? []
      : [
          `assumed (${assumed.for.join(", ")}) of ${assumed.roots.join(", ")}: ${assumed.reason} (since ${assumed.at}, until this rotation is over)`,
        ]),
    ...(forgotten === undefined ? [] : [`forgotten until it returns: ${forgotten.reason} (since ${forgotten.at})`]),
  ];
}

function holdsOn({ proxy }: ProxyStatus, status: MeshStatus | undefined): object[] {
  return (status?.holds ?? []).flatMap(({ gate, wants, reason, waitingFor }) =>
    waitingFor.filter((one) => one.proxy === proxy).map(({ detail }) => ({ gate, wants, reason, detail })),
  );
}
