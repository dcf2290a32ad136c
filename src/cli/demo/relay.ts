/** A TCP relay in front of the xDS port, to slow one proxy or hold its ACKs back without touching the server. */

import { once } from "node:events";
import { type AddressInfo, connect, createServer, type Socket } from "node:net";

export type Relay = {
  readonly port: number;
  /** True: what clients send (requests, so ACKs too) waits here, also on later connections. False: all of it goes on. */
  holdToServer(hold: boolean): void;
  /** The same for what the server sends. */
  holdToClient(hold: boolean): void;
  /** Ends the open connections at both ends, as a broken network would; new ones are accepted. */
  cut(): void;
  /** Connections open now. */
  connections(): number;
  stop(): Promise<void>;
};

type Direction = { held: boolean; readonly sources: Set<Socket> };

/**
 * Listens on 127.0.0.1, by default on a free port. Bytes only: TLS passes untouched. While a direction is held, peers
 * that ping (Envoy's xDS cluster: after 30 s, patience 5 s) take the connection for dead in the end.
 */
export async function startRelay(target: { readonly host?: string; readonly port: number }, port = 0): Promise<Relay> {
  const toServer: Direction = { held: false, sources: new Set() };
  const toClient: Direction = { held: false, sources: new Set() };

  const server = createServer((client) => {
    const upstream = connect({ host: target.host ?? "127.0.0.1", port: target.port });
    forward(client, upstream, toServer);
    forward(upstream, client, toClient);
  });
  server.listen(port, "127.0.0.1");
  await once(server, "listening");

  const cut = () => {
    for (const socket of [...toServer.sources, ...toClient.sources]) socket.destroy();
  };
  return {
    port: (server.address() as AddressInfo).port,
    holdToServer: (hold) => setHold(toServer, hold),
    holdToClient: (hold) => setHold(toClient, hold),
    cut,
    connections: () => toServer.sources.size,
    stop: async () => {
      const closed = once(server, "close");
      server.close();
      cut();
      await closed;
    },
  };
}

/** Not `pipe`, which resumes a source by itself and would let bytes through a hold. */
function forward(source: Socket, sink: Socket, direction: Direction): void {
  direction.sources.add(source);
  source.setNoDelay(true);
  source.on("data", (chunk) => {
    if (!sink.write(chunk)) source.pause();
  });
  sink.on("drain", () => {
    if (!direction.held) source.resume();
  });
  source.on("end", () => sink.end());
  // The other end sees the connection close, which is all that a TCP peer can be told.
  source.on("error", () => sink.destroy());
  source.on("close", () => {
    direction.sources.delete(source);
    sink.destroy();
  });
  if (direction.held) source.pause();
}

function setHold(direction: Direction, held: boolean): void {
  direction.held = held;
  for (const source of direction.sources) {
    if (held) source.pause();
    else source.resume();
  }
}
