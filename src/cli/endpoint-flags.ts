/** Addresses and ports in the flags of `proxy bootstrap`, as Envoy takes them. All throw MR5002. */

import { isLinkLocal, parseHost, parseHostPort, parsePort } from "../core/address.ts";
import { MeshrootError } from "../core/errors.ts";
import { isDnsLabel } from "../core/identity.ts";
import type { Endpoint, Outbound } from "../envoy/bootstrap.ts";

/** Names of clusters that a bootstrap has anyway. */
const TAKEN_NAMES = ["app"];

export function requirePort(text: string, flag: string): number {
  const port = parsePort(text);
  if (port !== undefined) return port;
  throw invalid(`${flag} "${text}" is not a port`, "Give a number from 1 to 65535.");
}

/** For a cluster: Envoy resolves names. */
export function requireEndpoint(text: string, flag: string): Endpoint {
  const parsed = parseHostPort(text);
  if (typeof parsed !== "string") return { host: parsed.host, port: parsed.port };
  throw invalid(`${flag} "${text}" ${parsed}`, "Give it like 127.0.0.1:8080, [::1]:8080 or app.local:8080.");
}

/** For a listener: Envoy takes no name, and a zone only where it means something (V 1.36.4, 1.40.0: "malformed IP address"). */
export function parseAdmin(text: string): Endpoint {
  const parsed = parseHostPort(text);
  const hint = "Give an address of this machine, like 127.0.0.1:15000 or [::1]:15000.";
  if (typeof parsed === "string") throw invalid(`--admin "${text}" ${parsed}`, hint);
  const { host, port, kind } = parsed;
  if (host === "localhost") return { host: "127.0.0.1", port };
  if (kind === "name") throw invalid(`--admin "${text}" has a name where Envoy takes an IP address only`, hint);
  if (host.includes("%") && !isLinkLocal(host)) throw invalid(`--admin "${text}": leave out the zone`, hint);
  return { host, port };
}

/** Without a port, which the server itself tells. */
export function parseXdsHost(text: string): string {
  const host = parseHost(text);
  if (host !== undefined) return host.host;
  const why = typeof parseHostPort(text) === "string" ? "is no address and no name" : "has a port";
  throw invalid(
    `--xds-host "${text}" ${why}`,
    "Give the host alone, like 10.0.0.7, ::1 or meshroot.local; for its port see --xds-port.",
  );
}

/** Names are the services' own where that is unique: they are what statistics are called. */
export function parseOutbounds(texts: readonly string[]): Outbound[] {
  const parsed = texts.map(parseOutbound);
  for (const [index, { listenPort, service }] of parsed.entries()) {
    const earlier = parsed.slice(0, index);
    const other = earlier.find((each) => each.listenPort === listenPort);
    if (other !== undefined)
      throw invalid(`--outbound: port ${listenPort} is for ${other.service} and ${service}`, "Give each its own port.");
    if (earlier.some((each) => each.service === service))
      throw invalid(`--outbound: ${service} is there twice`, "One way to a service is enough.");
  }
  return parsed.map((outbound) => {
    const shared = parsed.filter(({ name }) => name === outbound.name).length > 1;
    return shared || TAKEN_NAMES.includes(outbound.name)
      ? { ...outbound, name: outbound.service.split("/").reverse().join(".") }
      : outbound;
  });
}

function parseOutbound(text: string): Outbound {
  const [, listen = "", namespace = "", name = "", peer = ""] = /^([^=]*)=([^/@]*)\/([^/@]*)@(.+)$/.exec(text) ?? [];
  if (!isDnsLabel(namespace) || !isDnsLabel(name)) {
    const form = "Give it like 15001=bookstore/bookstore@10.0.0.7:15006 (port=namespace/service@host:port).";
    throw invalid(`--outbound "${text}" can't be read`, form);
  }
  return {
    name,
    service: `${namespace}/${name}`,
    listenPort: requirePort(listen, "--outbound"),
    peer: requireEndpoint(peer, "--outbound"),
  };
}

function invalid(message: string, hint: string): MeshrootError {
  return new MeshrootError("MR5002", message, hint);
}
