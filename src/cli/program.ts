/** The command tree. One file per command; to add one, write `addXCommand(program, context)` and list it here. */

import { Command, CommanderError } from "commander";
import { MeshrootError } from "../core/errors.ts";
import type { CliContext } from "./context.ts";
import { addDemoCommand } from "./demo.ts";
import { EXIT, EXIT_HELP, exitCodeOf } from "./exit-codes.ts";
import { addProxyCommand } from "./proxy.ts";
import { addRootCommand } from "./root.ts";
import { addServeCommand } from "./serve.ts";
import { addVersionCommand } from "./version.ts";

const COMMANDS: readonly ((program: Command, context: CliContext) => void)[] = [
  addServeCommand,
  addDemoCommand,
  addRootCommand,
  addProxyCommand,
  addVersionCommand,
];

/**
 * Runs one command line (without `node` and script name) and returns its exit code. Errors are printed as
 * `error: MRxxxx message` and `hint: …`; nothing is thrown.
 */
export async function runCli(argv: readonly string[], context: Omit<CliContext, "exit">): Promise<number> {
  let code: number = EXIT.ok;
  const exit = (wanted: number): void => {
    code = wanted;
  };
  try {
    const program = buildProgram({ ...context, exit });
    await program.parseAsync(argv, { from: "user" });
    return code;
  } catch (error) {
    if (error instanceof CommanderError && error.exitCode === 0) return EXIT.ok;
    // `meshroot` or `meshroot root` alone: commander has printed the help already.
    if (error instanceof CommanderError && error.code === "commander.help") return EXIT.usage;
    return reportError(error instanceof CommanderError ? usageError(error) : error, context);
  }
}

function buildProgram(context: CliContext): Command {
  const program = new Command("meshroot")
    .description("Rotates the root certificate of a service mesh with zero downtime, and proves it.")
    .exitOverride()
    .configureOutput({
      writeOut: (text) => context.stdout(text),
      writeErr: (text) => context.stderr(text),
      // Usage errors are printed in our own form, when they arrive in runCli.
      outputError: () => undefined,
    })
    .version(context.version, "-V, --version", "print the version")
    .addHelpText("afterAll", EXIT_HELP);
  for (const add of COMMANDS) add(program, context);
  return program;
}

function usageError(error: CommanderError): MeshrootError {
  const [first = "", second = ""] = error.message.replace(/^error: /, "").split("\n");
  const meant = /^\(Did you mean (?:one of )?(.+)\?\)$/.exec(second)?.[1];
  return new MeshrootError(
    "MR5001",
    first,
    meant === undefined ? "Add --help to see what the command takes." : `Did you mean ${meant}?`,
  );
}

function reportError(error: unknown, context: Pick<CliContext, "stderr" | "env">): number {
  if (error instanceof MeshrootError) {
    context.stderr(`error: ${error.message}\nhint: ${error.hint}\n`);
  } else {
    const text = error instanceof Error ? (context.env.MESHROOT_DEBUG ? error.stack : error.message) : String(error);
    context.stderr(
      `error: unexpected: ${text}\nhint: This is a fault of meshroot. MESHROOT_DEBUG=1 shows where it is.\n`,
    );
  }
  return exitCodeOf(error);
}
