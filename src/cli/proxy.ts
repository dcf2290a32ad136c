import type { Command } from "commander";
import type { CliContext } from "./context.ts";
import { addProxyAgent } from "./proxy-agent.ts";
import { addProxyBootstrap } from "./proxy-bootstrap.ts";
import { addProxyGet } from "./proxy-get.ts";
import { addProxyAssume, addProxyForget, addProxyRetry } from "./proxy-operator.ts";
import { addProxyRun } from "./proxy-run.ts";
import { addProxyStatus } from "./proxy-status.ts";

/** `meshroot proxy …`. */
export function addProxyCommand(program: Command, context: CliContext): void {
  const proxy = program.command("proxy").description("the mesh's proxies (Envoys)");
  addProxyBootstrap(proxy, context);
  addProxyAgent(proxy, context);
  addProxyRun(proxy, context);
  addProxyStatus(proxy, context);
  addProxyGet(proxy, context);
  for (const add of [addProxyForget, addProxyAssume, addProxyRetry]) add(proxy, context);
}
