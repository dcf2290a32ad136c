/** `meshroot demo`: the whole story on one machine, with real Envoys under traffic. */

import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Config, loadConfig } from "../../config.ts";
import { listsWholeBundle } from "../../envoy/admin.ts";
import { findEnvoy } from "../../envoy/binary.ts";
import { createLog } from "../../ops/log.ts";
import { serve } from "../../serve/serve.ts";
import { requestBootstrap } from "../admin-client.ts";
import { demoScreen } from "./demo-screen.ts";
import { DemoMesh } from "./mesh.ts";
import { type DemoResult, NEW_ROOT, OLD_ROOT, walkRotation } from "./rotation-story.ts";
import { startTraffic, type Traffic } from "./traffic.ts";

export type DemoOptions = {
  readonly json: boolean;
  readonly proxies: number;
  readonly stepSeconds: number;
  readonly unsafeControl: boolean;
  readonly envoyVersion?: string;
  readonly keep: boolean;
};

/** OSM's own demo shop, and more shops if more proxies are wanted. */
const SERVICES = ["bookbuyer", "bookstore", "bookwarehouse", "bookthief", "mysql"];
const NAMESPACE = "bookstore";
/** E11: the demo's connect timeout and its settle time are the same. */
const CONNECT_TIMEOUT_MS = 1_000;
const REQUESTS_PER_SECOND = 15;
const VARIANTS = ["sotw", "delta", "ads"] as const;

/** Returns the exit code: 0 only if no request failed. `signal` ends it early, with everything stopped. */
export async function runDemo(options: DemoOptions, version: string, signal: AbortSignal): Promise<number> {
  const screen = demoScreen(options.json);
  const envoy = await findEnvoy({
    install: true,
    progress: screen.progress,
    ...(options.envoyVersion ? { version: options.envoyVersion } : {}),
  });
  const dir = await mkdtemp(join(tmpdir(), "meshroot-demo-"));
  const names = serviceNames(options.proxies);
  const config = demoConfig(join(dir, "data"));
  await mkdir(config.dataDir, { recursive: true });
  await writeFile(join(config.dataDir, "services.yaml"), DemoMesh.services(NAMESPACE, names));
  const log = createLog({ level: "info", format: "json", destination: { write: () => undefined } });
  const server = await serve(config, log, version);
  const bootstrap = async (request: Parameters<typeof requestBootstrap>[1]) => {
    const answer = await requestBootstrap(config.dataDir, request);
    if (answer === undefined) throw new Error("the demo's own server does not answer");
    return answer;
  };
  const mesh = await DemoMesh.plan(
    {
      dir,
      envoy: envoy.path,
      namespace: NAMESPACE,
      xdsPort: server.xdsPort,
      bootstrap,
      connectTimeoutMs: CONNECT_TIMEOUT_MS,
      variants: VARIANTS,
      agentLog: log,
    },
    names,
  );
  let traffic: Traffic | undefined;
  try {
    screen.opening(envoy.version, names);
    await Promise.all(names.map((name) => mesh.start(name)));
    await allReady(mesh, signal);
    traffic = startTraffic({ targets: mesh.targets(), ratePerTarget: REQUESTS_PER_SECOND, timeoutMs: 5_000 });
    const load = traffic;
    const startedAt = performance.now();
    if (options.unsafeControl) slowLast(mesh);
    const steps = await walkRotation({
      mesh,
      dataDir: server.dataDir,
      status: server.status,
      wholeBundle: listsWholeBundle(envoy.version),
      pauseMs: options.stepSeconds * 1_000,
      signal,
      onWait: (step, status) => screen.waiting(step, status, load.result()),
      onStep: (step) => screen.step(step, { [OLD_ROOT]: "old", [NEW_ROOT]: "new" }, names.length),
      ...(options.unsafeControl ? { force: "demo: what happens without gates" } : {}),
    });
    const rotationMs = Math.round(performance.now() - startedAt);
    const { requests, failures: failed, p99Ms, firstFailures } = await load.stop();
    const result: DemoResult = {
      envoy: envoy.version,
      proxies: names.length,
      requests,
      failed,
      p99Ms,
      rotationMs,
      steps,
    };
    if (!listsWholeBundle(envoy.version))
      screen.progress(`Envoy ${envoy.version} lists only the newest root of a bundle in /certs; 1.40 lists all.`);
    screen.closing(
      result,
      firstFailures.map(({ from, to, text }) => `${from} -> ${to}: ${text}`),
      server.status(),
      options.unsafeControl,
    );
    return failed === 0 ? 0 : 1;
  } finally {
    screen.end();
    await traffic?.stop();
    await mesh.stop();
    await server.stop();
    if (options.keep) screen.progress(`kept: ${dir}`);
    else await rm(dir, { recursive: true, force: true });
  }
}

function demoConfig(dataDir: string): Config {
  const flags = {
    dataDir,
    bind: "127.0.0.1",
    xdsPort: "0",
    httpPort: "0",
    healthPort: "0",
    settle: `${CONNECT_TIMEOUT_MS}ms`,
    drainWindow: "0s",
  };
  return loadConfig(flags, {});
}

function serviceNames(count: number): string[] {
  return Array.from({ length: count }, (_, index) => SERVICES[index] ?? `service-${index + 1}`);
}

/** The control experiment: one proxy hears nothing from the server any more, as behind a broken link. */
function slowLast(mesh: DemoMesh): void {
  [...mesh.proxies.values()].at(-1)?.relay.holdToClient(true);
}

async function allReady(mesh: DemoMesh, signal: AbortSignal): Promise<void> {
  for (const { admin } of mesh.proxies.values()) {
    while (!(await admin.ready())) {
      signal.throwIfAborted();
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }
}
