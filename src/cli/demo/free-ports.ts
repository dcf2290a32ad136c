/** Ports that are free now, for whom has to be told its port before it listens. */

import { createServer, type Server } from "node:net";

/** Below what Linux gives to outgoing connections (32768 on), so that the load itself does not take one meanwhile. */
const FIRST = 20_000;
const LAST = 32_000;
const ATTEMPTS = 50;

/** All different: each is held until all are found. Throws when the range is full. */
export async function freePorts(count: number): Promise<number[]> {
  const held: { readonly port: number; readonly server: Server }[] = [];
  for (let attempt = 0; held.length < count && attempt < count * ATTEMPTS; attempt++) {
    const port = FIRST + Math.floor(Math.random() * (LAST - FIRST));
    const server = await listen(port);
    if (server !== undefined) held.push({ port, server });
  }
  await Promise.all(held.map(({ server }) => new Promise((resolve) => server.close(resolve))));
  if (held.length < count) throw new Error(`no ${count} free ports between ${FIRST} and ${LAST}`);
  return held.map(({ port }) => port);
}

function listen(port: number): Promise<Server | undefined> {
  const server = createServer();
  return new Promise((resolve) => {
    server.once("error", () => resolve(undefined));
    server.listen(port, "127.0.0.1", () => resolve(server));
  });
}
