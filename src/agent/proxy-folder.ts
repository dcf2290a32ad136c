/** The folder of one proxy, as `meshroot proxy bootstrap` wrote it: where its Envoy listens for us, and where the server is. */

import { readFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import { parse } from "yaml";
import { z } from "zod";
import { formatHostPort } from "../core/address.ts";
import { MeshrootError } from "../core/errors.ts";
import type { ProxyIdentity } from "../core/identity.ts";
import { XDS_CLUSTER } from "../envoy/secret-sources.ts";
import { xdsIdentity } from "../pki/xds-identity.ts";

export type ProxyFolder = {
  readonly dir: string;
  readonly certDir: string;
  readonly bootstrapPath: string;
  /** `node.id` of the bootstrap; Envoy's `/server_info` repeats it. */
  readonly nodeId: string;
  /** What the certificate in the folder says, which is what the server goes by (C1). */
  readonly identity: ProxyIdentity;
  /** `host:port`; undefined where the bootstrap lets Envoy take any free port. */
  readonly adminAddress: string | undefined;
  /** `host:port`. */
  readonly xdsAddress: string;
  /** The DNS name that the server's certificate must carry. */
  readonly serverName: string;
};

const address = z
  .object({ socket_address: z.object({ address: z.string(), port_value: z.int() }) })
  .transform(({ socket_address: { address: host, port_value: port } }) => ({ host, port }));

const BOOTSTRAP = z.object({
  node: z.object({ id: z.string().min(1) }),
  admin: z.object({ address }).optional(),
  static_resources: z.object({ clusters: z.array(z.looseObject({ name: z.string() })) }),
});

const CLUSTER = z.object({
  load_assignment: z.object({
    endpoints: z
      .array(z.object({ lb_endpoints: z.array(z.object({ endpoint: z.object({ address }) })).min(1) }))
      .min(1),
  }),
  transport_socket: z.object({
    typed_config: z.object({
      common_tls_context: z.object({
        combined_validation_context: z.object({
          default_validation_context: z.object({
            match_typed_subject_alt_names: z
              .array(z.object({ matcher: z.object({ exact: z.string().min(1) }) }))
              .min(1),
          }),
        }),
      }),
    }),
  }),
});

/** Throws MR5002 when it is no such folder, with what is missing. */
export async function readProxyFolder(path: string): Promise<ProxyFolder> {
  const dir = resolve(path);
  const certDir = join(dir, "certs");
  const bootstrapPath = join(dir, "bootstrap.yaml");
  const bootstrap = check(BOOTSTRAP, parseYaml(await text(bootstrapPath, dir), bootstrapPath), bootstrapPath);
  const cluster = bootstrap.static_resources.clusters.find(({ name }) => name === XDS_CLUSTER);
  if (cluster === undefined) throw unusable(`${bootstrapPath} has no cluster ${XDS_CLUSTER}`);
  const { load_assignment, transport_socket } = check(CLUSTER, cluster, `${bootstrapPath}, cluster ${XDS_CLUSTER}`);
  const xds = load_assignment.endpoints[0]?.lb_endpoints[0]?.endpoint.address;
  if (xds === undefined) throw unusable(`${bootstrapPath} does not say where the server is`);
  const { default_validation_context } = transport_socket.typed_config.common_tls_context.combined_validation_context;
  const serverName = default_validation_context.match_typed_subject_alt_names[0]?.matcher.exact;
  if (serverName === undefined) throw unusable(`${bootstrapPath} does not say which name the server has`);
  const admin = bootstrap.admin?.address;
  return {
    dir,
    certDir,
    bootstrapPath,
    nodeId: bootstrap.node.id,
    identity: identityIn(await text(join(certDir, "tls.crt"), dir), certDir),
    adminAddress: admin === undefined || admin.port === 0 ? undefined : formatHostPort(admin.host, admin.port),
    xdsAddress: formatHostPort(xds.host, xds.port),
    serverName,
  };
}

/** Identity in an xDS certificate (C1). Throws MR5002 for any other certificate. */
function identityIn(pem: string, where: string): ProxyIdentity {
  const identity = xdsIdentity(pem);
  if (identity === undefined) throw unusable(`${where} holds no xDS certificate of meshroot`);
  return identity;
}

async function text(path: string, dir: string): Promise<string> {
  try {
    return await readFile(path, "utf8");
  } catch (error) {
    const message = `${dir} is not the folder of a proxy: can't read ${path}: ${(error as Error).message}`;
    throw unusable(message, error);
  }
}

function parseYaml(content: string, path: string): unknown {
  try {
    return parse(content);
  } catch (error) {
    throw unusable(`${path} is not YAML: ${(error as Error).message.split("\n")[0]}`, error);
  }
}

function check<Schema extends z.ZodType>(schema: Schema, value: unknown, where: string): z.output<Schema> {
  const parsed = schema.safeParse(value);
  if (parsed.success) return parsed.data;
  const [issue] = parsed.error.issues;
  throw unusable(`${where}: ${issue?.path.join(".") ?? ""}: ${issue?.message ?? "unreadable"}`);
}

function unusable(message: string, cause?: unknown): MeshrootError {
  const hint = "Give the folder that `meshroot proxy bootstrap` wrote; the same command writes it again.";
  return new MeshrootError("MR5002", message, hint, cause);
}
