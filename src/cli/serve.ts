import type { Command } from "commander";
import pc from "picocolors";
import { type Config, flagName, loadConfig, SETTINGS, type Setting } from "../config.ts";
import type { MeshStatus } from "../controller/status.ts";
import { formatHostPort } from "../core/address.ts";
import type { CliContext } from "./context.ts";
import { addSettings } from "./settings.ts";

/** `meshroot serve`: the standalone server, until SIGTERM or SIGINT. */
export function addServeCommand(program: Command, context: CliContext): void {
  const command = program.command("serve").description("serve SDS to proxies and rotate roots, from a data directory");
  addSettings(command, Object.keys(SETTINGS) as Setting[]).action(async (flags: Record<string, unknown>) => {
    const config = loadConfig(flags, context.env);
    // Loaded here and not above: the other commands need none of it, and gRPC takes its time.
    const [{ serve }, { createLog }] = await Promise.all([import("../serve/serve.ts"), import("../ops/log.ts")]);
    const log = createLog({ level: config.logLevel, format: config.logFormat, destination: context.logDestination });
    const server = await serve(config, log, { version: context.version });
    context.stdout(banner(config, server, server.status(), context.version));
    const signal = await context.untilSignal();
    log.info({ component: "serve", signal }, "shutting down: proxies keep what they have");
    await server.stop();
  });
}

type Ports = {
  readonly xdsPort: number;
  readonly httpPort: number;
  readonly healthPort: number;
  readonly dataDir: string;
};

function banner(config: Config, ports: Ports, status: MeshStatus, version: string): string {
  const signer = status.roots.find((root) => root.signing);
  const at = (port: number) => formatHostPort(config.bind, port);
  const settings = config.dataDir === SETTINGS.dataDir.standard ? "" : ` ${flagName("dataDir")} ${config.dataDir}`;
  const next =
    status.proxies.length === 0
      ? `meshroot proxy bootstrap SERVICE-ACCOUNT.NAMESPACE${settings}`
      : `meshroot proxy status${settings}`;
  return `${[
    `${pc.bold(`meshroot ${version}`)}  the signer is ${status.signer}`,
    `  xDS     ${at(ports.xdsPort)}  (mTLS: SDS and ADS, state of the world and delta)`,
    `  HTTP    http://${at(ports.httpPort)}  (/health/ready, /health/alive, /metrics, /version)`,
    `  health  ${at(ports.healthPort)}  (grpc.health.v1, plaintext)`,
    `  data    ${ports.dataDir}`,
    `  root    sha256 ${signer?.fingerprint ?? "?"}, expires ${signer?.notAfter.slice(0, 10) ?? "?"}`,
    `  next    npx ${next}`,
  ].join("\n")}\n`;
}
