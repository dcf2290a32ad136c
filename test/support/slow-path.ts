/** A way between two proxies on which one connection can be begun now and finished later. */

import { once } from "node:events";
import { request } from "node:http";
import { type AddressInfo, connect, createServer, type Socket } from "node:net";
import type { TestContext } from "node:test";
import type { ProxyFiles } from "../../src/cli/demo/mesh.ts";
import { editBootstrap } from "./edit-proxy.ts";

export const SLOW_PATH = "slow";

export type SlowRelay = {
  readonly port: number;
  /** Resolves when a client's connection has been accepted here; it waits. */
  accepted(): Promise<void>;
  /** Connects to the other side now: the next client is joined to this connection. */
  connectAhead(port: number): Promise<void>;
  /** From now on clients are joined with `port`, those that wait too. */
  release(port: number): void;
};

/** Listens on 127.0.0.1 until the test ends. */
export async function startSlowRelay(t: TestContext): Promise<SlowRelay> {
  const sockets = new Set<Socket>();
  const keep = (socket: Socket) => {
    sockets.add(socket.on("error", () => socket.destroy()).on("close", () => sockets.delete(socket)));
    return socket;
  };
  const waiting: Socket[] = [];
  let target: number | undefined;
  let ahead: Socket | undefined;
  const join = (client: Socket, port: number) => {
    const other = ahead ?? keep(connect(port, "127.0.0.1"));
    ahead = undefined;
    client.pipe(other).pipe(client);
    client.on("close", () => other.destroy());
    other.on("close", () => client.destroy());
  };
  const server = createServer((client) => {
    keep(client);
    if (target === undefined) waiting.push(client);
    else join(client, target);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  t.after(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  return {
    port: (server.address() as AddressInfo).port,
    accepted: async () => {
      if (waiting.length === 0) await once(server, "connection");
    },
    connectAhead: async (port) => {
      ahead = keep(connect(port, "127.0.0.1"));
      await once(ahead, "connect");
    },
    release: (port) => {
      target = port;
      for (const client of waiting.splice(0)) join(client, port);
    },
  };
}

/** A second way to `to`, through `relayPort`: the application connects to `listenPort`. For the variants sotw and delta. */
export function addSlowPath(files: ProxyFiles, to: string, listenPort: number, relayPort: number): ProxyFiles {
  return editBootstrap(files, ({ static_resources: { clusters, listeners } }) => {
    const cluster = structuredClone(clusters.find(({ name }: { name: string }) => name === to));
    const listener = structuredClone(listeners.find(({ name }: { name: string }) => name === `outbound_${to}`));
    cluster.name = SLOW_PATH;
    cluster.load_assignment.cluster_name = SLOW_PATH;
    cluster.load_assignment.endpoints[0].lb_endpoints[0].endpoint.address.socket_address.port_value = relayPort;
    listener.name = `outbound_${SLOW_PATH}`;
    listener.address.socket_address.port_value = listenPort;
    const [filter] = listener.filter_chains[0].filters;
    filter.typed_config.cluster = SLOW_PATH;
    filter.typed_config.stat_prefix = listener.name;
    clusters.push(cluster);
    listeners.push(listener);
  });
}

/** One request on a connection of its own: the status, or what broke. */
export function getOnce(port: number): Promise<number | string> {
  return new Promise((resolve) => {
    const outgoing = request({ port, host: "127.0.0.1", agent: false, headers: { connection: "close" } });
    outgoing.on("error", (error: NodeJS.ErrnoException) => resolve(error.code ?? error.message));
    outgoing.on("response", (incoming) => {
      incoming.resume();
      incoming.on("end", () => resolve(incoming.statusCode ?? 0));
      incoming.on("error", (error) => resolve(error.message));
    });
    outgoing.end();
  });
}
