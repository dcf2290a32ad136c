/** `meshroot demo`: the whole story on one machine, with real Envoys under traffic. */

import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { openMesh } from "../../access/open-mesh.ts";
import { type Config, loadConfig } from "../../config.ts";
import { MeshrootError } from "../../core/errors.ts";
import { listsWholeBundle } from "../../envoy/admin.ts";
import { findEnvoy } from "../../envoy/binary.ts";
import { createLog } from "../../ops/log.ts";
import { type RunningServer, serve } from "../../serve/serve.ts";
import { demoScreen } from "./demo-screen.ts";
import type { Load } from "./load.ts";
import { DemoMesh } from "./mesh.ts";
import { CONNECT_TIMEOUT_MS, rehearse, startRotationLoad } from "./rehearsal.ts";
import { type DemoResult, NEW_ROOT, OLD_ROOT, walkRotation } from "./rotation-story.ts";

export type DemoOptions = {
  readonly json: boolean;
  readonly proxies: number;
  /** Requests per second that are wanted, all proxies together. */
  readonly rate: number;
  readonly stepSeconds: number;
  readonly unsafeControl: boolean;
  readonly envoyVersion?: string;
  readonly keep: boolean;
};

/** OSM's own demo shop, and more shops if more proxies are wanted. */
const SERVICES = ["bookbuyer", "bookstore", "bookwarehouse", "bookthief", "mysql"];
const NAMESPACE = "bookstore";
const READY_LIMIT_MS = 60_000;
const READY_POLL_MS = 100;
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
  const server = await serve(config, log, { version });
  const access = openMesh(config, {});
  const mesh = await DemoMesh.plan(
    {
      dir,
      envoy: envoy.path,
      namespace: NAMESPACE,
      xdsPort: server.xdsPort,
      bootstrap: (request) => access.bootstrap(request, config),
      connectTimeoutMs: CONNECT_TIMEOUT_MS,
      variants: VARIANTS,
      agentLog: log,
    },
    names,
  );
  try {
    screen.opening(envoy.version, names);
    // All at once: measured with 12 and 20 Envoys on two cores, fewer at a time take longer.
    await Promise.all(names.map((name) => mesh.start(name)));
    await allReady(mesh, signal);
    const { carried, control } = await rehearse(mesh, options.rate, signal, screen.warmingUp);
    screen.heading(options.rate, carried, control);
    const result = await rotate({ mesh, server, envoyVersion: envoy.version, options, control, screen, signal });
    screen.closing(result, server.status(), options.unsafeControl);
    return result.failed === 0 ? 0 : 1;
  } finally {
    screen.end();
    await mesh.stop();
    await server.stop();
    if (options.keep) screen.progress(`kept: ${dir}`);
    else await rm(dir, { recursive: true, force: true });
  }
}

type Stage = {
  readonly mesh: DemoMesh;
  readonly server: RunningServer;
  readonly envoyVersion: string;
  readonly options: DemoOptions;
  readonly control: Load;
  readonly screen: ReturnType<typeof demoScreen>;
  readonly signal: AbortSignal;
};

/** The rotation, under the load of the control. A step that does not spread ends it, but what became of the load is told first. */
async function rotate({ mesh, server, envoyVersion, options, control, screen, signal }: Stage): Promise<DemoResult> {
  const load = await startRotationLoad(mesh, control.requestsPerSecond);
  const startedAt = performance.now();
  const end = async () => {
    const rotationMs = Math.round(performance.now() - startedAt);
    const verdict = await load.stop();
    if (!signal.aborted) screen.requests(verdict, control, rotationMs);
    return { verdict, rotationMs };
  };
  if (options.unsafeControl) slowLast(mesh);
  const steps = await walkRotation({
    mesh,
    dataDir: server.dataDir,
    status: server.status,
    wholeBundle: listsWholeBundle(envoyVersion),
    pauseMs: options.stepSeconds * 1_000,
    signal,
    onWait: (step, status) => screen.waiting(step, status, load.result()),
    onStep: (step) => screen.step(step, { [OLD_ROOT]: "old", [NEW_ROOT]: "new" }, mesh.proxies.size),
    ...(options.unsafeControl ? { force: "demo: what happens without gates" } : {}),
  }).catch(async (error: unknown) => {
    await end();
    throw error;
  });
  if (!listsWholeBundle(envoyVersion))
    screen.progress(`Envoy ${envoyVersion} lists only the newest root of a bundle in /certs; 1.40 lists all.`);
  const { verdict, rotationMs } = await end();
  const { failures: failed, ...rest } = verdict.load;
  return {
    envoy: envoyVersion,
    proxies: mesh.proxies.size,
    ...rest,
    failed,
    leastPerPair: verdict.leastPerPair,
    ...(verdict.refusals === undefined ? {} : { refusals: verdict.refusals }),
    cause: verdict.cause,
    control,
    rotationMs,
    steps,
  };
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

/**
 * Ready alone is not enough: on a slow machine Envoy comes up without the bundle of a peer (its initial_fetch_timeout), and gets
 * it up to half a minute later. Until then it resets every connection to that peer. Throws MR5006.
 */
async function allReady({ proxies }: DemoMesh, signal: AbortSignal): Promise<void> {
  // One for each peer, one for its own listener, one for its connection to the server.
  const contexts = proxies.size + 1;
  const limit = performance.now() + READY_LIMIT_MS;
  for (const { name, admin } of proxies.values()) {
    const isReady = async () => {
      const loaded = (await admin.certs()).filter(({ trusted, chain }) => trusted.length > 0 && chain.length > 0);
      return loaded.length >= contexts && (await admin.ready());
    };
    while (!(await isReady())) {
      if (performance.now() > limit)
        throw new MeshrootError(
          "MR5006",
          `${name}, one of ${proxies.size} Envoys, did not have all its secrets within ${READY_LIMIT_MS / 1000} s`,
          "Take fewer --proxies on a busy machine. On an idle one see the Envoys' logs: run it with --keep.",
        );
      await sleep(READY_POLL_MS, undefined, { signal });
    }
  }
}
