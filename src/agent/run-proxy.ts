/** `meshroot proxy run`: the agent and a supervised Envoy, of which either can die without taking the other with it. */

import type { Log } from "../ports/log.ts";
import { type RunningAgent, startAgent } from "./agent.ts";
import { type EnvoySupervisor, envoySupervisor } from "./envoy-supervisor.ts";
import { readProxyFolder } from "./proxy-folder.ts";

export type RunProxyOptions = {
  /** What `meshroot proxy bootstrap` wrote. */
  readonly dir: string;
  /** Path of the Envoy executable. */
  readonly binary: string;
  readonly envoyArgs: readonly string[];
  readonly log: Log;
  /** `host:port`; default: what the bootstrap says. */
  readonly xdsAddress?: string;
};

export type RunningProxy = {
  readonly agent: RunningAgent;
  readonly envoy: EnvoySupervisor;
  /** Ends both. */
  stop(): Promise<void>;
};

/** Throws what `startAgent` and `EnvoySupervisor.start` throw, and leaves nothing running that it started. */
export async function runProxy({ dir, binary, envoyArgs, log, xdsAddress }: RunProxyOptions): Promise<RunningProxy> {
  const folder = await readProxyFolder(dir);
  const envoy = envoySupervisor({ folder, binary, args: envoyArgs, log });
  // The agent first: its lock keeps a second `run` from starting a second Envoy.
  const agent = await startAgent({
    dir,
    log,
    adminAddress: envoy.adminAddress,
    envoyState: envoy.state,
    ...(xdsAddress === undefined ? {} : { xdsAddress }),
  });
  try {
    await envoy.start();
  } catch (error) {
    await agent.stop();
    throw error;
  }
  return {
    agent,
    envoy,
    stop: async () => {
      await envoy.stop();
      await agent.stop();
    },
  };
}
