import { type Command, Option } from "commander";
import { stringify } from "yaml";
import type { CliContext } from "./context.ts";

/** `meshroot version [-o json|yaml]`. */
export function addVersionCommand(program: Command, context: CliContext): void {
  program
    .command("version")
    .description("print the versions of meshroot and Node")
    .addOption(new Option("-o, --output <format>", "how to print").choices(["text", "json", "yaml"]).default("text"))
    .action(({ output }: { output: "text" | "json" | "yaml" }) => {
      const versions = { version: context.version, node: process.versions.node, platform: process.platform };
      if (output === "json") context.stdout(`${JSON.stringify(versions, undefined, 2)}\n`);
      else if (output === "yaml") context.stdout(stringify(versions));
      else context.stdout(`meshroot ${versions.version} (Node ${versions.node}, ${versions.platform})\n`);
    });
}
