import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { createServer } from "node:net";
import { text } from "node:stream/consumers";
import { test } from "node:test";
import { freePorts } from "../../../src/cli/demo/free-ports.ts";

const MODULE = new URL("../../../src/cli/demo/free-ports.ts", import.meta.url).href;

test("ports are different, free, and not handed out again at once", async () => {
  const [some, more] = await Promise.all([freePorts(100), freePorts(100)]);
  const ports = [...some, ...more, ...(await freePorts(100))];
  assert.equal(new Set(ports).size, 300);
  for (const port of ports) {
    const server = createServer().listen(port, "127.0.0.1");
    await once(server, "listening");
    server.close();
  }
});

test("more than one block holds can be had", async () => {
  assert.equal(new Set(await freePorts(1_200)).size, 1_200);
});

test("no two processes are given the same port, though nobody listens there yet", async () => {
  const script = `import(${JSON.stringify(MODULE)}).then(async ({ freePorts }) => {
    process.stdout.write(JSON.stringify(await freePorts(300)) + "\\n");
    process.stdin.resume();
  })`;
  const children = Array.from({ length: 4 }, () =>
    spawn(process.execPath, ["-e", script], { stdio: ["pipe", "pipe", "inherit"] }),
  );
  try {
    const lists = await Promise.all(
      children.map(async ({ stdout }) => {
        const [line] = (await once(stdout.setEncoding("utf8"), "data")) as [string];
        return JSON.parse(line) as number[];
      }),
    );
    assert.equal(new Set(lists.flat()).size, 1_200);
  } finally {
    for (const child of children) child.kill();
  }
});

test("whoever only asked for ports comes to its end", async () => {
  const script = `import(${JSON.stringify(MODULE)}).then(({ freePorts }) => freePorts(3)).then((ports) => console.log(ports.length))`;
  const child = spawn(process.execPath, ["-e", script], { stdio: ["ignore", "pipe", "inherit"] });
  const [output] = await Promise.all([text(child.stdout), once(child, "exit")]);
  assert.equal(output, "3\n");
});
