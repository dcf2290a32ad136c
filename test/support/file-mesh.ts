/** Proxies whose workload secrets come from files: the rendered listeners and clusters, without an xDS server. */

import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { TestContext } from "node:test";
import { stringify } from "yaml";
import { type EnvoyAdmin, envoyAdmin } from "../../src/envoy/admin.ts";
import { type BootstrapOptions, buildBootstrap, renderProxyFiles } from "../../src/envoy/bootstrap.ts";
import type { EnvoyProcess } from "../../src/envoy/process.ts";
import { fileSource, type Json, tlsCertificateFile, validationContextFile } from "../../src/envoy/secret-sources.ts";
import { eventually, runEnvoy } from "./envoy.ts";

export type FileProxy = {
  readonly envoy: EnvoyProcess;
  readonly admin: EnvoyAdmin;
  readonly certDir: string;
  readonly logPath: string;
  /** Port that a listener really took. */
  port(listener: string): Promise<number>;
};

export type FileProxyOptions = Pick<BootstrapOptions, "identity" | "inbound" | "outbound"> & {
  readonly binary: string;
  readonly dir: string;
  /** Fills the directory with the first credentials. */
  readonly prepare: (certDir: string) => Promise<void>;
};

/** Started and ready; stopped by the test. */
export async function startFileProxy(t: TestContext, options: FileProxyOptions): Promise<FileProxy> {
  const { dir, binary, prepare, ...rest } = options;
  const certDir = join(dir, "certs");
  await mkdir(dir, { recursive: true });
  await prepare(certDir);
  const bootstrap: BootstrapOptions = {
    ...rest,
    nodeId: `${rest.identity.serviceAccount}-test`,
    cluster: rest.identity.serviceAccount,
    xds: { host: "127.0.0.1", port: 1, serverName: "xds.meshroot.internal" },
    variant: "sotw",
    configDir: dir,
    certDir,
  };
  for (const [name, content] of Object.entries(renderProxyFiles(bootstrap))) await writeFile(join(dir, name), content);
  const files = new Map<string, Json>();
  const bootstrapPath = join(dir, "from-files.yaml");
  const fromFiles = sourcesFromFiles(buildBootstrap(bootstrap), dir, certDir, files);
  await writeFile(bootstrapPath, stringify(fromFiles, { aliasDuplicateObjects: false }));
  for (const [path, content] of files) await writeFile(path, stringify(content));

  const logPath = join(dir, "envoy.log");
  const name = rest.identity.serviceAccount;
  const envoy = await runEnvoy(t, { binary, bootstrapPath, name, logPath, logLevel: "info" });
  const admin = envoyAdmin(envoy.adminAddress);
  await eventually(`${name} is ready`, () => admin.ready());
  const port = async (listener: string) => Number((await admin.listeners()).get(listener)?.split(":").at(-1));
  return { envoy, admin, certDir, logPath, port };
}

/** The same configuration with every workload secret's `sds_config` pointing at a file, which is added to `files`. */
function sourcesFromFiles(value: Json, dir: string, certDir: string, files: Map<string, Json>): Json {
  if (Array.isArray(value)) return value.map((item: Json) => sourcesFromFiles(item, dir, certDir, files));
  if (typeof value !== "object") return value;
  const fields = Object.fromEntries(
    Object.entries(value).map(([key, field]: [string, Json]) => [key, sourcesFromFiles(field, dir, certDir, files)]),
  );
  const { name } = fields;
  if (fields.sds_config === undefined || typeof name !== "string" || name.endsWith("_sds")) return fields;
  const path = join(dir, `${encodeURIComponent(name)}.yaml`);
  files.set(path, name.startsWith("root-") ? validationContextFile(name, certDir) : tlsCertificateFile(name, certDir));
  return { ...fields, sds_config: fileSource(path) };
}
