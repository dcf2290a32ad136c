/** Host and port as people write them: names, IPv4, IPv6 with and without brackets, zones. */

export type HostPort = { readonly host: string; readonly port: number };

/** Bare: an IPv6 address has no brackets. */
export type Host = { readonly host: string; readonly kind: "name" | "IPv4" | "IPv6" };

const NAME = /^(?!-)[a-z0-9_-]{1,63}(?:\.(?!-)[a-z0-9_-]{1,63})*\.?$/i;
const ZONE = /^[a-z0-9_.-]{1,32}$/i;
const MAX_PORT = 65_535;

/** A host alone, an IPv6 address in brackets or without; undefined for anything else. */
export function parseHost(text: string): Host | undefined {
  const inBrackets = /^\[([^[\]]*)\]$/.exec(text)?.[1];
  const bare = inBrackets ?? text;
  if (isIPv6(bare)) return { host: bare, kind: "IPv6" };
  if (inBrackets !== undefined) return undefined;
  if (isIPv4(text)) return { host: text, kind: "IPv4" };
  // A name can't end in a number: `127.1` and `256.0.0.1` are addresses that resolvers read each in its own way.
  const isNumeric = /(?:^|\.)(?:\d+|0x[0-9a-f]*)\.?$/i.test(text);
  return !isNumeric && text.length <= 253 && NAME.test(text) ? { host: text, kind: "name" } : undefined;
}

/** `host:port`, `[IPv6]:port`; or, as a text that completes "… ", what is wrong with it. Port 0 is none. */
export function parseHostPort(text: string): (HostPort & Pick<Host, "kind">) | string {
  if (/^[a-z]+:\/\//i.test(text)) return "is a URL: leave out what is not host:port";
  if (isIPv6(text) || /^\[[^[\]]*\]$/.test(text))
    return "has no port, or an IPv6 address without brackets ([::1]:8080)";
  const colon = text.lastIndexOf(":");
  const host = parseHost(text.slice(0, Math.max(colon, 0)));
  if (colon < 0 || text.slice(0, colon) === "" || host === undefined) return "is not host:port";
  const port = parsePort(text.slice(colon + 1));
  if (port === undefined) return `is not host:port, it has no port from 1 to ${MAX_PORT}`;
  const hasBrackets = text.startsWith("[");
  if (host.kind === "IPv6" && !hasBrackets) return "has an IPv6 address without brackets ([::1]:8080)";
  return { ...host, port };
}

/** 1 to 65535 in digits. */
export function parsePort(text: string): number | undefined {
  const port = /^\d{1,5}$/.test(text) ? Number(text) : 0;
  return port > 0 && port <= MAX_PORT ? port : undefined;
}

/** As it stands in a URL and in a target of gRPC: an IPv6 address in brackets. */
export function formatHostPort(host: string, port: number): string {
  return host.includes(":") ? `[${host}]:${port}` : `${host}:${port}`;
}

/** Whether an address is of one link alone, and means nothing without a zone (fe80::/10). */
export function isLinkLocal(host: string): boolean {
  return /^fe[89ab]/i.test(host);
}

function isIPv4(text: string): boolean {
  const parts = text.split(".");
  return parts.length === 4 && parts.every((part) => /^(?:0|[1-9]\d{0,2})$/.test(part) && Number(part) <= 255);
}

/** RFC 4291 2.2, with the zone of RFC 4007 11. */
function isIPv6(text: string): boolean {
  const [address = "", zone, ...more] = text.split("%");
  if (more.length > 0 || (zone !== undefined && !ZONE.test(zone))) return false;
  const [before = "", after, ...others] = address.split("::");
  if (others.length > 0) return false;
  const groups = (part: string) => (part === "" ? [] : part.split(":"));
  const all = [...groups(before), ...groups(after ?? "")];
  const last = all.at(-1) ?? "";
  const endsInIPv4 = isIPv4(last);
  const count = all.length + (endsInIPv4 ? 1 : 0);
  const hex = endsInIPv4 ? all.slice(0, -1) : all;
  return hex.every((group) => /^[0-9a-f]{1,4}$/i.test(group)) && (after === undefined ? count === 8 : count <= 7);
}
