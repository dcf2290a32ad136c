/** A small real mesh on loopback: one Envoy for each service, each with an app behind it and a way to every other. */

import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { type RunningAgent, startAgent } from "../../agent/agent.ts";
import { type EnvoyAdmin, envoyAdmin } from "../../envoy/admin.ts";
import { renderProxyFiles } from "../../envoy/bootstrap.ts";
import { writeCredentials } from "../../envoy/credentials-dir.ts";
import { type EnvoyProcess, startEnvoy } from "../../envoy/process.ts";
import type { XdsVariant } from "../../envoy/secret-sources.ts";
import type { Log } from "../../ports/log.ts";
import type { BootstrapAnswer, BootstrapRequest } from "../../serve/admin-api.ts";
import { freePorts } from "./free-ports.ts";
import { pairsInTurn } from "./pace.ts";
import { type Relay, startRelay } from "./relay.ts";
import { type EchoApp, startEchoApp, type TrafficTarget } from "./traffic.ts";

export type MeshOptions = {
  readonly dir: string;
  readonly envoy: string;
  readonly namespace: string;
  readonly xdsPort: number;
  readonly bootstrap: (request: BootstrapRequest) => Promise<BootstrapAnswer>;
  readonly connectTimeoutMs: number;
  /** Used in turn, so that one mesh speaks several. */
  readonly variants: readonly XdsVariant[];
  /** Changes the rendered files of one service before its Envoy starts: for bootstraps that we would not write. */
  readonly edit?: ((name: string, files: ProxyFiles) => ProxyFiles) | undefined;
  /** Gives each proxy an agent that logs here; without it none has one. */
  readonly agentLog?: Log | undefined;
};

/** Texts by file name, as `renderProxyFiles` makes them. */
export type ProxyFiles = Readonly<Record<string, string>>;

export type MeshProxy = {
  readonly name: string;
  readonly uuid: string;
  readonly variant: XdsVariant;
  readonly admin: EnvoyAdmin;
  readonly envoy: EnvoyProcess;
  /** Its xDS connection goes through here. */
  readonly relay: Relay;
  readonly inboundPort: number;
  /** Not through the relay: agent and Envoy share nothing. */
  readonly agent: RunningAgent | undefined;
};

/** `home`: the folder with its bootstrap and its credentials. */
export type PreparedProxy = Pick<MeshProxy, "uuid" | "variant" | "relay"> & { readonly home: string };

type Plan = { readonly name: string; readonly inboundPort: number; readonly outbound: ReadonlyMap<string, number> };

export class DemoMesh {
  readonly proxies = new Map<string, MeshProxy>();
  readonly #options: MeshOptions;
  readonly #plans = new Map<string, Plan>();
  readonly #prepared = new Map<string, PreparedProxy>();
  readonly #apps = new Map<string, EchoApp>();
  readonly #relays: Relay[] = [];

  /** `names`: all services that will ever be in the mesh; each is started by `start`. */
  static async plan(options: MeshOptions, names: readonly string[]): Promise<DemoMesh> {
    const mesh = new DemoMesh(options);
    const ports = await freePorts(names.length * names.length);
    const next = () => ports.pop() ?? 0;
    for (const name of names) {
      const outbound = new Map(names.filter((peer) => peer !== name).map((peer) => [peer, next()]));
      mesh.#plans.set(name, { name, inboundPort: next(), outbound });
    }
    return mesh;
  }

  private constructor(options: MeshOptions) {
    this.#options = options;
  }

  /** `services.yaml` of this mesh: every service has the identity of its name. */
  static services(namespace: string, names: readonly string[]): string {
    return names.map((name) => `${namespace}/${name}: [${name}.${namespace}]\n`).join("");
  }

  /** Writes bootstrap and credentials for one service, unless that has been done, and starts its Envoy. Throws MR6002. */
  async start(name: string): Promise<MeshProxy> {
    const { home, uuid, variant, relay } = await this.prepared(name);
    const envoy = await this.#startEnvoy(name, home);
    const agent = await this.#startAgent(name, home, envoy.adminAddress);
    const { inboundPort } = this.#plan(name);
    const admin = envoyAdmin(envoy.adminAddress);
    const proxy: MeshProxy = { name, uuid, variant, admin, envoy, relay, inboundPort, agent };
    this.proxies.set(name, proxy);
    return proxy;
  }

  /** Writes bootstrap and credentials for one service, unless that has been done, and starts nothing of it but its app. */
  async prepared(name: string): Promise<PreparedProxy> {
    return this.#prepared.get(name) ?? (await this.#prepare(name));
  }

  async #prepare(name: string): Promise<PreparedProxy> {
    const { dir, namespace, xdsPort, connectTimeoutMs, variants, edit } = this.#options;
    const plan = this.#plan(name);
    const variant = variants[[...this.#plans.keys()].indexOf(name) % variants.length] ?? "sotw";
    const home = join(dir, name);
    const certDir = join(home, "certs");
    const credentials = await this.#options.bootstrap({ serviceAccount: name, namespace, kind: "sidecar" });
    const relay = await startRelay({ port: xdsPort });
    this.#relays.push(relay);
    const app = this.#apps.get(name) ?? (await startEchoApp(name));
    this.#apps.set(name, app);
    await mkdir(home, { recursive: true });
    await writeCredentials(certDir, credentials);
    const files = renderProxyFiles({
      nodeId: credentials.proxy.uuid,
      cluster: name,
      identity: { serviceAccount: name, namespace },
      xds: { host: "127.0.0.1", port: relay.port, serverName: credentials.serverName },
      variant,
      configDir: home,
      certDir,
      inbound: { host: "127.0.0.1", port: plan.inboundPort, app: { host: "127.0.0.1", port: app.port } },
      outbound: [...plan.outbound].map(([peer, listenPort]) => ({
        name: peer,
        listenPort,
        peer: { host: "127.0.0.1", port: this.#plan(peer).inboundPort },
        service: `${namespace}/${peer}`,
      })),
      connectTimeoutMs,
    });
    for (const [file, text] of Object.entries(edit?.(name, files) ?? files)) await writeFile(join(home, file), text);
    const prepared = { home, uuid: credentials.proxy.uuid, variant, relay };
    this.#prepared.set(name, prepared);
    return prepared;
  }

  #startEnvoy(name: string, home: string): Promise<EnvoyProcess> {
    return startEnvoy({
      binary: this.#options.envoy,
      bootstrapPath: join(home, "bootstrap.yaml"),
      name,
      logPath: join(home, "envoy.log"),
    });
  }

  async #startAgent(name: string, dir: string, firstAdmin: string): Promise<RunningAgent | undefined> {
    const { agentLog: log, xdsPort } = this.#options;
    if (log === undefined) return undefined;
    return await startAgent({
      dir,
      log,
      xdsAddress: `127.0.0.1:${xdsPort}`,
      // A restarted Envoy takes another port.
      adminAddress: () => this.proxies.get(name)?.envoy.adminAddress ?? firstAdmin,
    });
  }

  /** Starts the Envoy of a proxy again with the files that it had, as after a crash. */
  async restart(name: string): Promise<MeshProxy> {
    const old = this.proxies.get(name);
    if (old === undefined) throw new Error(`${name} was never started`);
    await old.envoy.kill();
    const envoy = await this.#startEnvoy(name, join(this.#options.dir, name));
    const proxy = { ...old, envoy, admin: envoyAdmin(envoy.adminAddress) };
    this.proxies.set(name, proxy);
    return proxy;
  }

  /** Every started proxy to every other, as `pairsInTurn`. */
  targets(): TrafficTarget[] {
    return pairsInTurn([...this.proxies.keys()]).flatMap(({ from, to }) => {
      const port = this.#plan(from).outbound.get(to);
      return port === undefined ? [] : [{ from, to, url: `http://127.0.0.1:${port}/` }];
    });
  }

  async stop(): Promise<void> {
    await Promise.all([...this.proxies.values()].map(({ agent }) => agent?.stop()));
    await Promise.all([...this.proxies.values()].map(({ envoy }) => envoy.stop()));
    await Promise.all(this.#relays.map((relay) => relay.stop()));
    await Promise.all([...this.#apps.values()].map((app) => app.stop()));
  }

  #plan(name: string): Plan {
    const plan = this.#plans.get(name);
    if (plan === undefined) throw new Error(`${name} is not planned`);
    return plan;
  }
}
