/** What resources name: files are saved one after the other, and a route must not go out before its cluster is there. */

import type { JsonValue } from "@bufbuild/protobuf";

type Named = { readonly file: string; readonly name: string; readonly json: JsonValue };
type Reference = { readonly file: string; readonly name: string };

/** One line for each reference to something that no file has. Clusters of the bootstrap don't count. */
export function danglingReferences(resources: readonly Named[]): string[] {
  const known = new Set(resources.map(({ file, name }) => `${file} ${name}`));
  return resources.flatMap((resource) =>
    references(resource.json)
      .filter(({ file, name }) => !known.has(`${file} ${name}`))
      .map(({ file, name }) => `${resource.file}: ${resource.name} names ${name}, which is not in ${file}`),
  );
}

function references(json: JsonValue): Reference[] {
  if (typeof json !== "object" || json === null) return [];
  if (Array.isArray(json)) return json.flatMap(references);
  const own: Reference[] = [];
  const add = (file: string, name: JsonValue | undefined) => {
    if (typeof name === "string" && name !== "") own.push({ file, name });
  };
  const { cluster, weighted_clusters, route_config_name, sds_config, eds_cluster_config, name } = json;
  // Of routes and of tcp_proxy; Envoy's word for a cluster elsewhere is cluster_name.
  add("clusters.yaml", cluster);
  if (isObject(weighted_clusters) && Array.isArray(weighted_clusters.clusters))
    for (const one of weighted_clusters.clusters) if (isObject(one)) add("clusters.yaml", one.name);
  add("routes.yaml", route_config_name);
  if (sds_config !== undefined) add("secrets.yaml", name);
  if (isObject(eds_cluster_config)) add("endpoints.yaml", eds_cluster_config.service_name ?? name);
  return [...own, ...Object.values(json).flatMap(references)];
}

export function isObject(json: JsonValue | undefined): json is { [key: string]: JsonValue } {
  return typeof json === "object" && json !== null && !Array.isArray(json);
}
