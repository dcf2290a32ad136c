/** Every bootstrap of envoy-examples/ against a real server, as its README says, but for the ports. */

import assert from "node:assert/strict";
import { cp, mkdir, readdir, readFile, writeFile } from "node:fs/promises";
import { request } from "node:http";
import { basename, join } from "node:path";
import { text } from "node:stream/consumers";
import { test } from "node:test";
import { freePorts } from "../../src/cli/demo/free-ports.ts";
import { startEchoApp } from "../../src/cli/demo/traffic.ts";
import { type EnvoyAdmin, envoyAdmin } from "../../src/envoy/admin.ts";
import { ENVOY_VERSIONS } from "../../src/envoy/binary.ts";
import { writeCredentials } from "../../src/envoy/credentials-dir.ts";
import { temporaryDirectory } from "../support/data-dir.ts";
import { bootstrapFrom, serveHere } from "../support/e2e-server.ts";
import { envoyOrSkip, eventually, runEnvoy } from "../support/envoy.ts";

const EXAMPLES = join(import.meta.dirname, "../../envoy-examples");
const SIDES = { server: "bookstore", client: "bookbuyer" } as const;
type Side = keyof typeof SIDES;

/** A complete bootstrap has an admin interface; the other files are pieces that it names. */
async function bootstraps(side: Side): Promise<string[]> {
  const names = (await readdir(join(EXAMPLES, side))).filter((name) => name.endsWith(".yaml"));
  const texts = await Promise.all(names.map((name) => readFile(join(EXAMPLES, side, name), "utf8")));
  return names.filter((_, index) => /^admin:/m.test(texts[index] ?? "")).sort();
}

test("there is a server and a client for each protocol", async () => {
  assert.deepEqual(await bootstraps("server"), ["ads.yaml", "delta.yaml", "sotw.yaml"]);
  assert.deepEqual(await bootstraps("client"), await bootstraps("server"));
});

for (const version of ENVOY_VERSIONS) {
  test(`each pair of envoy-examples gets its secrets and carries a request on Envoy ${version}`, async (t) => {
    const envoy = await envoyOrSkip(t, version);
    if (envoy === undefined) return;
    const dir = await temporaryDirectory(t);
    const dataDir = join(dir, "data");
    await mkdir(dataDir);
    await writeFile(join(dataDir, "services.yaml"), "bookstore/bookstore: [bookstore.bookstore]\n");
    const server = await serveHere(dataDir);
    t.after(() => server.stop());
    const app = await startEchoApp("bookstore");
    t.after(() => app.stop());

    for (const file of await bootstraps("server")) {
      const [inbound = 0, outbound = 0] = await freePorts(2);
      const ports = { 15128: server.xdsPort, 15000: 0, 15010: 0, 8080: app.port, 15006: inbound, 15001: outbound };
      const start = async (side: Side): Promise<EnvoyAdmin> => {
        const cwd = join(dir, basename(file, ".yaml"), side);
        await copyExample(side, cwd, ports);
        const identity = { serviceAccount: SIDES[side], namespace: SIDES[side] };
        const credentials = await bootstrapFrom(dataDir, { ...identity, kind: "sidecar" });
        await writeCredentials(join(cwd, "certs"), credentials);
        const options = { binary: envoy.path, bootstrapPath: file, name: `${side}/${file}`, cwd };
        return envoyAdmin((await runEnvoy(t, options)).adminAddress);
      };
      for (const admin of [await start("server"), await start("client")]) {
        await eventually(`${file} is ready`, () => admin.ready());
        // One of the xDS connection, one of the mesh.
        const contexts = await admin.certs();
        assert.equal(contexts.length, 2, `${file} has loaded two contexts`);
        for (const { trusted, chain } of contexts) assert.deepEqual([trusted.length, chain.length], [1, 1], file);
      }
      assert.equal(await get(outbound), "bookstore GET /\n", file);
    }
    assert.ok(app.requests() >= 3);
  });
}

async function copyExample(side: Side, cwd: string, ports: Readonly<Record<string, number>>): Promise<void> {
  await cp(join(EXAMPLES, side), cwd, { recursive: true });
  for (const name of await readdir(cwd)) {
    const content = await readFile(join(cwd, name), "utf8");
    const replaced = content.replace(/port_value: (\d+)/g, (_, port: string) => {
      assert.ok(port in ports, `port ${port} of ${side}/${name} is in the README's table`);
      return `port_value: ${ports[port]}`;
    });
    await writeFile(join(cwd, name), replaced);
  }
}

function get(port: number): Promise<string> {
  return new Promise((resolve, reject) => {
    const outgoing = request({ host: "127.0.0.1", port, path: "/", agent: false }, (incoming) => {
      text(incoming).then(resolve, reject);
    });
    outgoing.on("error", reject);
    outgoing.end();
  });
}
