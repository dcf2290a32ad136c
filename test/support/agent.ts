/** Agents for tests: a proxy's folder as `meshroot proxy bootstrap` writes it, and an agent whose log is at hand. */

import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { TestContext } from "node:test";
import { type AgentOptions, type RunningAgent, startAgent } from "../../src/agent/agent.ts";
import { renderProxyFiles } from "../../src/envoy/bootstrap.ts";
import { writeCredentials } from "../../src/envoy/credentials-dir.ts";
import { createLog } from "../../src/ops/log.ts";
import type { BootstrapAnswer } from "../../src/serve/admin-api.ts";
import { temporaryDirectory } from "./data-dir.ts";
import { type LogLine, until } from "./server.ts";

export type AgentFolderOptions = {
  readonly credentials: BootstrapAnswer;
  /** `host:port` of the Envoy's admin; without it Envoy takes any. */
  readonly admin?: string;
  readonly xdsPort?: number;
};

/** Returns the folder, removed with the test. The Envoy of its bootstrap has an inbound listener on a free port. */
export async function agentFolder(t: TestContext, options: AgentFolderOptions): Promise<string> {
  const { credentials, xdsPort = options.credentials.xdsPort } = options;
  const { proxy, serverName } = credentials;
  const dir = join(await temporaryDirectory(t), proxy.serviceAccount);
  const certDir = join(dir, "certs");
  await mkdir(dir, { recursive: true });
  await writeCredentials(certDir, credentials);
  const [host = "", port = ""] = options.admin?.split(":") ?? [];
  const files = renderProxyFiles({
    nodeId: proxy.uuid,
    cluster: proxy.serviceAccount,
    identity: proxy,
    xds: { host: "127.0.0.1", port: xdsPort, serverName },
    variant: "delta",
    configDir: dir,
    certDir,
    inbound: { host: "127.0.0.1", port: 0, app: { host: "127.0.0.1", port: 1 } },
    ...(options.admin === undefined ? {} : { admin: { host, port: Number(port) } }),
  });
  for (const [name, text] of Object.entries(files)) await writeFile(join(dir, name), text);
  return dir;
}

export type TestAgent = RunningAgent & {
  readonly log: readonly LogLine[];
  /** The first log line whose message matches; waits for it. */
  logged(message: RegExp): Promise<LogLine>;
};

/** Quick to try again; stopped with the test. */
export async function runAgent(t: TestContext, options: Omit<AgentOptions, "log">): Promise<TestAgent> {
  const log: LogLine[] = [];
  const write = (text: string) => void log.push(JSON.parse(text) as LogLine);
  const agent = await startAgent({
    retry: { baseMs: 20, mostMs: 100 },
    ...options,
    log: createLog({ level: "debug", format: "json", destination: { write } }),
  });
  t.after(() => agent.stop());
  const logged = async (message: RegExp): Promise<LogLine> => {
    const find = () => log.find((line) => message.test(line.message));
    await until(`a log line ${message}`, () => find() !== undefined);
    return find() as LogLine;
  };
  return { ...agent, log, logged };
}
