import type { Command } from "commander";
import { loadSettings, type Setting } from "../config.ts";
import { MeshrootError } from "../core/errors.ts";
import { identityName } from "../core/identity.ts";
import type { CliContext } from "./context.ts";
import { parseAddress } from "./parse-address.ts";
import { addSettings } from "./settings.ts";

type Flags = Record<string, unknown> & { xdsAddress?: string; envoy?: string; envoyVersion?: string };

const SETTINGS_USED = ["logLevel", "logFormat"] as const satisfies readonly Setting[];

/** `meshroot proxy run DIR`: agent and Envoy in one command, until SIGTERM or SIGINT, which end both. */
export function addProxyRun(parent: Command, context: CliContext): void {
  const command = parent
    .command("run <dir> [envoy-args...]")
    .description(
      "run one Envoy with its agent; `-- ARGS` go to Envoy. Killed, it leaves Envoy running, and adopts it again",
    )
    .option("--envoy <path>", "the Envoy to run (default: ENVOY_BIN, the cache, or PATH)")
    .option("--envoy-version <version>", "only exactly this version will do")
    .option("--xds-address <host:port>", "where the agent finds the server (default: what bootstrap.yaml says)");
  addSettings(command, SETTINGS_USED).action(async (dir: string, envoyArgs: string[], flags: Flags) => {
    const { logLevel, logFormat } = loadSettings(SETTINGS_USED, flags, context.env);
    const xdsAddress = parseAddress(flags.xdsAddress, "--xds-address");
    if (flags.envoy !== undefined && flags.envoyVersion !== undefined)
      throw new MeshrootError("MR5002", "--envoy and --envoy-version exclude each other", "Give one of them.");
    const [{ runProxy }, { createLog }, { findEnvoy }] = await Promise.all([
      import("../agent/run-proxy.ts"),
      import("../ops/log.ts"),
      import("../envoy/binary.ts"),
    ]);
    const { envoyVersion: version } = flags;
    const binary =
      flags.envoy ?? (await findEnvoy({ env: context.env, ...(version === undefined ? {} : { version }) })).path;
    const log = createLog({ level: logLevel, format: logFormat, destination: context.logDestination });
    // Before Envoy is started: a signal that comes meanwhile still ends it.
    const ending = context.untilSignal();
    const proxy = await runProxy({
      dir,
      binary,
      envoyArgs,
      log,
      ...(xdsAddress === undefined ? {} : { xdsAddress }),
    });
    const { identity, dir: folder } = proxy.agent.folder;
    context.stdout(
      `${identityName(identity)} (${identity.uuid}): Envoy's admin http://${proxy.envoy.adminAddress()}, its log ${folder}/envoy.log\n`,
    );
    const signal = await ending;
    log.info({ component: "agent", signal }, "shutting down: Envoy and agent end");
    await proxy.stop();
  });
}
