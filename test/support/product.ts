/** Starts a built product as its users do, and talks to it from outside. */

import { spawn } from "node:child_process";
import { once } from "node:events";
import type { TestContext } from "node:test";
import { grpcCaller } from "./grpc-call.ts";

/** An environment without what npm and this test run put there, with the Node that runs the test first on PATH. */
export function plainEnvironment(nodeDirectory: string): NodeJS.ProcessEnv {
  const kept = Object.entries(process.env).filter(
    ([name]) => !/^(npm_(?!config_(registry|cache)$)|MESHROOT_|NODE_)/i.test(name),
  );
  return { ...Object.fromEntries(kept), PATH: `${nodeDirectory}:${process.env.PATH}` };
}

type Listed = { readonly list_services_response?: { readonly service: readonly { readonly name: string }[] } };

export type Product = {
  /** Of the HTTP port, read from the banner. */
  readonly url: string;
  /** What gRPC reflection on the health port lists: it needs the .proto files, its own and ours. */
  services(): Promise<string[]>;
  /** SIGTERM; the exit code. */
  stop(): Promise<number | null>;
};

/** Runs `node ...args` until the banner names the addresses. Killed when the test ends. */
export async function startProduct(
  t: TestContext,
  args: readonly string[],
  options: { readonly cwd: string; readonly env: NodeJS.ProcessEnv },
): Promise<Product> {
  const child = spawn(process.execPath, args, { ...options, stdio: ["ignore", "pipe", "pipe"] });
  t.after(() => child.kill("SIGKILL"));
  const exited = once(child, "exit") as Promise<[number | null]>;
  let output = "";
  const [url, health] = await new Promise<[string, string]>((resolve, reject) => {
    const read = (chunk: Buffer) => {
      output += chunk.toString();
      const [, http, grpc] = /(http:\/\/\S+:\d+).*\n +health +(\S+:\d+)/.exec(output) ?? [];
      if (http !== undefined && grpc !== undefined) resolve([http, grpc]);
    };
    child.stdout.on("data", read);
    child.stderr.on("data", read);
    child.on("error", reject);
    exited.then(([code]) => reject(new Error(`exit ${code} before the banner:\n${output}`)), reject);
  });
  return {
    url,
    services: async () => {
      const service = "grpc.reflection.v1.ServerReflection";
      const asked = await grpcCaller(t, health).exchange<Listed>(service, "ServerReflectionInfo", [
        { list_services: "" },
      ]);
      return (asked.answers[0]?.list_services_response?.service ?? []).map(({ name }) => name);
    },
    stop: async () => {
      child.kill("SIGTERM");
      return (await exited)[0];
    },
  };
}
