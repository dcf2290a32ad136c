import type { Command } from "commander";
import { envoyAdmin, MAX_DUMP_BYTES } from "../envoy/admin.ts";
import type { CliContext } from "./context.ts";
import { parseAddress } from "./parse-address.ts";

/** `meshroot proxy get QUERY`: the raw answer of an Envoy's admin interface, as OSM's command prints it. */
export function addProxyGet(parent: Command, context: CliContext): void {
  parent
    .command("get <query>")
    .description("ask an Envoy's admin interface (config_dump, certs, stats, ...) and print its answer as it is")
    .option("--admin <host:port>", "admin address of the Envoy", "127.0.0.1:15000")
    .addHelpText(
      "after",
      '\nThe roots that the xDS connection trusts:\n  meshroot proxy get config_dump | jq -r \'.configs[] | select(."@type"=="type.googleapis.com/envoy.admin.v3.SecretsConfigDump") | .dynamic_active_secrets[] | select(.name == "validation_context_sds").secret.validation_context.trusted_ca.inline_bytes\' | base64 -d',
    )
    .action(async (query: string, { admin }: { admin: string }) => {
      const address = parseAddress(admin, "--admin");
      context.stdout(await envoyAdmin(address, undefined, MAX_DUMP_BYTES).get(`/${query.replace(/^\//, "")}`));
    });
}
