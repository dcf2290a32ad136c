/** Forks measured-child.ts, so that what a server costs is not mixed with what its clients cost. */

import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import type { Cost, Orders } from "./measured-child.ts";

export type MeasuredServer = {
  readonly pid: number;
  readonly xdsPort: number;
  readonly httpPort: number;
  measure(): Promise<Cost>;
  push(version: string): Promise<void>;
  stop(): Promise<void>;
};

/** `execArgv`: of Node, such as `--expose-gc`. Throws when the server does not start. */
export async function startMeasured(orders: Orders, execArgv: readonly string[] = []): Promise<MeasuredServer> {
  const child = fork(join(import.meta.dirname, "measured-child.ts"), { execArgv: [...execArgv], stdio: "inherit" });
  process.once("exit", () => child.kill("SIGKILL"));
  const over = once(child, "exit").then(([code]): never => {
    throw new Error(`the measured server has ended (${code})`);
  });
  over.catch(() => undefined);
  const ask = (what: Orders) => Promise.race([answerOf(child, what), over]);
  const ports = (await ask(orders)) as { readonly xdsPort: number; readonly httpPort: number };
  return {
    pid: child.pid ?? 0,
    ...ports,
    measure: async () => (await ask("measure")) as Cost,
    push: async (version) => void (await ask({ push: version })),
    stop: async () => {
      if (child.exitCode !== null || child.signalCode !== null) return;
      const ended = once(child, "exit");
      child.kill("SIGKILL");
      await ended;
    },
  };
}

/** One question at a time. */
function answerOf(child: ChildProcess, orders: Orders): Promise<unknown> {
  const answer = new Promise((resolve) => child.once("message", resolve));
  child.send(orders);
  return answer;
}
