/** Which roots a real Envoy verifies leaves under, at both ends: the judge over our own proof of a root. */

import { mkdir, writeFile } from "node:fs/promises";
import { get } from "node:http";
import { join } from "node:path";
import type { TestContext } from "node:test";
import { stringify } from "yaml";
import { startEchoApp } from "../../src/cli/demo/traffic.ts";
import { MeshrootError } from "../../src/core/errors.ts";
import { envoyAdmin } from "../../src/envoy/admin.ts";
import type { EnvoyBinary } from "../../src/envoy/binary.ts";
import { startEnvoy } from "../../src/envoy/process.ts";
import { type Json, tlsSocket } from "../../src/envoy/secret-sources.ts";
import { temporaryDirectory } from "./data-dir.ts";
import { eventually } from "./envoy.ts";

/** A leaf with its key, and the bundle that both ends verify it under. */
export type JudgeCase = {
  readonly name: string;
  readonly certPem: string;
  readonly keyPem: string;
  readonly caPem: string;
};

/**
 * The names of the cases that carry: a request came through a connection whose ends verified each other. One Envoy judges all
 * of them; where it can't load one, halves of them are tried.
 */
export async function judge(t: TestContext, envoy: EnvoyBinary, cases: readonly JudgeCase[]): Promise<string[]> {
  try {
    return await judgeTogether(t, envoy, cases);
  } catch (error) {
    if (!(error instanceof MeshrootError) || error.code !== "MR6002") throw error;
    if (cases.length === 1) return [];
    const half = cases.length >> 1;
    return [...(await judge(t, envoy, cases.slice(0, half))), ...(await judge(t, envoy, cases.slice(half)))];
  }
}

async function judgeTogether(t: TestContext, envoy: EnvoyBinary, cases: readonly JudgeCase[]): Promise<string[]> {
  const dir = await temporaryDirectory(t);
  const app = await startEchoApp("app");
  t.after(() => app.stop());
  const listeners: Json[] = [];
  const clusters: Json[] = [cluster("app", socket("127.0.0.1", app.port))];
  for (const [index, { name, certPem, keyPem, caPem }] of cases.entries()) {
    await mkdir(join(dir, String(index)));
    const file = async (what: string, text: string) => {
      const filename = join(dir, String(index), what);
      await writeFile(filename, text);
      return { filename };
    };
    const [certificate_chain, private_key] = [await file("tls.crt", certPem), await file("tls.key", keyPem)];
    const common = {
      tls_certificates: [{ certificate_chain, private_key }],
      validation_context: { trusted_ca: await file("ca.crt", caPem) },
    };
    const inside = { pipe: { path: join(dir, `${index}.sock`) } };
    const served = tlsSocket("DownstreamTlsContext", { require_client_certificate: true, common_tls_context: common });
    listeners.push(listener(`in ${name}`, inside, "app", { transport_socket: served }));
    listeners.push(listener(`out ${name}`, socket("127.0.0.1", 0), `to ${name}`));
    const calling = tlsSocket("UpstreamTlsContext", { max_session_keys: 0, common_tls_context: common });
    clusters.push({ ...cluster(`to ${name}`, inside), transport_socket: calling });
  }
  const bootstrapPath = join(dir, "bootstrap.yaml");
  const admin = { address: socket("127.0.0.1", 0) };
  const bootstrap = { node: { id: "judge", cluster: "judge" }, admin, static_resources: { clusters, listeners } };
  await writeFile(bootstrapPath, stringify(bootstrap, { aliasDuplicateObjects: false }));
  const judging = await startEnvoy({ binary: envoy.path, bootstrapPath, name: "judge" });
  try {
    const its = envoyAdmin(judging.adminAddress);
    await Promise.race([eventually("the judge is ready", () => its.ready().catch(() => false)), ended(judging.exited)]);
    const ports = await its.listeners();
    const verdicts = cases.map(async ({ name }) => ((await answers(ports.get(`out ${name}`) ?? "")) ? [name] : []));
    return (await Promise.all(verdicts)).flat();
  } finally {
    await judging.stop();
  }
}

/** An Envoy opens its admin port before it reads clusters and listeners. */
async function ended(exited: Promise<unknown>): Promise<never> {
  await exited;
  throw new MeshrootError("MR6002", "it could not load the configuration", "See its log.");
}

function answers(address: string): Promise<boolean> {
  return new Promise((resolve) => {
    const request = get(`http://${address}/`, { agent: false }, (response) => {
      response.resume();
      response.on("end", () => resolve(response.statusCode === 200));
    });
    request.on("error", () => resolve(false));
  });
}

function socket(address: string, port: number): Json {
  return { socket_address: { address, port_value: port } };
}

function cluster(name: string, address: Json): Record<string, Json> {
  const endpoints = [{ lb_endpoints: [{ endpoint: { address } }] }];
  return { name, type: "STATIC", connect_timeout: "5s", load_assignment: { cluster_name: name, endpoints } };
}

function listener(name: string, address: Json, to: string, more: Record<string, Json> = {}): Json {
  const type = "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy";
  const typed = { "@type": type, stat_prefix: "judge", cluster: to };
  const filters = [{ name: "envoy.filters.network.tcp_proxy", typed_config: typed }];
  return { name, address, filter_chains: [{ filters, ...more }] };
}
