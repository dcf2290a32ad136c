import type { Command } from "commander";
import { loadSettings, type Setting } from "../config.ts";
import { identityName } from "../core/identity.ts";
import type { CliContext } from "./context.ts";
import { parseAddress } from "./parse-address.ts";
import { addSettings } from "./settings.ts";

type Flags = Record<string, unknown> & { xdsAddress?: string; admin?: string };

const SETTINGS_USED = ["logLevel", "logFormat"] as const satisfies readonly Setting[];

/** `meshroot proxy agent DIR`: keeps the credentials of a proxy's xDS connection fresh, until SIGTERM or SIGINT. */
export function addProxyAgent(parent: Command, context: CliContext): void {
  const command = parent
    .command("agent <dir>")
    .description("keep the xDS certificate and bundle of one Envoy fresh, in the folder that `proxy bootstrap` wrote")
    .option("--xds-address <host:port>", "where the server is (default: what bootstrap.yaml says)")
    .option("--admin <host:port>", "admin address of the Envoy (default: what bootstrap.yaml says)");
  addSettings(command, SETTINGS_USED).action(async (dir: string, flags: Flags) => {
    const { logLevel, logFormat } = loadSettings(SETTINGS_USED, flags, context.env);
    const xdsAddress = parseAddress(flags.xdsAddress, "--xds-address");
    const adminAddress = parseAddress(flags.admin, "--admin");
    // Loaded here and not above: the other commands need none of it, and gRPC takes its time.
    const [{ startAgent }, { createLog }] = await Promise.all([import("../agent/agent.ts"), import("../ops/log.ts")]);
    const log = createLog({ level: logLevel, format: logFormat, destination: context.logDestination });
    const agent = await startAgent({
      dir,
      log,
      ...(xdsAddress === undefined ? {} : { xdsAddress }),
      ...(adminAddress === undefined ? {} : { adminAddress }),
    });
    const { identity, adminAddress: inBootstrap, xdsAddress: server } = agent.folder;
    context.stdout(
      `agent of ${identityName(identity)} (${identity.uuid}): xDS ${xdsAddress ?? server}, Envoy's admin ${adminAddress ?? inBootstrap}\n`,
    );
    const signal = await context.untilSignal();
    log.info({ component: "agent", signal }, "shutting down: Envoy keeps what it has");
    await agent.stop();
  });
}
