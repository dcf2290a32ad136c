/** Client of an Envoy admin interface (Envoy docs: operations/admin). What `/certs` shows is loaded; `config_dump` is not proof. */

import { request } from "node:http";
import { formatHostPort, parseHostPort } from "../core/address.ts";
import { MeshrootError } from "../core/errors.ts";
import { normaliseSerial } from "../core/serial.ts";
import { readAtMost } from "../runtime/read-at-most.ts";

/** One certificate that a TLS context of this Envoy holds. */
export type LoadedCertificate = {
  /** Lower-case hex without leading zeros, as in `IssuedCertificate.serial`. */
  readonly serial: string;
  readonly dnsNames: readonly string[];
  readonly uris: readonly string[];
  /** Milliseconds since the epoch. */
  readonly notBefore: number;
  readonly notAfter: number;
  /** The file, or `<inline>` when it came over SDS (files that SDS names count as inline too). */
  readonly path: string;
};

/** One entry of `/certs`: one TLS context. Envoy does not say which listener or cluster it belongs to. */
export type LoadedContext = {
  /**
   * The roots of the trust bundle, in its order. V: every one since Envoy 1.40; 1.36.4, 1.37.0, 1.38.3 and 1.39.3 report
   * the first alone, so a proof that works on all of them puts the root in question first (`listsWholeBundle`).
   */
  readonly trusted: readonly LoadedCertificate[];
  /** The leaf first. */
  readonly chain: readonly LoadedCertificate[];
};

export type EnvoyAdmin = {
  /** `host:port`. */
  readonly address: string;
  /** Contexts that are still waiting for their secrets are empty and left out. */
  certs(): Promise<LoadedContext[]>;
  /** Envoy's answer to `/config_dump`, byte for byte; `query` without the question mark, e.g. `resource=dynamic_active_secrets`. */
  configDump(query?: string): Promise<string>;
  /** Statistics whose name matches the regular expression. Numbers that a double holds exactly are numbers, all else text. */
  stats(filter?: string): Promise<Map<string, number | string>>;
  /** Listeners by name with the `host:port` they really took, which for a port 0 only Envoy knows. Complete once ready. */
  listeners(): Promise<Map<string, string>>;
  /** Such as `1.40.0`. */
  version(): Promise<string>;
  /** True once every listener and cluster has what it waits for. */
  ready(): Promise<boolean>;
  /** Ends the process. */
  quit(): Promise<void>;
  /** Any other read, e.g. `/server_info`; returns the body. */
  get(path: string): Promise<string>;
};

const DEFAULT_TIMEOUT_MS = 5_000;
/** `/certs` of an Envoy with thousands of contexts has some megabytes. */
const MAX_ANSWER_BYTES = 32 * 1024 * 1024;
/** `/config_dump` of such an Envoy has some more, and goes to whoever asked for it. */
export const MAX_DUMP_BYTES = 256 * 1024 * 1024;

type Limits = { readonly timeoutMs: number; readonly maxBytes: number };

/**
 * Every call throws MR5004 when nothing answers within `timeoutMs`, the answer is an error, or is longer than `maxBytes`: what
 * listens there need not be an Envoy.
 */
export function envoyAdmin(address: string, timeoutMs = DEFAULT_TIMEOUT_MS, maxBytes = MAX_ANSWER_BYTES): EnvoyAdmin {
  const limits = { timeoutMs, maxBytes };
  const get = async (path: string) => bodyOf(address, path, await send(address, "GET", path, limits));
  return {
    address,
    get,
    certs: async () => parseCerts(await get("/certs")),
    configDump: (query) => get(query === undefined || query === "" ? "/config_dump" : `/config_dump?${query}`),
    stats: async (filter) =>
      parseStats(await get(filter === undefined ? "/stats" : `/stats?filter=${encodeURIComponent(filter)}`)),
    listeners: async () => parseListeners(await get("/listeners?format=json")),
    version: async () => {
      const info = JSON.parse(await get("/server_info")) as { readonly version?: string };
      return /\/(\d+\.\d+\.\d+)/.exec(info.version ?? "")?.[1] ?? "";
    },
    ready: async () => (await send(address, "GET", "/ready", limits)).status === 200,
    quit: async () => {
      bodyOf(address, "/quitquitquit", await send(address, "POST", "/quitquitquit", limits));
    },
  };
}

/** Whether `/certs` of this Envoy shows every root of a bundle, or only its first; false for a version we can't read. */
export function listsWholeBundle(version: string): boolean {
  const [major = 0, minor = 0] = version.split(".").map(Number);
  return major > 1 || (major === 1 && minor >= 40);
}

type CertsAnswer = { readonly certificates?: readonly { ca_cert?: CertDetails[]; cert_chain?: CertDetails[] }[] };
type CertDetails = {
  readonly path?: string;
  readonly serial_number?: string;
  readonly subject_alt_names?: readonly { dns?: string; uri?: string }[];
  readonly valid_from?: string;
  readonly expiration_time?: string;
};

export function parseCerts(text: string): LoadedContext[] {
  const answer = JSON.parse(text) as CertsAnswer;
  return (answer.certificates ?? [])
    .map((entry) => ({ trusted: certificates(entry.ca_cert), chain: certificates(entry.cert_chain) }))
    .filter((context) => context.trusted.length > 0 || context.chain.length > 0);
}

/** Envoy lists a certificate without a serial where a context has none. */
function certificates(list: readonly CertDetails[] | undefined): LoadedCertificate[] {
  return (list ?? [])
    .filter((details) => details.serial_number !== undefined && details.serial_number !== "")
    .map((details) => ({
      serial: normaliseSerial(details.serial_number ?? ""),
      dnsNames: (details.subject_alt_names ?? []).flatMap(({ dns }) => (dns === undefined ? [] : [dns])),
      uris: (details.subject_alt_names ?? []).flatMap(({ uri }) => (uri === undefined ? [] : [uri])),
      notBefore: Date.parse(details.valid_from ?? ""),
      notAfter: Date.parse(details.expiration_time ?? ""),
      path: details.path ?? "",
    }));
}

type ListenersAnswer = {
  readonly listener_statuses?: readonly {
    readonly name: string;
    readonly local_address?: { readonly socket_address?: { readonly address: string; readonly port_value: number } };
  }[];
};

function parseListeners(text: string): Map<string, string> {
  const answer = JSON.parse(text) as ListenersAnswer;
  const listeners = new Map<string, string>();
  for (const { name, local_address } of answer.listener_statuses ?? []) {
    const socket = local_address?.socket_address;
    if (socket !== undefined) listeners.set(name, formatHostPort(socket.address, socket.port_value));
  }
  return listeners;
}

export function parseStats(text: string): Map<string, number | string> {
  const stats = new Map<string, number | string>();
  for (const line of text.split("\n")) {
    const colon = line.indexOf(": ");
    if (colon < 0) continue;
    const value = line.slice(colon + 2);
    const number = Number(value);
    stats.set(
      line.slice(0, colon),
      /^\d+$/.test(value) && Number.isSafeInteger(number) ? number : value.replace(/^"(.*)"$/, "$1"),
    );
  }
  return stats;
}

type Answer = { readonly status: number; readonly body: string };

function bodyOf(address: string, path: string, answer: Answer): string {
  if (answer.status === 200) return answer.body;
  throw new MeshrootError(
    "MR5004",
    `Envoy's admin at ${address} answers ${answer.status} to ${path}`,
    `Envoy says: ${answer.body.slice(0, 200).trim()}`,
  );
}

function send(address: string, method: "GET" | "POST", path: string, limits: Limits): Promise<Answer> {
  const { timeoutMs, maxBytes } = limits;
  return new Promise((resolve, reject) => {
    const fail = (cause: Error) =>
      reject(
        new MeshrootError(
          "MR5004",
          `Envoy's admin at ${address} does not answer: ${cause.message}`,
          "Is the Envoy running, and is this the address under `admin:` in its bootstrap?",
          cause,
        ),
      );
    let outgoing: ReturnType<typeof request>;
    try {
      const where = parseHostPort(address);
      if (typeof where === "string") throw new Error(`"${address}" ${where}`);
      const { pathname, search } = new URL(path, "http://envoy");
      // Not by a URL, which takes no zone in an IPv6 address.
      const { host, port } = where;
      outgoing = request({ host, port, path: pathname + search, method, agent: false });
    } catch (error) {
      fail(error as Error);
      return;
    }
    const deadline = setTimeout(() => outgoing.destroy(new Error(`nothing within ${timeoutMs} ms`)), timeoutMs);
    outgoing.on("error", fail);
    outgoing.on("close", () => clearTimeout(deadline));
    outgoing.on("response", (incoming) => {
      readAtMost(incoming, maxBytes, `its answer is longer than ${maxBytes / 1024 / 1024} MiB`).then(
        (bytes) => resolve({ status: incoming.statusCode ?? 0, body: bytes.toString("utf8") }),
        fail,
      );
    });
    outgoing.end();
  });
}
