/** Ports that are free now, for whom has to be told its port before it listens. */

import { createServer, type Server } from "node:net";

/** Below what Linux gives to outgoing connections (32768 on), so that the load itself does not take one meanwhile. */
const FIRST = 20_000;
const LAST = 32_000;
/** More than the largest mesh of a test needs at once. */
const BLOCK = 500;

type Block = { readonly guard: Server; readonly first: number; next: number };

const blocks: Block[] = [];

/**
 * All different, and no other process is given one of them for as long as this one lives: two Envoys on one port both start,
 * and the kernel deals connections out to either (SO_REUSEPORT, Envoy's default). A port comes up again only after all the others
 * of its block. Throws when the range is full.
 */
export async function freePorts(count: number): Promise<number[]> {
  const ports: number[] = [];
  for (const block of blocks) await take(block, count, ports);
  while (ports.length < count) {
    const block = await newBlock();
    if (block === undefined) throw new Error(`no ${count} free ports between ${FIRST} and ${LAST}`);
    blocks.push(block);
    await take(block, count, ports);
  }
  return ports;
}

/** Looks at each port of the block once at most. */
async function take(block: Block, count: number, ports: number[]): Promise<void> {
  for (let looked = 1; looked < BLOCK && ports.length < count; looked++) {
    const port = block.first + block.next;
    block.next = (block.next % (BLOCK - 1)) + 1;
    const server = await listen(port);
    if (server === undefined) continue;
    await new Promise((resolve) => server.close(resolve));
    ports.push(port);
  }
}

/** Whoever listens on a block's first port has the block. */
async function newBlock(): Promise<Block | undefined> {
  const size = (LAST - FIRST) / BLOCK;
  const start = Math.floor(Math.random() * size);
  for (let index = 0; index < size; index++) {
    const first = FIRST + ((start + index) % size) * BLOCK;
    const guard = await listen(first);
    if (guard !== undefined) return { guard: guard.unref(), first, next: 1 };
  }
  return undefined;
}

function listen(port: number): Promise<Server | undefined> {
  const server = createServer();
  return new Promise((resolve) => {
    server.once("error", () => resolve(undefined));
    server.listen(port, "127.0.0.1", () => resolve(server));
  });
}
