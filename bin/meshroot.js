#!/usr/bin/env node
// In a clone the TypeScript sources run directly (Node strips the types); the package and the image carry dist/.
import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";

// Node's own answer to it is to open the inspector on a port of this machine, which hands out every key in memory.
process.on("SIGUSR1", () => undefined);

const [major, minor] = process.versions.node.split(".").map(Number);
if (major < 22 || (major === 22 && minor < 18)) {
  process.stderr.write(
    `meshroot needs Node 22.18 or newer, this is ${process.versions.node}.\n` +
      "In a clone, run it through npm or npx after `npm ci`: they use the pinned Node 24.\n",
  );
  process.exit(2);
}
const source = new URL("../src/main.ts", import.meta.url);
const { main } = await import(
  existsSync(fileURLToPath(source)) ? source.href : new URL("../dist/main.js", import.meta.url).href
);
await main(process.argv.slice(2));
