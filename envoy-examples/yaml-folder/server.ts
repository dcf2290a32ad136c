/**
 * An xDS control plane in one file: serves the YAML files of a folder to Envoys over ADS and follows their edits.
 *
 *   node server.ts [--folder .] [--certs ./certs] [--host 127.0.0.1] [--port 18000]
 */

import { createHash } from "node:crypto";
import { readFileSync, watch } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { type DescMessage, type JsonValue, toBinary } from "@bufbuild/protobuf";
import { type Resource, resourceSet, XdsServer } from "meshroot/xds";
import { parse } from "yaml";
import { decode } from "./decode.ts";
import { loadTypes } from "./envoy-types.ts";
import { danglingReferences, isObject } from "./references.ts";

/** Each type after those that it names: a change goes out in this order, and what is gone goes last. */
const KINDS = [
  { file: "endpoints.yaml", message: "envoy.config.endpoint.v3.ClusterLoadAssignment", key: "cluster_name" },
  { file: "secrets.yaml", message: "envoy.extensions.transport_sockets.tls.v3.Secret", key: "name" },
  { file: "clusters.yaml", message: "envoy.config.cluster.v3.Cluster", key: "name" },
  { file: "routes.yaml", message: "envoy.config.route.v3.RouteConfiguration", key: "name" },
  { file: "listeners.yaml", message: "envoy.config.listener.v3.Listener", key: "name" },
] as const;
/** Envoy takes the clusters and listeners that an answer lacks for deleted, and asks for all of them without a name. */
const WHOLE = ["clusters.yaml", "listeners.yaml"];

/** Their messages, and whatever they import, may be used in the YAML files. A new extension is a new line here. */
const TYPES = loadTypes([
  "envoy/config/endpoint/v3/endpoint.proto",
  "envoy/config/cluster/v3/cluster.proto",
  "envoy/config/route/v3/route.proto",
  "envoy/config/listener/v3/listener.proto",
  "envoy/extensions/filters/http/router/v3/router.proto",
  "envoy/extensions/filters/network/http_connection_manager/v3/http_connection_manager.proto",
  "envoy/extensions/filters/network/tcp_proxy/v3/tcp_proxy.proto",
  "envoy/extensions/transport_sockets/tls/v3/tls.proto",
  "envoy/extensions/upstreams/http/v3/http_protocol_options.proto",
]);

const { values: options } = parseArgs({
  options: {
    folder: { type: "string", default: "." },
    certs: { type: "string", default: "certs" },
    host: { type: "string", default: "127.0.0.1" },
    port: { type: "string", default: "18000" },
  },
});

/** Longer than it takes to save several files at once, or one in several writes. */
const QUIET_MS = 200;

const set = resourceSet({
  types: KINDS.map(({ file, message }) => ({
    typeUrl: `type.googleapis.com/${message}`,
    ...(WHOLE.includes(file) ? { packing: "full", wildcard: true } : {}),
  })),
  onVerdict: ({ client, typeUrl, verdict, message }) => {
    if (verdict === "nacked") complain(`refused by ${client.node.id}: ${typeUrl}: ${message}`);
  },
});

const pem = (name: string): string => readFileSync(join(options.certs, name), "utf8");

const server = new XdsServer<string>({
  credentials: { certificatePem: pem("server.crt"), privateKeyPem: pem("server.key"), clientCaPem: pem("client.crt") },
  identify: (certificate) => certificate.subject,
  sources: set.sources,
  refused: ({ remote, reason }) => complain(`refused a connection from ${remote}: ${reason}`),
});

let quiet: NodeJS.Timeout | undefined;
// Whatever moves in the folder: an editor may replace a file, and Kubernetes the link that all of them are behind.
const watcher = watch(options.folder, () => {
  clearTimeout(quiet);
  quiet = setTimeout(reload, QUIET_MS);
});
reload();
console.log(`listening on ${options.host}:${await server.listen(options.host, Number(options.port))}`);
for (const signal of ["SIGINT", "SIGTERM"] as const)
  process.once(signal, () => {
    watcher.close();
    clearTimeout(quiet);
    void server.close({ drainMs: 1_000 });
  });

/** All files or none: an edit that can't be right changes nothing. */
function reload(): void {
  try {
    const found = KINDS.map((kind) => ({ ...kind, resources: read(kind) }));
    const dangling = danglingReferences(
      found.flatMap(({ file, resources }) => [...resources].map(([name, { json }]) => ({ file, name, json }))),
    );
    if (dangling.length > 0) throw new Error(dangling.join("\n"));
    set.set(new Map(found.map(({ message, resources }) => [`type.googleapis.com/${message}`, resources])));
    console.log(`in force: ${found.map(({ file, resources }) => `${resources.size} of ${file}`).join(", ")}`);
  } catch (error) {
    complain(`not in force: ${(error as Error).message}`);
  }
}

/** A client's words may hold what a terminal obeys. */
function complain(text: string): void {
  console.error(text.replaceAll(/[^\P{Cc}\n]/gu, " "));
}

type Loaded = Resource & { readonly json: JsonValue };

function read({ file, message, key }: (typeof KINDS)[number]): Map<string, Loaded> {
  const schema = TYPES.getMessage(message) as DescMessage;
  const resources = new Map<string, Loaded>();
  const text = readFileSync(join(options.folder, file), "utf8");
  const content: JsonValue = within(file, () => parse(text, { prettyErrors: true }));
  // A file that is empty because it is just being written must not mean that everything is gone.
  if (!isObject(content) || !Array.isArray(content.resources) || Object.keys(content).length > 1)
    throw new Error(`${file}: it must hold one list, resources:`);
  for (const [index, entry] of content.resources.entries()) {
    const { "@type": type, ...json } = isObject(entry) ? entry : {};
    const name = json[key];
    within(`${file}: resources[${index}]${typeof name === "string" ? ` (${name})` : ""}`, () => {
      if (type !== `type.googleapis.com/${message}`) throw new Error(`"@type" must be type.googleapis.com/${message}`);
      const value = Buffer.from(toBinary(schema, decode(schema, json, TYPES)));
      if (typeof name !== "string" || name === "") throw new Error(`${key} is missing`);
      if (resources.has(name)) throw new Error("there are two of this name");
      resources.set(name, { version: createHash("sha256").update(value).digest("hex").slice(0, 16), value, json });
    });
  }
  return resources;
}

/** Says where an error is. Its first line is enough: YAML's errors go on with the text, in which there may be a key. */
function within<T>(place: string, work: () => T): T {
  try {
    return work();
  } catch (error) {
    throw new Error(`${place}: ${(error as Error).message.split("\n")[0]}`);
  }
}
